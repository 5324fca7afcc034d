// @ts-check
// What each one says: a prompt, the next token with its probability for each speaker, then the text each one writes.

import { h, icon, pool, say } from "./dom.js";
import { nats, percent, tokenLabel } from "./figures.js";
import { onKeys } from "./keys.js";
import { hue, swatch } from "./swatches.js";
import { runsOf } from "./words.js";

/** @typedef {import("./draft.js").Draft} Draft */

const PAUSE = 250; // ms of no typing before a prompt is asked by itself

/** A figure in its cell; where there is none, a dash that says why.
 * @param {Element} cell @param {string} figure @param {string | null} why */
function put(cell, figure, why) {
  say(cell, figure);
  for (const name of ["title", "aria-label"]) {
    if (why === null) cell.removeAttribute(name);
    else cell.setAttribute(name, why);
  }
}

/** @param {Draft} draft @param {readonly string[]} examples @param {string} id @param {AbortSignal} signal */
export function answersView(draft, examples, id, signal) {
  const field = h("input", { class: "ml-field", type: "text", "aria-label": "Prompt", spellcheck: "false", autocomplete: "off" });
  const run = h("button", { class: "ml-button ml-square", type: "button", "aria-label": "Ask now" }, icon("play"));
  const picks = h("div", { class: "ml-picks", role: "group", "aria-label": "Example prompts" });
  const hint = h("p", { class: "ml-caption", role: "status" });
  const head = h("tr");
  const body = h("tbody");
  const foot = h("tr");
  const table = h("table", { class: "ml-tokens" }, h("caption", { class: "ml-hidden" }, "Probability of the next token, %, of the merged model and of each source"), h("thead", {}, head), body, h("tfoot", {}, foot));
  const texts = h("div", { class: "ml-texts" });
  const recipe = h("p", { class: "ml-caption", title: "SHA-256 of the recipe's YAML, first 8 digits" });
  const figures = h("div", { class: "ml-figures" }, table, recipe);
  const written = h("div", { class: "ml-figures" }, texts);
  const root = h(
    "section",
    { class: "ml-answers", "aria-label": "Answers" },
    h("div", { class: "ml-ask" }, h("div", { class: "ml-prompt" }, field, run), picks, hint),
    h("div", { class: "ml-part" }, h("div", { class: "ml-head" }, h("h3", {}, "Next token"), h("span", { class: "ml-mute" }, "probability, %")), figures),
    h("div", { class: "ml-part" }, h("div", { class: "ml-head" }, h("h3", {}, "What each one writes"), h("span", { class: "ml-mute" }, "underlined: differs")), written),
  );

  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let typing;
  const ask = () => {
    clearTimeout(typing);
    draft.edit({ prompt: field.value });
    draft.flush();
  };
  field.addEventListener("input", () => {
    clearTimeout(typing);
    typing = setTimeout(ask, PAUSE);
  }, { signal });
  signal.addEventListener("abort", () => clearTimeout(typing));
  onKeys(field, { Enter: ask, "Mod+Enter": ask }, signal);
  run.addEventListener("click", ask, { signal });
  for (const example of examples) {
    const pick = h("button", { class: "ml-pick", type: "button", title: example }, example);
    pick.addEventListener("click", () => {
      field.value = example;
      ask();
    }, { signal });
    picks.append(pick);
  }

  /** @param {number} speaker 0 is the merged model */
  const colour = (speaker) => (speaker === 0 ? "var(--ml-merged)" : `var(${hue(speaker - 1)})`);
  /** @param {number} speaker */
  const inkOf = (speaker) => (speaker === 0 ? "var(--ml-ink)" : `var(${hue(speaker - 1)}-text)`);
  /** @param {number} speaker */
  const nameOf = (speaker) => (speaker === 0 ? "Merged" : draft.sources[speaker - 1].name);
  /** @param {number} speaker */
  const shortOf = (speaker) => {
    if (speaker === 0) return "merged";
    const { name, code } = draft.sources[speaker - 1];
    return draft.sources.length > 3 || name.length > 7 ? code : name;
  };

  function drawTokens() {
    const { answer } = draft;
    const speakers = draft.sources.length + 1;
    const rows = answer?.candidates ?? [];
    const cells = speakers + 2;
    pool(head, cells, (i) => h("th", { scope: "col", class: i < 2 ? "ml-left" : "" })).forEach((cell, i) => {
      if (i === 0) return say(cell, "");
      if (i === 1) {
        if (!cell.childElementCount) cell.append(h("div", { class: "ml-ticks", "aria-hidden": "true" }, h("span", {}, "0"), h("span", {}, "100")));
        return undefined;
      }
      cell.style.color = inkOf(i - 2);
      cell.title = nameOf(i - 2);
      return say(cell, shortOf(i - 2));
    });
    pool(body, rows.length, () => {
      const row = h("tr", {}, h("th", { scope: "row", class: "ml-token" }), h("td", { class: "ml-bars", "aria-hidden": "true" }));
      for (let i = 0; i < speakers; i += 1) row.append(h("td", { class: i ? "" : "ml-first" }));
      return row;
    }).forEach((row, r) => {
      const { token, probabilities } = rows[r];
      const shown = tokenLabel(token);
      const name = /** @type {HTMLElement} */ (row.children[0]);
      say(name, shown);
      name.title = shown;
      pool(row.children[1], speakers, (i) => h("div", { class: i ? "ml-bar" : "ml-bar ml-thick" })).forEach((bar, i) => {
        bar.style.background = colour(i);
        bar.style.width = `${(100 * (probabilities[i] || 0)).toFixed(2)}%`;
      });
      probabilities.forEach((value, i) => put(row.children[2 + i], percent(value), value === null ? "not in its vocabulary" : null));
    });
    pool(foot, speakers + 1, (i) => (i ? h("td") : h("th", { scope: "row", colspan: 2, class: "ml-left" }, "KL from merged, nats"))).forEach((cell, i) => {
      if (i < 2) return;
      const value = answer?.kl[i - 1] ?? null;
      put(cell, nats(value), answer && value === null ? "no figure: its vocabulary differs" : null);
    });
    table.hidden = !rows.length;
  }

  function drawTexts() {
    const { answer } = draft;
    const merged = answer?.texts[0] ?? "";
    pool(texts, draft.sources.length + 1, (i) => {
      const mark = i === 0 ? h("span", { class: "ml-ink-swatch" }) : swatch(id, i - 1, 11);
      return h("div", { class: i ? "ml-text" : "ml-text ml-merged" }, h("div", { class: "ml-who" }, mark, h("span", {})), h("div", { class: "ml-words" }));
    }).forEach((row, i) => {
      say(/** @type {Element} */ (row.children[0].lastElementChild), nameOf(i));
      const words = /** @type {HTMLElement} */ (row.children[1]);
      words.style.setProperty("--ml-c", colour(i));
      const text = (answer?.texts[i] ?? "").replace(/^ /, ""); // the space that joins it to the prompt
      const busy = draft.writing && answer !== null && !answer.written[i];
      const key = JSON.stringify([text, i ? merged : "", busy]);
      if (words.dataset.key === key) return;
      words.dataset.key = key;
      const runs = i === 0 ? [{ text, differs: false }] : runsOf(text, merged);
      words.replaceChildren(
        ...runs.flatMap(({ text: run, differs }) => {
          if (!differs) return [run];
          const space = run.match(/^\s*/)?.[0] ?? "";
          return [space, h("u", {}, run.slice(space.length))];
        }),
      );
      if (busy) words.append(h("span", { class: "ml-caret", "aria-hidden": "true" }));
    });
  }

  function draw() {
    if (field.ownerDocument.activeElement !== field && field.value !== draft.dials.prompt) field.value = draft.dials.prompt;
    [...picks.children].forEach((pick, i) => pick.classList.toggle("ml-on", examples[i] === draft.dials.prompt));
    say(hint, draft.state === "waiting" ? "Type a prompt to ask all of them." : (draft.answer?.warning ?? ""));
    hint.hidden = !hint.textContent;
    drawTokens();
    say(recipe, draft.answer ? `recipe ${draft.answer.recipe}` : "");
    recipe.hidden = !draft.answer;
    drawTexts();
  }
  return { root, draw };
}
