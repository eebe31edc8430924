/* Menus are <details>: this closes them, keeps them on the page, moves by arrows. */
import { all, one } from "./dom.js";

const openMenus = () => all("details[data-menu][open]");

export function closeMenus(except = null) {
  for (const menu of openMenus()) {
    if (menu === except) continue;
    if (menu.contains(document.activeElement)) one("summary", menu).focus();
    menu.open = false;
  }
}

/** Open upwards where there is no room below. */
function place(menu) {
  const panel = one(".menu-panel", menu);
  panel.classList.remove("is-above");
  const box = panel.getBoundingClientRect();
  const above = menu.getBoundingClientRect().top - 64;
  const overflows = box.bottom > innerHeight - 8;
  panel.classList.toggle("is-above", overflows && above > box.height);
}

function step(menu, by) {
  const items = all(".menu-item", menu);
  const now = items.indexOf(document.activeElement);
  const next = now < 0 ? (by > 0 ? 0 : -1) : (now + by) % items.length;
  items.at(next)?.focus();
}

document.addEventListener(
  "toggle",
  (event) => {
    const menu = event.target;
    if (!menu.matches?.("details[data-menu]") || !menu.open) return;
    closeMenus(menu);
    place(menu);
    one("form.menu-panel input:not([type=hidden])", menu)?.focus();
  },
  true,
);

document.addEventListener("click", (event) => {
  const panel = event.target.closest(".menu-panel");
  const chosen = event.target.closest(".menu-item");
  if (!panel) closeMenus(event.target.closest("details[data-menu]"));
  else if (chosen) panel.closest("details").open = false;
});

document.addEventListener("keydown", (event) => {
  const menu = openMenus().at(-1);
  if (!menu) return;
  if (event.key === "Escape") {
    closeMenus();
    event.stopImmediatePropagation();
  } else if (event.key.startsWith("Arrow") && menu.contains(event.target)) {
    if (event.target.matches("input")) return;
    step(menu, event.key === "ArrowUp" || event.key === "ArrowLeft" ? -1 : 1);
    event.preventDefault();
    event.stopImmediatePropagation();
  }
});
