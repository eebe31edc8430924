/* Files from the desktop, dropped anywhere: onto a folder's row, into that folder. */
import { all, fill, one } from "./dom.js";
import { add } from "./queue.js";
import { toast } from "./toasts.js";

const main = one("[data-folder-id][data-sort]");
const hint = one("[data-drop-hint]");
const brings = (event) => event.dataTransfer?.types.includes("Files");
let depth = 0;

function target(event) {
  const element = event.target.closest?.("[data-folder-target]");
  if (!element) return { id: main.dataset.folderId, name: main.dataset.folderName };
  return { id: element.dataset.folderTarget, name: element.dataset.name, element };
}

function mark(element) {
  for (const marked of all(".is-target")) {
    if (marked !== element) marked.classList.remove("is-target");
  }
  element?.classList.add("is-target");
}

function clear() {
  depth = 0;
  hint.hidden = true;
  mark(null);
}

function show(event) {
  const { name, element } = target(event);
  fill(hint, { folder: name });
  hint.hidden = false;
  mark(element);
}

/** Folders can't be read as files; say so rather than fail on them. */
function filesOf(transfer) {
  const files = [];
  for (const item of transfer.items) {
    if (item.kind !== "file") continue;
    const entry = item.webkitGetAsEntry?.();
    if (!entry?.isDirectory) files.push(item.getAsFile());
    else {
      toast(`“${entry.name}” is a folder. Make a folder here and drop its files into it.`, {
        tone: "warning",
      });
    }
  }
  return files;
}

document.addEventListener("dragenter", (event) => {
  if (!main || !brings(event)) return;
  depth += 1;
  show(event);
});

document.addEventListener("dragover", (event) => {
  if (!brings(event)) return;
  event.preventDefault();
  event.dataTransfer.dropEffect = main ? "copy" : "none";
  if (main) show(event);
});

document.addEventListener("dragleave", (event) => {
  if (!main || !brings(event)) return;
  depth -= 1;
  if (depth <= 0) clear();
});

document.addEventListener("drop", (event) => {
  if (!brings(event)) return;
  event.preventDefault();
  if (!main) return;
  const { id, name } = target(event);
  clear();
  const files = filesOf(event.dataTransfer);
  if (files.length) add(files, { id, name });
});
