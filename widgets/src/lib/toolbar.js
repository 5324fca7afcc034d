// @ts-check
// Groups that are one stop of Tab, with arrows inside; and buttons that keep the focus while they cannot be pressed.

import { h, set } from "./dom.js";

/**
 * @param {(Node | string)[]} face @param {() => void} act @param {AbortSignal} signal
 * @param {import("./dom.js").Attributes} [attributes]
 */
export function press(face, act, signal, attributes = {}) {
  const button = h("button", { type: "button", ...attributes, class: `ml-button ${attributes.class ?? ""}`.trim() }, ...face);
  button.addEventListener("click", () => {
    if (button.getAttribute("aria-disabled") !== "true") act();
  }, { signal });
  return button;
}

/** @param {HTMLElement} button @param {string} why  it cannot be pressed; empty: it can @param {string} [title]  what it does */
export function allow(button, why, title = "") {
  set(button, { "aria-disabled": why !== "", title: why || title });
}

/**
 * One stop of Tab for what `selector` finds in `root`; arrows, Home and End move inside, past a field Left and Right alone.
 * @param {HTMLElement} root @param {AbortSignal} signal @param {string} [selector]
 * @returns {() => void} to be called when the group has changed
 */
export function roving(root, signal, selector = "button") {
  const items = () => /** @type {HTMLElement[]} */ ([...root.querySelectorAll(selector)]).filter((each) => !each.closest("[hidden]"));
  /** @param {HTMLElement | undefined} chosen */
  const choose = (chosen) => {
    for (const item of items()) item.tabIndex = item === chosen ? 0 : -1;
  };
  root.addEventListener("focusin", ({ target }) => {
    const item = target instanceof Element ? /** @type {HTMLElement | null} */ (target.closest(selector)) : null;
    if (item) choose(item);
  }, { signal });
  // A field whose letters somebody types has the arrows for itself; one that has just got the focus lets them pass.
  /** @type {EventTarget | null} */
  let typed = null;
  root.addEventListener("input", ({ target }) => (typed = target), { signal });
  for (const end of ["change", "focusout"]) root.addEventListener(end, () => (typed = null), { signal });
  root.addEventListener("keydown", (event) => {
    const all = items();
    const target = /** @type {HTMLElement} */ (event.target);
    const at = all.indexOf(target);
    if (at < 0 || target === typed || event.ctrlKey || event.metaKey || event.altKey) return;
    const field = target.matches("select, input");
    if (field && /^(ArrowUp|ArrowDown|Home|End)$/.test(event.key)) return; // they change what it says
    const to = { ArrowRight: at + 1, ArrowDown: at + 1, ArrowLeft: at - 1, ArrowUp: at - 1, Home: 0, End: all.length - 1 }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    event.stopPropagation();
    all[Math.max(0, Math.min(all.length - 1, to))].focus();
  }, { signal });
  return () => {
    const all = items();
    if (all.filter(({ tabIndex }) => tabIndex === 0).length !== 1) choose(all.find(({ tabIndex }) => tabIndex === 0) ?? all[0]);
  };
}
