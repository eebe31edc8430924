/* Leaving the page ends its uploads, so the browser asks before it does. */
import { active } from "./queue.js";

addEventListener("beforeunload", (event) => {
  if (active().length) event.preventDefault();
});

// A browser asks before a download, too, and without a session it would lead to the
// sign-in page. In a tab of its own it does neither to the uploads.
document.addEventListener("click", (event) => {
  const link = event.target.closest("[data-download]");
  if (link) link.target = active().length ? "_blank" : "";
});
