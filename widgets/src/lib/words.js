// @ts-check
// Where one text differs from another, word by word.

/** Words, each with the space in front of it; space at the end goes to the last. @param {string} text @returns {string[]} */
export function wordsOf(text) {
  return text.match(/\s*\S+(?:\s+$)?/g) ?? (text ? [text] : []);
}

/**
 * Runs of words, each marked: true where the run is not part of the longest common subsequence with `reference`.
 * @param {string} text @param {string} reference @returns {{ text: string, differs: boolean }[]}
 */
export function runsOf(text, reference) {
  const a = wordsOf(text);
  const b = wordsOf(reference).map((word) => word.trim());
  // lengths[i][j]: longest common subsequence of a[i:] and b[j:]
  const lengths = Array.from({ length: a.length + 1 }, () => new Uint16Array(b.length + 1));
  for (let i = a.length - 1; i >= 0; i -= 1) {
    for (let j = b.length - 1; j >= 0; j -= 1) {
      lengths[i][j] =
        a[i].trim() === b[j] ? lengths[i + 1][j + 1] + 1 : Math.max(lengths[i + 1][j], lengths[i][j + 1]);
    }
  }
  /** @type {{ text: string, differs: boolean }[]} */
  const runs = [];
  for (let i = 0, j = 0; i < a.length; i += 1) {
    while (j < b.length && a[i].trim() !== b[j] && lengths[i][j + 1] >= lengths[i + 1][j]) j += 1;
    const same = j < b.length && a[i].trim() === b[j];
    if (same) j += 1;
    const last = runs[runs.length - 1];
    if (last && last.differs === !same) last.text += a[i];
    else runs.push({ text: a[i], differs: !same });
  }
  return runs;
}
