/* Which rows are selected: boxes, click, Shift-click, Ctrl-click, all. */
import { all, one } from "./dom.js";
import { box, isPicked, picked, rowOf, rows } from "./rows.js";

let anchor = null;

function show() {
  const count = picked().length;
  const head = one("[data-pick-all]");
  if (!head) return;
  head.checked = count > 0 && count === rows().length;
  head.indeterminate = count > 0 && !head.checked;
  for (const place of all("[data-count]")) {
    place.textContent = count ? `${count} selected` : "";
  }
}

export function pickAll(state = true) {
  for (const row of rows()) box(row).checked = state;
  anchor = null;
  show();
}

export function pick(row, state = true) {
  box(row).checked = state;
  anchor = row;
  show();
}

/** Select from the last row that was chosen to this one. */
export function pickTo(row) {
  const list = rows();
  const from = Math.max(list.indexOf(anchor), 0);
  const to = list.indexOf(row);
  for (const each of list.slice(Math.min(from, to), Math.max(from, to) + 1)) {
    box(each).checked = true;
  }
  if (!list.includes(anchor)) anchor = list[0];
  show();
}

document.addEventListener("change", (event) => {
  if (event.target.matches("[data-pick-all]")) pickAll(event.target.checked);
  else if (event.target.name === "entry") show();
});

document.addEventListener("click", (event) => {
  const row = rowOf(event.target);
  if (event.target.closest('[data-act="clear-selection"]')) pickAll(false);
  if (!row) return;
  if (event.target.matches('input[name="entry"]')) {
    if (event.shiftKey) pickTo(row);
    else anchor = row;
    return;
  }
  if (event.target.closest("button, summary, label, .menu-panel")) return;
  const link = event.target.closest("a");
  const many = event.shiftKey || event.ctrlKey || event.metaKey;
  if (link && !many) return;
  event.preventDefault();
  if (event.shiftKey) pickTo(row);
  else if (many) pick(row, !isPicked(row));
  else {
    const alone = isPicked(row) && picked().length === 1;
    pickAll(false);
    pick(row, !alone);
  }
});

document.addEventListener("mousedown", (event) => {
  // Shift-click must not select the text between the rows.
  if (event.shiftKey && rowOf(event.target)) event.preventDefault();
});

document.addEventListener("refreshed", show);
addEventListener("pageshow", show);
show();
