/* Runs before the first paint: the chosen theme, and the mark that scripts work.
   The choice is a cookie because signing out clears the site's storage. */
(() => {
  const root = document.documentElement;
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const choice = () =>
    /(?:^|; )holdfast-theme=(light|dark)/.exec(document.cookie)?.[1] ?? "system";

  const show = () => {
    const chosen = choice();
    root.dataset.bsTheme =
      chosen === "system" ? (dark.matches ? "dark" : "light") : chosen;
    root.dataset.themeChoice = chosen;
  };

  root.classList.add("js");
  show();
  dark.addEventListener("change", show);
  addEventListener("theme", show);
})();
