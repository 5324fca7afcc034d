// @ts-check
// Which side the host is on, written on our own root: the style sheet may sit in a shadow root that sees no host.

/** @returns {"light" | "dark" | null} null: follow the system */
export function hostTheme(/** @type {Document} */ page = document) {
  const body = page.body;
  const html = page.documentElement;
  const jupyter = body.dataset.jpThemeLight;
  if (jupyter) return jupyter === "true" ? "light" : "dark";
  const code = body.dataset.vscodeThemeKind;
  if (code) return code.includes("dark") || code === "vscode-high-contrast" ? "dark" : "light";
  const named = html.dataset.theme ?? html.getAttribute("theme") ?? body.dataset.theme;
  if (named === "dark" || named === "light") return named;
  if (html.classList.contains("dark") || body.classList.contains("dark")) return "dark";
  return null;
}

/** @param {HTMLElement} root @param {AbortSignal} signal */
export function followTheme(root, signal) {
  const apply = () => {
    const theme = hostTheme();
    if (theme) root.dataset.theme = theme;
    else delete root.dataset.theme;
  };
  const watch = new MutationObserver(apply);
  for (const element of [document.body, document.documentElement]) {
    watch.observe(element, {
      attributes: true,
      attributeFilter: ["class", "theme", "data-theme", "data-jp-theme-light", "data-vscode-theme-kind"],
    });
  }
  signal.addEventListener("abort", () => watch.disconnect());
  apply();
}
