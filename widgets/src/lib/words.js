// @ts-check
// Where one text differs from another, word by word.

/** Words, each with the space in front of it; space at the end goes to the last. @param {string} text @returns {string[]} */
export function wordsOf(text) {
  return text.match(/\s*\S+(?:\s+$)?/g) ?? (text ? [text] : []);
}

const MATCH = 2; // what a word in the right place counts
const GAP = 1; // what a word that the other text lacks costs: half a match, so that a word far off is no match

/**
 * Runs of words, each marked: true where the run does not align with `reference`. The alignment is the best global one that
 * begins where both texts begin (Needleman and Wunsch, 1970): other words face each other for nothing, what is left at the
 * end of either is free.
 * @param {string} text @param {string} reference @returns {{ text: string, differs: boolean }[]}
 */
export function runsOf(text, reference) {
  const a = wordsOf(text);
  const b = wordsOf(reference).map((word) => word.trim());
  const same = (/** @type {number} */ i, /** @type {number} */ j) => a[i].trim() === b[j];
  // best[i][j]: of a[i:] against b[j:]
  const best = Array.from({ length: a.length + 1 }, () => new Int32Array(b.length + 1));
  const facing = (/** @type {number} */ i, /** @type {number} */ j) => best[i + 1][j + 1] + (same(i, j) ? MATCH : 0);
  for (let i = a.length - 1; i >= 0; i -= 1) {
    for (let j = b.length - 1; j >= 0; j -= 1) best[i][j] = Math.max(facing(i, j), best[i + 1][j] - GAP, best[i][j + 1] - GAP);
  }
  /** @type {{ text: string, differs: boolean }[]} */
  const runs = [];
  let j = 0;
  a.forEach((word, i) => {
    const faced = () => j < b.length && best[i][j] === facing(i, j);
    while (!faced() && j < b.length && best[i][j] === best[i][j + 1] - GAP) j += 1;
    const faces = faced();
    const differs = !faces || !same(i, j);
    if (faces) j += 1;
    const last = runs[runs.length - 1];
    if (last && last.differs === differs) last.text += word;
    else runs.push({ text: word, differs });
  });
  return runs;
}
