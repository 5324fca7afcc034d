// @ts-check
// A column that stays in sight beside a long one. Not by `position: sticky`: notebooks put outputs into boxes that
// could scroll and never do, and to those it would stick.

/** What an element lies in, out of shadow roots too. @param {Element} element */
const around = (element) => element.parentElement ?? /** @type {Partial<ShadowRoot>} */ (element.getRootNode()).host ?? null;

/** From where to where the page shows what is in `element`, px. @param {Element} element @returns {[top: number, bottom: number]} */
function sight(element) {
  let [top, bottom] = [0, globalThis.innerHeight];
  for (let each = around(element); each && each !== document.body; each = around(each)) {
    if (each.scrollHeight <= each.clientHeight + 1 || !/auto|scroll/.test(getComputedStyle(each).overflowY)) continue;
    const box = each.getBoundingClientRect();
    [top, bottom] = [Math.max(top, box.top), Math.min(bottom, box.bottom)];
  }
  return [top, bottom];
}

const LEAST = 240; // px: in less, it is cut off as the page is

/**
 * Keep `part` in sight while its `track` is scrolled through. Taller than the page, it scrolls by itself.
 * @param {HTMLElement} part @param {HTMLElement} track @param {AbortSignal} signal
 */
export function stick(part, track, signal) {
  let frame = 0;
  const place = () => {
    frame = 0;
    if (getComputedStyle(track).display === "contents") {
      part.style.maxHeight = part.style.transform = "";
      return;
    }
    const [top, bottom] = sight(track);
    const limit = `${Math.max(LEAST, Math.floor(bottom - top))}px`;
    if (part.style.maxHeight !== limit) part.style.maxHeight = limit;
    const box = track.getBoundingClientRect();
    const shift = Math.max(0, Math.min(box.height - part.offsetHeight, top - box.top));
    part.style.transform = shift ? `translateY(${Math.round(shift)}px)` : "";
  };
  const soon = () => {
    frame ||= requestAnimationFrame(place);
  };
  const size = new ResizeObserver(soon);
  size.observe(track);
  document.addEventListener("scroll", soon, { capture: true, passive: true, signal });
  globalThis.addEventListener?.("resize", soon, { signal });
  signal.addEventListener("abort", () => {
    size.disconnect();
    cancelAnimationFrame(frame);
  });
}
