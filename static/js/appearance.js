/* Light, dark or the system's: the control in the account menu. */
import { all } from "./dom.js";

function mark() {
  const chosen = document.documentElement.dataset.themeChoice;
  for (const button of all("button[data-theme-choice]")) {
    button.setAttribute("aria-pressed", String(button.dataset.themeChoice === chosen));
  }
}

function choose(theme) {
  const kept = theme === "system" ? "max-age=0" : "max-age=31536000";
  document.cookie = `holdfast-theme=${theme}; path=/; samesite=lax; ${kept}`;
  dispatchEvent(new Event("theme"));
  mark();
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("button[data-theme-choice]");
  if (button) choose(button.dataset.themeChoice);
});
mark();
