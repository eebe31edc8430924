/* Keys of the folder page and the trash. Never while someone is writing. */
import { newFolder, removeChosen, renameChosen } from "./actions.js";
import { open } from "./dialogs.js";
import { all, isBusy, one } from "./dom.js";
import { focusedRow, isPicked, opener, rows } from "./rows.js";
import { pick, pickAll, pickTo } from "./selection.js";

function walk(by, extend) {
  const list = rows();
  if (!list.length) return;
  const from = focusedRow();
  if (extend && from && !isPicked(from)) pick(from);
  const now = list.indexOf(from);
  const next = list[Math.min(Math.max(now + by, 0), list.length - 1)];
  opener(next).focus();
  if (extend) pickTo(next);
}

function toggle() {
  const row = focusedRow();
  if (row) pick(row, !isPicked(row));
}

const up = () => all(".crumbs a").at(-1)?.click();
const inFolder = (run) => () => one("[data-folder-id][data-sort]") && run();

const KEYS = {
  ArrowDown: () => walk(1, false),
  ArrowUp: () => walk(-1, false),
  "Shift+ArrowDown": () => walk(1, true),
  "Shift+ArrowUp": () => walk(-1, true),
  "Alt+ArrowUp": up,
  Home: () => walk(-Infinity, false),
  End: () => walk(Infinity, false),
  " ": toggle,
  "Control+a": () => pickAll(),
  "Meta+a": () => pickAll(),
  Escape: () => pickAll(false),
  F2: inFolder(renameChosen),
  Delete: inFolder(removeChosen),
  F7: inFolder(newFolder),
  "?": inFolder(() => open("keys")),
};

function keyOf(event) {
  const held = ["Control", "Meta", "Alt"].filter((key) => event.getModifierState(key));
  if (event.shiftKey && event.key.length > 1) held.push("Shift");
  return [...held, event.key].join("+");
}

/** Space and the arrows stay with buttons, menus and whatever else has the focus. */
function isOurs(event) {
  const target = event.target;
  if (!one("[data-rows]") && event.key !== "F7" && event.key !== "?" && !event.altKey) return false;
  if (event.key === " ") return target.matches("[data-open]");
  if (event.key.startsWith("Arrow") || event.key === "Home" || event.key === "End") {
    return event.altKey || target === document.body || target.id === "main" || Boolean(focusedRow());
  }
  return true;
}

document.addEventListener("keydown", (event) => {
  const run = KEYS[keyOf(event)];
  if (!run || isBusy(event.target) || !isOurs(event)) return;
  event.preventDefault();
  run();
});
