// @ts-check
// The answers: a prompt and the list it comes from, the next token, what each one writes, the prompt's tokens, the scores.

import { blindView } from "./blind_view.js";
import { h, icon, pool, say } from "./dom.js";
import { onKeys } from "./keys.js";
import { scoresView } from "./scores_view.js";
import { shadingView } from "./shading_view.js";
import { textsView } from "./texts_view.js";
import { tokensView } from "./tokens_view.js";
import { press, roving } from "./toolbar.js";

const PAUSE = 250; // ms of no typing before a prompt is asked by itself

/** @param {import("../workbench.js").Context} context */
export function answersView(context) {
  const { draft, announce, signal } = context;
  const field = h("input", { class: "ml-field", type: "text", "aria-label": "Prompt", spellcheck: "false", autocomplete: "off" });
  const run = press([icon("play")], () => ask(), signal, { class: "ml-square", "aria-label": "Ask now", title: "ask now (Enter)" });
  const add = press([icon("plus"), "Keep"], () => keep(), signal, { class: "ml-small ml-plain", title: "keep this prompt in the list" });
  const drop = press([icon("cross"), "Drop"], () => forget(draft.prompt), signal, { class: "ml-small ml-plain", title: "take this prompt off the list (Delete)" });
  const picks = h("div", { class: "ml-picks", role: "toolbar", "aria-label": "Prompts" });
  const oneStop = roving(picks, signal);
  const hint = h("p", { class: "ml-caption", role: "status" });
  const recipe = h("span", { class: "ml-fingerprint ml-of" });

  const tokens = tokensView(context);
  const texts = textsView(context);
  const shading = shadingView(context);
  const scores = scoresView(context);
  const blind = blindView(context, () => field);
  /** @param {string} title @param {string} note @param {...Element} figures */
  const part = (title, note, ...figures) =>
    h("div", { class: "ml-part" }, h("div", { class: "ml-head" }, h("h3", {}, title), h("span", { class: "ml-mute" }, note)), h("div", { class: "ml-figures" }, ...figures));
  const nextToken = part("Next token", "probability, %", tokens.root);
  nextToken.children[0].children[0].after(recipe);
  const written = part("What each one writes", "underline: differs from merged", texts.root);
  const root = h(
    "section",
    { class: "ml-answers", "aria-label": "Answers" },
    h("div", { class: "ml-ask" }, h("div", { class: "ml-prompt" }, field, run), picks, hint),
    blind.root,
    nextToken,
    written,
    shading.root,
    scores.root,
  );

  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let typing;
  function settle() {
    clearTimeout(typing);
    typing = undefined;
    draft.edit({ prompt: field.value });
    draft.flush();
  }
  /** In so many words: also what was asked before, once more. */
  function ask() {
    if (field.value === draft.prompt && draft.state !== "draft" && draft.state !== "loading") draft.tell({ type: "ask" });
    else settle();
  }
  function keep() {
    settle();
    if (draft.prompt.trim() && !draft.prompts.includes(draft.prompt)) draft.edit({ prompts: [...draft.prompts, draft.prompt] });
    draft.flush();
  }
  /** @param {string} prompt */
  function forget(prompt) {
    if (draft.prompts.length < 2) return;
    draft.edit({ prompts: draft.prompts.filter((each) => each !== prompt) });
    draft.flush();
    announce("Prompt taken off the list");
  }
  field.addEventListener("input", () => {
    clearTimeout(typing);
    typing = setTimeout(settle, PAUSE);
  }, { signal });
  signal.addEventListener("abort", () => clearTimeout(typing));
  onKeys(field, { Enter: ask, "Mod+Enter": ask }, signal);

  /** @param {number} index */
  function pick(index) {
    field.value = draft.prompts[index];
    settle();
  }
  picks.addEventListener("keydown", (event) => {
    const index = [...picks.querySelectorAll(".ml-pick")].indexOf(/** @type {Element} */ (event.target));
    if (index < 0 || (event.key !== "Delete" && event.key !== "Backspace")) return;
    event.preventDefault();
    event.stopPropagation();
    forget(draft.prompts[index]);
  }, { signal });
  const list = picks.appendChild(h("span", { class: "ml-pick-list" }));
  picks.append(add, drop);

  function drawAsk() {
    if (typing === undefined && field.value !== draft.prompt) field.value = draft.prompt;
    pool(list, draft.prompts.length, (i) => {
      const button = h("button", { class: "ml-pick", type: "button" });
      button.addEventListener("click", () => pick(i), { signal });
      return button;
    }).forEach((button, i) => {
      const prompt = draft.prompts[i];
      say(button, prompt);
      button.title = prompt;
      button.setAttribute("aria-pressed", `${prompt === draft.prompt}`);
    });
    const listed = draft.prompts.includes(draft.prompt);
    add.hidden = listed || !draft.prompt.trim();
    drop.hidden = !listed || draft.prompts.length < 2;
    oneStop();
    say(hint, draft.state === "waiting" ? "Type a prompt to ask all of them." : (draft.answer?.warning ?? ""));
    hint.hidden = !hint.textContent;
  }

  function draw() {
    const { answer } = draft;
    const hides = draft.blind !== null && draft.blind.names === null; // what is on the page would tell who is who
    drawAsk();
    blind.draw();
    for (const hidden of [nextToken, written]) hidden.hidden = hides;
    tokens.draw();
    texts.draw();
    shading.draw();
    shading.root.hidden = hides;
    scores.draw();
    say(recipe, answer ? `of ${answer.recipe}` : "");
    recipe.title = answer ? `What recipe ${answer.recipe} says to “${answer.prompt}”` : "";
  }
  return { root, draw, ask };
}
