// @ts-check
// A drag with one pointer: captured, followed, ended once. Escape puts back.

/**
 * @typedef {object} Drag
 * @property {(event: PointerEvent) => void} move
 * @property {(kept: boolean) => void} end  kept: false when the drag was taken back
 */

/**
 * @param {HTMLElement | SVGElement} element
 * @param {(event: PointerEvent) => Drag | null} start  null: this press is no drag
 * @param {AbortSignal} signal
 */
export function onDrag(element, start, signal) {
  /** @type {Drag | null} */
  let drag = null;
  let pointer = -1;

  /** @param {boolean} kept */
  function finish(kept) {
    const ended = drag;
    drag = null;
    pointer = -1;
    ended?.end(kept);
  }
  /** @param {(event: PointerEvent) => void} act @returns {(event: Event) => void} */
  const ours = (act) => (event) => {
    if (drag && /** @type {PointerEvent} */ (event).pointerId === pointer) act(/** @type {PointerEvent} */ (event));
  };
  element.addEventListener(
    "pointerdown",
    (raw) => {
      const event = /** @type {PointerEvent} */ (raw);
      if (event.button !== 0 || drag) return;
      drag = start(event);
      if (!drag) return;
      pointer = event.pointerId;
      element.setPointerCapture?.(pointer);
      event.preventDefault();
    },
    { signal },
  );
  element.addEventListener("pointermove", ours((event) => drag?.move(event)), { signal });
  element.addEventListener("pointerup", ours(() => finish(true)), { signal });
  element.addEventListener("pointercancel", ours(() => finish(false)), { signal });
  element.addEventListener("lostpointercapture", ours(() => finish(true)), { signal });
  element.ownerDocument.addEventListener(
    "keydown",
    (event) => {
      if (!drag || event.key !== "Escape") return;
      event.preventDefault();
      event.stopPropagation();
      finish(false);
    },
    { signal, capture: true },
  );
}
