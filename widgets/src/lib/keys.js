// @ts-check
// Keys work only while the widget has focus and stop there: the notebook owns A, B, M, S, Y and Z in command mode. It also
// owns the key that saves it, which no widget wants.

const SAVE = "Mod+s";
const KEPT = "data-lm-suppress-shortcuts"; // what JupyterLab looks for

/**
 * @param {HTMLElement} element
 * @param {Record<string, (event: KeyboardEvent) => void>} actions  by name: "ArrowLeft", "Shift+ArrowUp", "s", "Mod+Enter"
 * @param {AbortSignal} signal
 */
export function onKeys(element, actions, signal) {
  element.addEventListener(
    "keydown",
    (event) => {
      const action = actions[nameOf(event)];
      if (!action) return;
      event.preventDefault();
      event.stopPropagation();
      action(event);
    },
    { signal },
  );
}

/**
 * Keep keys in a widget, but for the one that saves the notebook.
 * @param {HTMLElement} root @param {AbortSignal} signal
 */
export function keepKeys(root, signal) {
  root.setAttribute(KEPT, "true");
  // JupyterLab listens at the document, on the way down: the window alone is asked before it, at every key anew.
  window.addEventListener("keydown", (event) => {
    if (nameOf(event) === SAVE) root.removeAttribute(KEPT);
    else root.setAttribute(KEPT, "true");
  }, { capture: true, signal });
  root.addEventListener("keydown", (event) => {
    if (nameOf(event) !== SAVE) event.stopPropagation();
  }, { signal });
}

/** @param {KeyboardEvent} event */
export function nameOf(event) {
  const key = event.key === " " ? "Space" : event.key.length === 1 ? event.key.toLowerCase() : event.key;
  return `${event.ctrlKey || event.metaKey ? "Mod+" : ""}${event.altKey ? "Alt+" : ""}${event.shiftKey ? "Shift+" : ""}${key}`;
}
