// @ts-check
// A line of YAML as tokens, to colour it. It only tells keys, values, marks and comments apart; reading is Python's.

/** @typedef {{ text: string, kind: "key" | "value" | "mark" | "comment" | "space", start: number }} Token  start: from 0 */

const TOKEN = /(?<space>\s+)|(?<comment>#.*)|(?<value>"(?:[^"\\]|\\.)*"?|'(?:[^']|'')*'?)|(?<mark>[{}[\],]|-(?=\s|$)|:(?=\s|$))|(?<word>(?:[^\s:,[\]{}]|:(?!\s|$))+)|(?<rest>.)/gu;

/** @param {string} line @returns {Token[]} */
export function tokensOf(line) {
  /** @type {Token[]} */
  const tokens = [];
  for (const { 0: text, index, groups } of line.matchAll(TOKEN)) {
    const kind = groups?.space ? "space" : groups?.comment && /(^|\s)$/.test(line.slice(0, index)) ? "comment" : groups?.mark ? "mark" : "value";
    tokens.push({ text, kind, start: index });
  }
  tokens.forEach((token, i) => {
    if (token.kind === "value" && tokens[i + 1]?.text === ":") token.kind = "key";
  });
  return tokens;
}

/**
 * The words of a line that are not those of the line before an edit, by their start; none where it was rewritten.
 * @param {string} line @param {string} before @returns {number[]}
 */
export function changedIn(line, before) {
  const [now, was] = [tokensOf(line), tokensOf(before)];
  if (line === before || now.length !== was.length) return [];
  const changed = now.filter(({ text }, i) => text !== was[i].text);
  return changed.every(({ kind }) => kind === "value") ? changed.map(({ start }) => start) : [];
}

/** The text with columns `column` to `end` (from 1, the end not in it) of a line replaced. @param {string} text @param {number} line from 1 @param {number} column @param {number} end @param {string} fix */
export function mended(text, line, column, end, fix) {
  const lines = text.split("\n");
  const old = lines[line - 1] ?? "";
  lines[line - 1] = old.slice(0, column - 1) + fix + old.slice(end - 1);
  return lines.join("\n");
}
