/* Rename, new folder, move and delete without leaving the page. */
import { closeMenus } from "./menus.js";
import { dialog, open, problem } from "./dialogs.js";
import { one, say } from "./dom.js";
import { focusRow, refresh } from "./listing.js";
import { chosen, naming, picked, rowOf } from "./rows.js";
import { pickAll } from "./selection.js";
import { post } from "./server.js";
import { complain, toast } from "./toasts.js";

const SELECTION = "/files/selection/";
const entries = (list) => list.map((row) => ["entry", row.dataset.id]);

/** Open the rename dialog with the name's stem selected. */
export function rename(row) {
  if (!row) return;
  const { id, kind, name } = row.dataset;
  const form = one("form", dialog("rename"));
  const input = one("input[name=name]", form);
  form.action = `/files/${kind}/${id}/rename`;
  input.value = name;
  problem(form, "");
  open("rename");
  const dot = name.lastIndexOf(".");
  input.setSelectionRange(0, kind === "file" && dot > 0 ? dot : name.length);
}

export function newFolder() {
  const menu = one("[data-new-folder]");
  if (!menu) return;
  problem(one("form", menu), "");
  menu.open = true;
}

async function restore(ids) {
  try {
    await post(`${SELECTION}restore`, ids.map((id) => ["entry", id]));
    await refresh();
    focusRow(ids[0]);
    say("Taken back out of the trash.");
  } catch (error) {
    complain(error);
  }
}

export async function remove(list) {
  if (!list.length) return;
  const ids = list.map((row) => row.dataset.id);
  const what = naming(list);
  try {
    await post(`${SELECTION}delete`, entries(list));
    await refresh();
    toast(`${what} is in the trash.`.replace("items is", "items are"), {
      action: { label: "Undo", run: () => restore(ids) },
    });
  } catch (error) {
    complain(error);
  }
}

/** Move rows into a folder; the toast takes them back. */
export async function moveTo(list, folder) {
  const home = one("[data-folder-id]").dataset.folderId;
  const what = naming(list);
  const fields = entries(list);
  const back = async () => {
    try {
      await post(`${SELECTION}move`, [...fields, ["folder", home]]);
      await refresh();
    } catch (error) {
      complain(error);
    }
  };
  await post(`${SELECTION}move`, [...fields, ["folder", folder.id]]);
  pickAll(false);
  await refresh();
  toast(`Moved ${what} to ${folder.name}.`, { action: { label: "Undo", run: back } });
}

const AFTER = {
  async created(form, answer) {
    closeMenus();
    form.reset();
    await refresh();
    focusRow(answer.id);
    say(`Folder ${answer.name} created.`);
  },
  async renamed(form, answer) {
    dialog("rename").close();
    await refresh();
    focusRow(answer.id);
    say(`Renamed to ${answer.name}.`);
  },
};

document.addEventListener("submit", async (event) => {
  const form = event.target;
  const after = AFTER[form.dataset.send];
  if (!after) return;
  event.preventDefault();
  problem(form, "");
  try {
    await after(form, await post(form.action, new FormData(form)));
  } catch (error) {
    problem(form, error.message);
  }
});

const CLICKS = {
  rename: (row) => rename(row),
  delete: (row) => remove([row]),
  "delete-selection": () => remove(picked()),
};

document.addEventListener("click", (event) => {
  const control = event.target.closest("[data-act]");
  const run = control && CLICKS[control.dataset.act];
  if (!run) return;
  event.preventDefault();
  run(rowOf(control));
});

export const renameChosen = () => rename(chosen()[0]);
export const removeChosen = () => remove(chosen());
