/* Short notices at the lower right, with one action each. */
import { copy, fill, one } from "./dom.js";

const STAY = 9000;

function expire(line) {
  let timer;
  const start = () => (timer = setTimeout(() => line.remove(), STAY));
  const stop = () => clearTimeout(timer);
  for (const type of ["mouseenter", "focusin"]) line.addEventListener(type, stop);
  for (const type of ["mouseleave", "focusout"]) line.addEventListener(type, start);
  start();
}

/** Show a sentence; `action` is {label, run} and closes the notice. */
export function toast(text, { action = null, tone = "good" } = {}) {
  const line = fill(copy("toast"), { text });
  line.classList.add(`tone-${tone}`);
  if (action) {
    const button = one('[data-field="action"]', line);
    button.textContent = action.label;
    button.hidden = false;
    button.addEventListener("click", () => {
      line.remove();
      action.run();
    });
  }
  one("[data-toasts]").append(line);
  expire(line);
}

export const complain = (error) => toast(error.message, { tone: "danger" });

document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-close]");
  if (!button) return;
  const dialog = button.closest("dialog");
  if (dialog) {
    event.preventDefault();
    dialog.close();
  } else button.closest(".toast-line")?.remove();
});
