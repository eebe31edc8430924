/* Small helpers over the document. */

export const one = (selector, root = document) => root.querySelector(selector);
export const all = (selector, root = document) => [...root.querySelectorAll(selector)];

/** Put values into the [data-field] elements below `root`, as text. */
export function fill(root, values) {
  for (const [field, value] of Object.entries(values)) {
    const place = one(`[data-field="${field}"]`, root);
    if (place && place.textContent !== value) place.textContent = value;
  }
  return root;
}

/** A fresh copy of the page's template of that name. */
export function copy(name) {
  const template = one(`template[data-template="${name}"]`);
  return template.content.firstElementChild.cloneNode(true);
}

/** Tell screen readers, without moving anything. */
export function say(sentence) {
  const live = one("[data-live]");
  if (!live) return;
  const line = document.createElement("p");
  line.textContent = sentence;
  live.replaceChildren(line);
}

/** Keys belong to whoever is writing, and to an open dialog. */
export function isBusy(target) {
  const typing = "input:not([type=checkbox]), textarea, select, [contenteditable]";
  return Boolean(target.closest?.(typing) || one("dialog[open]"));
}

export const plural = (count, single, many) =>
  `${count.toLocaleString()} ${count === 1 ? single : many}`;

/** Sizes as the server writes them: 999 B, 48 kB, 1.4 GB. */
export function bytes(count) {
  const units = ["B", "kB", "MB", "GB", "TB", "PB"];
  const digits = (value) => (value < 9.95 ? 1 : 0);
  let unit = 0;
  let value = count;
  while (unit + 1 < units.length && Number(value.toFixed(digits(value))) >= 1000) {
    value /= 1000;
    unit += 1;
  }
  if (unit === 0) return `${Math.round(count)} B`;
  return `${value.toFixed(digits(value)).replace(/\.0$/, "")} ${units[unit]}`;
}
