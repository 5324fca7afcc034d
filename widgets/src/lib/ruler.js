// @ts-check
// How wide words are. Fonts differ from machine to machine, so labels are measured before room is made for them.

/** @typedef {{ mono?: boolean, bold?: boolean }} Face */
/** @typedef {ReturnType<typeof rulerOf>} Ruler */

/** @param {HTMLElement} root of the widget */
export function rulerOf(root) {
  const context = document.createElement("canvas").getContext("2d");
  /** @type {Map<string, number>} */
  const known = new Map();
  /** @type {{ plain: string, mono: string } | null} asked for once: each time it makes the page work out its styles */
  let families = null;

  /** In px, at the size of labels. @param {string} words @param {Face} [face] */
  function width(words, { mono = false, bold = false } = {}) {
    const key = `${mono}${bold}${words}`;
    let px = known.get(key);
    if (px === undefined) {
      if (!families && root.isConnected) {
        const style = getComputedStyle(root);
        families = { plain: style.fontFamily, mono: style.getPropertyValue("--ml-mono") };
      }
      const family = families?.[mono ? "mono" : "plain"] || "sans-serif";
      if (context) context.font = `${bold ? 600 : 400} 11px ${family}`;
      px = context?.measureText(words).width ?? words.length * 6.3;
      if (families) known.set(key, px);
    }
    return px;
  }

  return {
    width,
    /**
     * Words cut until they fit, at the front or the back; a mark says so.
     * @param {string} words @param {number} room px @param {Face} [face] @param {boolean} [front]
     */
    fit(words, room, face, front = false) {
      if (width(words, face) <= room) return words;
      const letters = [...words];
      while (letters.length > 1) {
        if (front) letters.shift();
        else letters.pop();
        const cut = front ? `…${letters.join("").trimStart()}` : `${letters.join("").trimEnd()}…`;
        if (width(cut, face) <= room) return cut;
      }
      return "…";
    },
  };
}
