/* A button beside a text that is meant to be taken along. */
import { all, one, say } from "./dom.js";
import { toast } from "./toasts.js";

async function take(text) {
  try {
    await navigator.clipboard.writeText(text.textContent);
    toast("Copied.");
    say("Copied.");
  } catch {
    // Browsers give the clipboard to https and to this machine only.
    getSelection().selectAllChildren(text);
    toast("The text is selected. Copy it with your keyboard.");
  }
}

for (const place of all("[data-copy]")) {
  one("button", place).addEventListener("click", () => take(one("pre", place)));
}
