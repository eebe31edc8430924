/* What takes long says so, and is asked for once, however often it is pressed. */

document.addEventListener("submit", (event) => {
  const button = event.submitter?.closest("[data-busy]");
  if (!button) return;
  if (button.ariaBusy === "true") {
    event.preventDefault();
    return;
  }
  button.ariaBusy = "true";
  button.dataset.before = button.lastChild.textContent;
  button.lastChild.textContent = button.dataset.busy;
});

// Whoever comes back by the browser's own button finds the page as it was left.
addEventListener("pageshow", () => {
  for (const button of document.querySelectorAll("[data-busy][aria-busy=true]")) {
    button.ariaBusy = null;
    button.lastChild.textContent = button.dataset.before;
  }
});
