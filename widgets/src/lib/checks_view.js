// @ts-check
// Before saving: what is wrong, what to look at, and what was checked and is well.

import { h, icon, pool, say } from "./dom.js";
import { press, roving } from "./toolbar.js";

/** @typedef {import("./draft.js").Problem} Problem */

/** @type {Record<Problem["grade"], { mark: "cross" | "risk" | "note" | "tick", word: string }>} */
const GRADES = {
  error: { mark: "cross", word: "To fix" },
  warning: { mark: "risk", word: "To look at" },
  note: { mark: "note", word: "Note" },
  fine: { mark: "tick", word: "Well" },
};

/** @param {readonly Problem[]} problems */
function summary(problems) {
  const count = (/** @type {Problem["grade"]} */ wanted) => problems.filter(({ grade }) => grade === wanted).length;
  const [errors, warnings] = [count("error"), count("warning")];
  const words = [errors ? `${errors} to fix` : "", warnings ? `${warnings} to look at` : ""].filter(Boolean);
  return words.join(", ") || (problems.length ? "nothing stands in the way" : "not checked yet");
}

/** Problems with one and the same advice are one entry. @param {readonly Problem[]} problems @returns {Problem[][]} */
function grouped(problems) {
  /** @type {Problem[][]} */
  const groups = [];
  for (const problem of problems) {
    const { grade, hint, fix } = problem;
    const group = groups.find(([first]) => hint && fix === null && first.fix === null && first.grade === grade && first.hint === hint);
    if (group) group.push(problem);
    else groups.push([problem]);
  }
  return groups;
}

/** @param {import("../workbench.js").Context} context @param {(problem: Problem) => void} mend */
export function checksView({ draft, id, signal }, mend) {
  const note = h("span", { class: "ml-mute" });
  const list = h("ul", { class: "ml-checks", id: `${id}-text-problems` });
  const save = h("p", { class: "ml-caption ml-mute" });
  const root = h("section", { class: "ml-before", "aria-label": "Before saving" }, h("div", { class: "ml-head" }, h("h3", {}, "Before saving"), note), list, save);
  const settle = roving(list, signal);

  function draw() {
    const { problems, behind } = draft;
    root.classList.toggle("ml-behind", behind);
    say(note, behind && problems.length ? "of an earlier recipe" : summary(problems));
    const groups = grouped(problems);
    pool(list, groups.length, () => h("li", {})).forEach((item, i) => {
      const [problem] = groups[i];
      const key = JSON.stringify(groups[i]);
      if (item.dataset.key === key) return;
      item.dataset.key = key;
      const { mark, word } = GRADES[problem.grade];
      const heads = groups[i].map(({ where, what, grade }) => {
        const head = where ? `${where}: ${what}` : what;
        return grade === "fine" ? head : h("b", {}, head);
      });
      const words = h("span", {}, h("span", { class: "ml-hidden" }, `${word}: `), ...heads.flatMap((head, at) => (at ? [" ", head] : [head])), problem.hint ? ` ${problem.hint} ` : " ");
      if (problem.fix !== null && problem.line !== null && problem.column !== null) {
        words.append(press(["Correct it"], () => mend(problem), signal, { class: "ml-link", title: `write ${problem.fix}` }));
      }
      item.className = `ml-is-${problem.grade}`;
      item.replaceChildren(icon(mark), words);
    });
    const first = problems.find(({ grade }) => grade === "error");
    say(save, first ? `Saving waits for ${first.line === null ? "what is to fix" : `line ${first.line}`}.` : "To write the merge to disk, run mergelab.merge(workbench.recipe, folder) in a cell.");
    settle();
  }
  return { root, draw };
}
