/* Fetch the page again and put its new parts in place, keeping focus and selection. */
import { all, one } from "./dom.js";
import { focusedRow, opener, picked, rowById, rows } from "./rows.js";
import { page, renewToken } from "./server.js";

const FOCUS = ["[data-open]", 'input[name="entry"]', "summary"];

function remember() {
  const row = focusedRow();
  const control = row && FOCUS.find((selector) => document.activeElement.matches(selector));
  return {
    id: row?.dataset.id,
    control,
    index: row ? rows().indexOf(row) : -1,
    selected: new Set(picked().map((each) => each.dataset.id)),
  };
}

function recall({ id, control, index, selected }) {
  for (const row of rows()) {
    if (selected.has(row.dataset.id)) one('input[name="entry"]', row).checked = true;
  }
  if (!id) return;
  const same = rowById(id);
  const near = same ?? rows()[Math.min(index, rows().length - 1)];
  if (!near) one("#main").focus({ preventScroll: true });
  else ((same && control && one(control, same)) || opener(near)).focus({ preventScroll: true });
}

/** A menu that somebody has open must not vanish under the pointer. */
async function menusClosed() {
  for (let menu; (menu = one("[data-part] details[open]")); ) {
    await new Promise((resolve) => menu.addEventListener("toggle", resolve, { once: true }));
  }
}

let running = null;
let again = false;

async function renew() {
  await menusClosed();
  const fresh = await page(location.href);
  await menusClosed();
  const kept = remember();
  for (const part of all("[data-part]")) {
    const other = one(`[data-part="${part.dataset.part}"]`, fresh.document);
    if (other) part.replaceChildren(...other.childNodes);
  }
  renewToken(fresh.document);
  recall(kept);
  document.dispatchEvent(new Event("refreshed"));
}

/** Refresh the listing; calls during a refresh are joined into one more. */
export function refresh() {
  if (running) {
    again = true;
    return running;
  }
  running = (async () => {
    do {
      again = false;
      await renew();
    } while (again);
  })().finally(() => (running = null));
  return running;
}

/** Put the focus on the row of that id, if this page shows it. */
export function focusRow(id) {
  const row = rowById(id);
  if (row) opener(row).focus();
}
