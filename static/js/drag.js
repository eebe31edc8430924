/* Rows of this page, dragged onto a folder's row or a breadcrumb, move there. */
import { moveTo } from "./actions.js";
import { all, one } from "./dom.js";
import { isPicked, picked, rowOf, rows } from "./rows.js";
import { complain } from "./toasts.js";

let dragged = [];

function allow() {
  if (!one("[data-folder-id][data-sort]")) return;
  for (const row of rows()) row.draggable = true;
}

function targetOf(event) {
  const target = dragged.length ? event.target.closest?.("[data-folder-target]") : null;
  return dragged.includes(target) ? null : target;
}

function mark(target) {
  for (const element of all(".is-target")) element.classList.remove("is-target");
  target?.classList.add("is-target");
}

document.addEventListener("dragstart", (event) => {
  const row = rowOf(event.target);
  if (!row?.draggable) return;
  dragged = isPicked(row) ? picked() : [row];
  event.dataTransfer.effectAllowed = "move";
  event.dataTransfer.setData("text/plain", dragged.map((each) => each.dataset.name).join("\n"));
  for (const each of dragged) each.classList.add("is-dragged");
});

document.addEventListener("dragover", (event) => {
  if (!dragged.length) return;
  const target = targetOf(event);
  mark(target);
  if (!target) return;
  event.preventDefault();
  event.dataTransfer.dropEffect = "move";
});

document.addEventListener("drop", async (event) => {
  const target = targetOf(event);
  if (!target) return;
  event.preventDefault();
  const { folderTarget: id, name } = target.dataset;
  try {
    await moveTo(dragged, { id, name });
  } catch (error) {
    complain(error);
  }
});

document.addEventListener("dragend", () => {
  for (const row of dragged) row.classList.remove("is-dragged");
  dragged = [];
  mark(null);
});

document.addEventListener("refreshed", allow);
allow();
