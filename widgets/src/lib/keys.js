// @ts-check
// Keys work only while the widget has focus and stop there: the notebook owns A, B, M, S, Y and Z in command mode.

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

/** @param {KeyboardEvent} event */
export function nameOf(event) {
  const key = event.key === " " ? "Space" : event.key.length === 1 ? event.key.toLowerCase() : event.key;
  return `${event.ctrlKey || event.metaKey ? "Mod+" : ""}${event.altKey ? "Alt+" : ""}${event.shiftKey ? "Shift+" : ""}${key}`;
}
