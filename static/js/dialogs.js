/* Native dialogs; the browser keeps and returns the focus. */
import { one } from "./dom.js";

export const dialog = (name) => one(`dialog[data-dialog="${name}"]`);

export function open(name) {
  const element = dialog(name);
  element.returnValue = "";
  element.showModal();
  return element;
}

/** Open, and wait for the value of the button that closed it. */
export function answerOf(name) {
  const element = open(name);
  return new Promise((resolve) => {
    element.addEventListener("close", () => resolve(element.returnValue), { once: true });
  });
}

/** Say inside a form what is wrong with it. */
export function problem(form, text) {
  const place = one("[data-problem]", form);
  const input = one("input[name=name]", form);
  place.textContent = text;
  place.hidden = !text;
  input?.classList.toggle("is-invalid", Boolean(text));
  input?.setAttribute("aria-invalid", String(Boolean(text)));
}

document.addEventListener("click", (event) => {
  // A click on the backdrop lands on the dialog itself, outside its box.
  if (event.target.tagName !== "DIALOG" || !event.target.open) return;
  const box = event.target.getBoundingClientRect();
  const inside =
    event.clientX >= box.left && event.clientX <= box.right &&
    event.clientY >= box.top && event.clientY <= box.bottom;
  if (!inside && event.detail) event.target.close();
});
