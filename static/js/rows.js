/* The rows of the table on this page, and what of them is selected. */
import { all, one } from "./dom.js";

export const rows = () => all("[data-rows] tbody tr");
export const box = (row) => one('input[name="entry"]', row);
export const isPicked = (row) => box(row).checked;
export const picked = () => rows().filter(isPicked);
export const rowOf = (element) => element?.closest?.("[data-rows] tbody tr") ?? null;
export const focusedRow = () => rowOf(document.activeElement);
export const rowById = (id) => rows().find((row) => row.dataset.id === id);
export const opener = (row) => one("[data-open]", row) ?? box(row);

/** The selection, or else the row that has the focus. */
export function chosen() {
  const selection = picked();
  const focused = focusedRow();
  return selection.length || !focused ? selection : [focused];
}

/** “plan.txt”, or how many. */
export function naming(list) {
  return list.length === 1 ? `“${list[0].dataset.name}”` : `${list.length} items`;
}
