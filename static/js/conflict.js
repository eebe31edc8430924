/* A name that is taken: keep both, replace or skip, for one file or for all. */
import { answerOf, dialog } from "./dialogs.js";
import { fill, one } from "./dom.js";
import { Refused } from "./server.js";

let forAll = null;
let turn = Promise.resolve();

// The server splits names in the same way: files/names.py.
const EXTENSION = /^(.+?)((?:\.tar)?\.[^.\s]{1,32})$/su;

/** “plan.txt” and 2 make “plan (2).txt”, “a.tar.gz” and 2 make “a (2).tar.gz”. */
export function numbered(name, number) {
  const found = EXTENSION.exec(name);
  const [stem, end] = /[^.]/.test(found?.[1] ?? "") ? found.slice(1) : [name, ""];
  return `${stem} (${number})${end}`;
}

async function decide(item) {
  if (forAll) return forAll;
  const box = fill(dialog("conflict"), { name: item.file.name, folder: item.folder.name });
  const all = one("input[name=all]", box);
  all.checked = false;
  one("[data-others]", box).hidden = !item.others;
  const choice = (await answerOf("conflict")) || "skip";
  if (all.checked) forAll = choice;
  return choice;
}

/** Change the item so that it can be sent again, or throw why it can't be. */
export async function settle(item, refused) {
  // A file does not replace a folder, whatever was chosen.
  if (item.replace) throw refused;
  const mine = turn.then(() => item.choice ?? decide(item));
  turn = mine.catch(() => {});
  item.choice = await mine;
  if (item.choice === "skip") {
    throw new Refused("Skipped: the name is taken.", { code: "cancelled" });
  }
  if (item.choice === "replace") item.replace = true;
  else {
    item.number = (item.number ?? 1) + 1;
    item.name = numbered(item.file.name, item.number);
  }
}

/** The next batch is asked anew. */
export const forgetChoices = () => (forAll = null);
