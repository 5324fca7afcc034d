// The answers: prompts and their list, the next token, the texts, the prompt's tokens, the blind comparison.
import assert from "node:assert/strict";
import { afterEach, test } from "node:test";
import { answersView } from "../src/lib/answers_view.js";
import { pause, press } from "./page.mjs";
import { stage, type } from "./views.mjs";

let scene;
let view;
function show(more) {
  scene = stage(more);
  view = scene.show(answersView);
  return scene;
}
afterEach(() => scene?.close());
const find = (selector) => view.root.querySelector(selector);
const all = (selector) => [...view.root.querySelectorAll(selector)];
const button = (words) => all("button").find(({ textContent }) => textContent === words);
const field = () => find(".ml-field");

test("a prompt is asked on Enter, at a pause, by the button, or from the list", async () => {
  show();
  type(field(), "copy a b :");
  assert.equal(scene.model.get("prompt"), "Once upon a time");
  press(field(), "Enter");
  assert.equal(scene.model.get("prompt"), "copy a b :");
  all(".ml-pick")[1].click();
  assert.equal(scene.model.get("prompt"), "27+35=");
  type(field(), "sort");
  await pause(300);
  assert.equal(scene.model.get("prompt"), "sort");
  field().value = "now";
  find("[aria-label='Ask now']").click();
  assert.equal(scene.model.get("prompt"), "now");
});

test("asking again what has been answered, or was stopped, asks again; a draft is on its way already", () => {
  show();
  find("[aria-label='Ask now']").click();
  assert.deepEqual(scene.model.messages, []);
  scene.model.answerNow();
  find("[aria-label='Ask now']").click();
  press(field(), "Enter");
  all(".ml-pick")[0].click();
  assert.deepEqual(scene.model.messages, [{ type: "ask" }, { type: "ask" }]);
  scene.model.hear({ status: "stopped" });
  view.ask();
  assert.equal(scene.model.messages.length, 3);
});

test("what is being typed is not written over by what Python says", () => {
  show();
  field().focus();
  type(field(), "half a sen");
  scene.model.hear({ status: "done" });
  assert.equal(field().value, "half a sen");
  press(field(), "Enter");
  scene.model.hear({ prompt: "from a cell" });
  assert.equal(field().value, "from a cell");
});

test("a prompt of one's own is kept in the list, and dropped from it by button or key; one stays", () => {
  show();
  type(field(), "mine");
  press(field(), "Enter");
  button("Keep").click();
  assert.deepEqual(scene.model.get("prompts"), ["Once upon a time", "27+35=", "mine"]);
  assert.equal(all(".ml-pick")[2].getAttribute("aria-pressed"), "true");
  button("Drop").click();
  assert.deepEqual(scene.model.get("prompts"), ["Once upon a time", "27+35="]);
  press(all(".ml-pick")[1], "Delete");
  press(all(".ml-pick")[0], "Delete");
  assert.deepEqual(scene.model.get("prompts"), ["Once upon a time"]);
});

test("the list is one stop of Tab, with arrows inside", () => {
  show();
  assert.equal(all(".ml-picks button").filter(({ tabIndex, hidden }) => tabIndex === 0 && !hidden).length, 1);
  all(".ml-pick")[0].focus();
  press(all(".ml-pick")[0], "ArrowRight");
  assert.equal(document.activeElement, all(".ml-pick")[1]);
});

test("the table has a bar and a number for each speaker, and the KL of each source", () => {
  show();
  scene.model.answerNow({ candidates: [{ token: " cat\n", probabilities: [0.5, 0.0004, 0.25, 1] }], kl: [0, 0.314, 12.34, 0] });
  assert.equal(find(".ml-token").textContent, "·cat↵");
  assert.deepEqual(all(".ml-tokens tbody td:not(.ml-bars)").map(({ textContent }) => textContent), ["50", "<0.1", "25", "100"]);
  assert.deepEqual(all(".ml-bar").map(({ style }) => style.width), ["50%", "0.04%", "25%", "100%"]);
  assert.deepEqual(all(".ml-tokens tfoot td").map(({ textContent }) => textContent), ["", "0.31", "12.3", "0.00"]);
  assert.deepEqual(all(".ml-tokens thead th").slice(2).map(({ textContent }) => textContent), ["merged", "base", "reverse", "pirate"]);
  scene.model.hear({ _sources: scene.model.get("_sources").map((source, i) => (i ? source : { ...source, name: "mathematics" })) });
  assert.deepEqual(all(".ml-tokens thead th").slice(2).map(({ textContent }) => textContent), ["merged", "Ba", "Re", "Pi"]);
});

test("what a vocabulary does not have is a dash that says so, not a nought; a later figure takes its place", () => {
  show();
  scene.model.answerNow({ candidates: [{ token: " cat", probabilities: [0.5, 0, null, 0.25] }], kl: [0, 0.31, null, 1.5] });
  const cells = () => all(".ml-tokens tbody td:not(.ml-bars)").map((cell) => [cell.textContent, cell.getAttribute("title"), cell.getAttribute("aria-label")]);
  const below = () => all(".ml-tokens tfoot td").slice(1).map((cell) => [cell.textContent, cell.getAttribute("title")]);
  const missing = "not in its vocabulary";
  assert.deepEqual(cells(), [["50", null, null], ["0", null, null], ["–", missing, missing], ["25", null, null]]);
  assert.deepEqual(below(), [["0.31", null], ["–", "no figure: its vocabulary differs"], ["1.50", null]]);
  scene.model.answerNow({ candidates: [{ token: " cat", probabilities: [0.5, 0.1, 0.2, 0.25] }], kl: [0, 0.31, 0.2, 1.5] });
  assert.deepEqual([cells()[2], below()[1]], [["20", null, null], ["0.20", null]]);
});

test("a source that joins gets its column, bar and text", () => {
  show();
  scene.model.answerNow();
  scene.model.hear({ _sources: [...scene.model.get("_sources"), { ...scene.model.get("_sources")[0], name: "fourth", code: "Fo" }] });
  scene.model.answerNow();
  assert.equal(all(".ml-tokens thead th").length, 7);
  assert.equal(all(".ml-tokens tbody td").length, 6);
  assert.equal(all(".ml-bar").length, 5);
  assert.equal(all(".ml-text").length, 5);
});

test("texts come word by word; words that differ from the merged model's are underlined", () => {
  show();
  scene.model.answerNow({ texts: [" the cat sat", " the dog sat", " the cat", null], written: [true, true, false, false] });
  scene.model.hear({ status: "writing" });
  const words = all(".ml-words");
  assert.deepEqual(words.map(({ textContent }) => textContent), ["the cat sat", "the dog sat", "the cat", ""]);
  assert.deepEqual([...words[1].querySelectorAll("u")].map(({ textContent }) => textContent), ["dog"]);
  assert.deepEqual(words.map((each) => each.querySelector(".ml-caret") !== null), [false, false, true, true]);
  scene.model.hear({ status: "done" });
  assert.equal(find(".ml-caret"), null);
  scene.model.answerNow({ texts: ["ye be near yer ship", "ship", "ye", ""] });
  assert.deepEqual(all(".ml-words").map(({ textContent }) => textContent), ["ye be near yer ship", "ship all of it differs", "ye", ""]);
  assert.equal(all(".ml-words u").length, 1);
});

const SHADES = [
  { token: "Once", loss: null, kl: [0.2, 0.1, null] },
  { token: " upon", loss: 4, kl: [0.5, 0, null] },
  { token: " a", loss: 1, kl: [8, 0, null] },
];

test("each token of the prompt is shaded, and says its numbers in words as well", () => {
  show();
  assert.equal(find(".ml-shades").closest("[hidden]"), null, "its room is there before it is");
  assert.equal(find(".ml-readout").textContent, "Being measured.");
  assert.ok(Number.parseFloat(find(".ml-tokens").parentElement.style.minHeight) > 200);
  scene.model.answerNow({ shading: SHADES });
  const shades = all(".ml-shade");
  assert.deepEqual(shades.map(({ textContent }) => textContent), ["Once", "·upon", "·a"]);
  assert.deepEqual(shades.map(({ style }) => style.getPropertyValue("--ml-part")), ["0%", "100%", "25%"]);
  assert.deepEqual(shades.map(({ className }) => className.includes("ml-none")), [true, false, false]);
  assert.equal(shades[1].getAttribute("aria-label"), "·upon: loss 4.00, KL Ba 0.50, KL Re 0.00, KL Pi – nats");
  assert.match(shades[0].getAttribute("aria-label"), /first token/);
  assert.match(find(".ml-shade-key").textContent, /0.*4\.00 nats/);
});

test("the number of what is pointed at or has focus stands beside the tokens", () => {
  show();
  scene.model.answerNow({ shading: SHADES });
  const readout = () => find(".ml-readout").textContent;
  assert.match(readout(), /Point at a token/);
  all(".ml-shade")[1].dispatchEvent(new window.MouseEvent("pointerover", { bubbles: true }));
  assert.match(readout(), /^1: loss 4\.00/);
  find(".ml-shades").dispatchEvent(new window.MouseEvent("pointerleave"));
  assert.match(readout(), /Point at a token/);
  all(".ml-shade")[1].focus();
  press(all(".ml-shade")[1], "ArrowRight");
  assert.match(readout(), /^2: loss 1\.00, KL Ba 8\.00/);
  assert.equal(all(".ml-shade")[2].getAttribute("aria-selected"), "true");
});

test("the shading can be of a source's KL, with a scale of its own", () => {
  show();
  scene.model.answerNow({ shading: SHADES });
  const choice = find(".ml-part .ml-select");
  assert.deepEqual([...choice.options].map(({ textContent }) => textContent), ["loss of merged", "KL to base", "KL to reverse", "KL to pirate"]);
  choice.value = "1";
  choice.dispatchEvent(new window.Event("change"));
  assert.deepEqual(all(".ml-shade").map(({ style }) => style.getPropertyValue("--ml-part")), ["2.5%", "6.25%", "100%"]);
  choice.value = "2";
  choice.dispatchEvent(new window.Event("change"));
  assert.equal(all(".ml-shade")[0].style.getPropertyValue("--ml-part"), "10%", "small values do not fill the scale");
  choice.value = "3";
  choice.dispatchEvent(new window.Event("change"));
  assert.ok(all(".ml-shade").every(({ className }) => className.includes("ml-none")));
});

test("figures say which recipe and which prompt they are of; a warning stands beside them and goes with them", () => {
  show();
  scene.model.answerNow({ recipe: "<b>00000", warning: "There was not enough memory on cuda." });
  assert.deepEqual([find(".ml-of").textContent, find(".ml-of").childElementCount], ["of <b>00000", 0]);
  assert.match(find(".ml-of").title, /Once upon a time/);
  const hint = () => find(".ml-ask [role=status]");
  assert.deepEqual([hint().hidden, hint().textContent], [false, "There was not enough memory on cuda."]);
  scene.model.answerNow();
  assert.equal(hint().hidden, true);
  scene.model.hear({ status: "waiting" });
  assert.match(hint().textContent, /Type a prompt/);
});

const BLIND = { prompt: "27+35=", columns: [{ label: "left", text: " 62" }, { label: "right", text: "72" }], votes: 0, of: 2, verdict: "", names: null };

test("a blind comparison hides what would tell, counts votes, and reveals", () => {
  show();
  scene.model.answerNow({ shading: SHADES });
  assert.equal(find(".ml-blind").hidden, true);
  scene.model.hear({ _blind: BLIND });
  assert.equal(find(".ml-blind").hidden, false);
  assert.ok(find(".ml-tokens").closest("[hidden]") && find(".ml-texts").closest("[hidden]") && find(".ml-shades").closest("[hidden]"));
  assert.match(find(".ml-blind").textContent, /0 of 2 votes27\+35=62left is better72right/);
  button("right is better").click();
  button("Reveal").click();
  assert.deepEqual(scene.model.messages, [{ type: "vote", column: "right" }, { type: "reveal" }]);
  const told = { ...BLIND, columns: [{ label: "now", text: "62" }, { label: "kept", text: "72" }], votes: 2, verdict: "Of 2 votes: kept 2. p = 0.5.", names: ["now", "kept"] };
  scene.model.hear({ _blind: told });
  assert.match(find(".ml-blind").textContent, /p = 0\.5/);
  for (const part of [".ml-tokens", ".ml-texts", ".ml-shades"]) assert.equal(find(part).closest("[hidden]"), null);
  button("kept").click();
  assert.equal(scene.model.messages.length, 2, "votes are over");
  button("End").click();
  assert.deepEqual(scene.model.messages.at(-1), { type: "blind", names: [] });
});

test("a blind comparison that was asked for here takes the keyboard, keeps it, and gives it back", () => {
  show();
  scene.model.answerNow();
  view.root.classList.add("ml-root");
  scene.model.hear({ _blind: BLIND });
  assert.equal(document.activeElement, document.body, "one that a cell asks for takes nothing");
  scene.model.hear({ _blind: null });
  const asks = document.createElement("button");
  asks.dataset.opens = "blind";
  view.root.append(asks);
  asks.focus();
  scene.model.hear({ _blind: BLIND });
  assert.equal(document.activeElement, button("left is better"));
  assert.match(find(".ml-blind").textContent, /Enter votes/);
  press(document.activeElement, "ArrowRight");
  assert.equal(document.activeElement, button("right is better"));
  press(document.activeElement, "ArrowRight");
  document.activeElement.click();
  assert.deepEqual(scene.model.messages, [{ type: "vote", column: "same" }], "who has no preference says so");
  scene.model.hear({ _blind: { ...BLIND, same: true } });
  assert.match(find(".ml-blind").textContent, /All wrote the same/);
  button("Reveal").focus();
  button("Reveal").click();
  scene.model.hear({ _blind: { ...BLIND, verdict: "No vote was given.", names: ["now", "kept"] } });
  assert.equal(document.activeElement, button("End"));
  button("End").click();
  scene.model.hear({ _blind: null });
  assert.equal(document.activeElement, field());
});

test("text of models, tokens and prompts is text, never markup", () => {
  const evil = "<img src=x onerror=alert(1)>";
  show({ prompt: evil, prompts: [evil] });
  scene.model.answerNow({ texts: [evil, `${evil} a`, evil, evil], candidates: [{ token: evil, probabilities: [1, 1, 1, 1] }], warning: evil, shading: [{ token: evil, loss: 1, kl: [1, 1, 1] }] });
  scene.model.hear({ _blind: { ...BLIND, prompt: evil, columns: [{ label: evil, text: evil }], verdict: evil } });
  assert.equal(view.root.querySelectorAll("img, script").length, 0);
  assert.ok(find(".ml-token").textContent.includes("<img"));
});
