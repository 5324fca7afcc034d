// @ts-check
// A merge on its way to disk: how far it is, how long it will take, and a button that stops it.

import { focusedBeside, h, icon, pool, say } from "./lib/dom.js";
import { keepKeys } from "./lib/keys.js";
import { followTheme } from "./lib/theme.js";

/**
 * @typedef {{ name: string, holds: boolean, said: string }} Check
 * @typedef {{ state: "starting" | "checking" | "writing" | "proving" | "done" | "stopped" | "failed", words: string, out: string, share: number,
 *   detail: string, left: string, remark: string, verdict: string, checks: Check[], error: string, recipe: string, bytes: string }} Shown
 * @typedef {{ _shown: Shown }} State
 */

const UNDER_WAY = ["starting", "checking", "writing", "proving"];

/** @param {{ model: import("@anywidget/types").AnyModel<State>, el: HTMLElement, signal?: AbortSignal }} context */
function render({ model, el, signal: outer }) {
  const over = new AbortController();
  const { signal } = over;
  outer?.addEventListener("abort", () => over.abort(), { once: true });

  const words = h("h3");
  const out = h("code", { class: "ml-out" });
  const stop = h("button", { class: "ml-button ml-small", type: "button" }, icon("stop"), "Stop");
  let asked = false;
  stop.addEventListener("click", () => {
    asked = true;
    model.send({ type: "stop" });
    draw();
  }, { signal });
  const filled = h("div", { class: "ml-filled" });
  const bar = h("div", { class: "ml-bar", role: "progressbar", "aria-label": "Weights written", "aria-valuemin": 0, "aria-valuemax": 100 }, filled);
  const detail = h("span");
  const left = h("span");
  const remark = h("p", { class: "ml-caption" });
  const verdict = h("p", { class: "ml-caption" });
  const checks = h("ul", { class: "ml-checks-of-proof" });
  const errorText = h("div", { class: "ml-error-text" });
  const error = h("div", { class: "ml-error", role: "alert" }, icon("cross"), errorText);
  const spoken = h("div", { class: "ml-hidden", role: "status" });
  const root = h(
    "section",
    { class: "ml-root ml-merging", "aria-label": "Merge to disk" },
    h("div", { class: "ml-merging-head" }, words, out, stop),
    bar,
    h("div", { class: "ml-merging-figures ml-mute" }, detail, left),
    remark,
    verdict,
    checks,
    error,
    spoken,
  );

  let state = "";
  function draw() {
    const shown = model.get("_shown");
    const running = UNDER_WAY.includes(shown.state);
    root.dataset.state = shown.state;
    say(words, running && asked ? "Stopping" : shown.words);
    say(out, shown.out);
    out.title = shown.out;
    const percent = Math.floor(shown.share * 100);
    bar.setAttribute("aria-valuenow", `${percent}`);
    bar.setAttribute("aria-valuetext", `${shown.words}: ${percent} %`);
    filled.style.width = `${shown.share * 100}%`;
    say(detail, shown.detail || `${shown.bytes} to write, recipe ${shown.recipe}`);
    say(left, shown.left);
    say(remark, shown.remark);
    remark.hidden = !shown.remark;
    say(verdict, shown.verdict);
    verdict.hidden = !shown.verdict;
    pool(checks, shown.checks.length, () => h("li", {}, icon("tick"), h("span", { class: "ml-check-words" }))).forEach((item, index) => {
      const check = /** @type {Check} */ (shown.checks[index]);
      say(/** @type {Element} */ (item.lastElementChild), `${check.name}: ${check.said}`);
    });
    checks.hidden = !shown.checks.length;
    error.hidden = !shown.error;
    say(errorText, shown.error);
    // A button that goes while it has the focus must not leave it to the page.
    if (!running && focusedBeside(stop) === stop) root.focus();
    stop.hidden = !running;
    if (shown.state !== state) {
      say(spoken, `${shown.words} ${shown.out}. ${shown.verdict}`);
      state = shown.state;
    }
  }
  root.tabIndex = -1;
  model.on("change:_shown", draw);
  signal.addEventListener("abort", () => model.off("change:_shown", draw));
  keepKeys(root, signal);
  const wrap = h("div", { class: "ml-wrap-merging" }, root);
  signal.addEventListener("abort", () => wrap.remove());
  followTheme(root, signal);
  el.append(wrap);
  draw();
  return () => over.abort();
}

export default { render };
