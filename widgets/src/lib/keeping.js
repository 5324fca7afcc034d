// @ts-check
// Drawing no more than has changed: most frames of a drag change little.

/** Tells whether any value is another than the last time. */
export function watcher() {
  /** @type {unknown[] | null} */
  let last = null;
  return (/** @type {unknown[]} */ ...now) => {
    const changed = last === null || now.some((value, i) => value !== last?.[i]);
    last = now;
    return changed;
  };
}

/**
 * Children by what they show: one that shows the same is used again, wherever it has gone.
 * @template {Element} E
 * @param {E} parent
 */
export function keeper(parent) {
  /** @type {Map<string, Element[]>} */
  let kept = new Map();
  /** @param {readonly string[]} shows @param {(index: number) => Element} make @param {(element: Element, index: number) => void} [place] */
  return (shows, make, place = () => {}) => {
    /** @type {Map<string, Element[]>} */
    const now = new Map();
    shows.forEach((show, i) => {
      const child = kept.get(show)?.shift() ?? make(i);
      place(child, i);
      const list = now.get(show);
      if (list) list.push(child);
      else now.set(show, [child]);
      if (parent.children[i] !== child) parent.insertBefore(child, parent.children[i] ?? null);
    });
    while (parent.children.length > shows.length) parent.lastElementChild?.remove();
    kept = now;
  };
}
