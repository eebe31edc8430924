/* The folder chooser in a dialog: the server's own page, a part of it at a time. */
import { dialog, open, problem } from "./dialogs.js";
import { one } from "./dom.js";
import { moveTo } from "./actions.js";
import { picked, rowById, rowOf } from "./rows.js";
import { page, Refused } from "./server.js";
import { complain } from "./toasts.js";

const SIGNED_OUT = "You are not signed in any more. Sign in, then try again.";
let moving = [];

async function load(url) {
  const place = one("[data-chooser-place]");
  const fresh = await page(url);
  const part = one("[data-chooser]", fresh.document);
  if (!part) throw new Refused(SIGNED_OUT);
  place.replaceChildren(document.adoptNode(part));
  const first = one(".folder-list a", place) ?? one("[type=submit]", place);
  first.focus();
}

export async function choose(list) {
  if (!list.length) return;
  moving = list.map((row) => row.dataset.id);
  const query = new URLSearchParams(moving.map((id) => ["entry", id]));
  query.append("at", one("[data-folder-id]").dataset.folderId);
  try {
    await load(`/files/choose?${query}`);
    open("choose");
    one(".folder-list a, [type=submit]", dialog("choose")).focus();
  } catch (error) {
    complain(error);
  }
}

document.addEventListener("click", async (event) => {
  const act = event.target.closest('[data-act="move"], [data-act="move-selection"]');
  const link = event.target.closest("[data-chooser-place] a[href]:not([data-close])");
  if (act) {
    event.preventDefault();
    choose(act.dataset.act === "move" ? [rowOf(act)] : picked());
  } else if (link) {
    event.preventDefault();
    try {
      await load(link.href);
    } catch (error) {
      problem(one("[data-chooser] form"), error.message);
    }
  }
});

document.addEventListener("submit", async (event) => {
  const form = event.target;
  if (form.dataset.send !== "moved" || !form.closest("dialog")) return;
  event.preventDefault();
  const folder = { id: form.elements.folder.value, name: form.dataset.folderName };
  try {
    await moveTo(moving.map(rowById).filter(Boolean), folder);
    dialog("choose").close();
  } catch (error) {
    problem(form, error.message);
  }
});
