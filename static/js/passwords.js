/* Show what is typed, and say in words how far a new password has come. */
import { one } from "./dom.js";

const ENOUGH = 20;

function toggle(button) {
  const input = document.getElementById(button.getAttribute("aria-controls"));
  const shown = input.type === "password";
  input.type = shown ? "text" : "password";
  const word = shown ? "Hide" : "Show";
  const name = button.getAttribute("aria-label");
  // What is read begins with what is seen; it says the state, so nothing else does.
  button.setAttribute("aria-label", name.replace(/^\w+/, word));
  button.textContent = word;
  input.focus();
}

function strength(text, minimum) {
  const length = [...text].length;
  if (length === 0) return `At least ${minimum} characters. Four or five unrelated words make a good one.`;
  if (length < minimum) return `Too short yet: ${length} of ${minimum} characters.`;
  if (new Set(text).size < 6) return "Long enough, but too much of the same to be safe.";
  if (length < ENOUGH) return "Long enough. Safer with another word, if it has none that people guess.";
  return "Good length. Safe, unless it is a known phrase.";
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-show]");
  if (button) toggle(button);
});

document.addEventListener("input", (event) => {
  const { minimum } = event.target.dataset;
  if (!minimum) return;
  const line = one("[data-strength]", event.target.closest("[data-password]"));
  line.textContent = strength(event.target.value, Number(minimum));
});
