// @ts-check
// Making elements. Text goes in as text nodes only; there is no way here to hand over markup.

const SVG = "http://www.w3.org/2000/svg";

/** @typedef {Record<string, string | number | boolean | null | undefined>} Attributes */

/** @param {Element} element @param {Attributes} attributes */
function dress(element, attributes) {
  for (const name in attributes) {
    const value = attributes[name];
    if (value !== null && value !== undefined && value !== false) element.setAttribute(name, value === true ? "" : `${value}`);
  }
}

/**
 * Where they have changed: an attribute that is set anew, if to what it was, may cost the whole page a layout.
 * @param {Element} element @param {Record<string, string | number | boolean>} attributes
 */
export function set(element, attributes) {
  for (const [name, value] of Object.entries(attributes)) {
    if (element.getAttribute(name) !== `${value}`) element.setAttribute(name, `${value}`);
  }
}

/**
 * @template {keyof HTMLElementTagNameMap} T
 * @param {T} tag @param {Attributes} [attributes] @param {(Node | string)[]} children
 * @returns {HTMLElementTagNameMap[T]}
 */
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  dress(element, attributes);
  element.append(...children);
  return element;
}

/**
 * @template {keyof SVGElementTagNameMap} T
 * @param {T} tag @param {Attributes} [attributes] @param {(Node | string)[]} children
 * @returns {SVGElementTagNameMap[T]}
 */
export function s(tag, attributes = {}, ...children) {
  const element = document.createElementNS(SVG, tag);
  dress(element, attributes);
  element.append(...children);
  return element;
}

/** @param {number} x @param {number} y @param {string | number} words @param {Attributes} [attributes] */
export function label(x, y, words, attributes = {}) {
  return s("text", { x, y, ...attributes }, `${words}`);
}

/** @param {Element} element @param {string} text */
export function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** What has the focus where an element lies; of a shadow root the page knows only its host. @param {Node} where */
export const focusedBeside = (where) => /** @type {HTMLElement | null} */ (/** @type {Partial<ShadowRoot>} */ (where.getRootNode()).activeElement ?? null);

/**
 * Whoever has the focus in `root` now may be gone or hidden after a frame: then the nearest stop of Tab gets it, so that keys go on
 * from there. @param {Element} root @returns {() => void} to be called after the frame
 */
export function heir(root) {
  const before = focusedBeside(root);
  if (!before || before === root || !root.contains(before)) return () => {};
  /** @type {Element[]} */
  const around = [];
  for (let each = before.parentElement; each && each !== root; each = each.parentElement) around.push(each);
  return () => {
    if (root.contains(before) && !before.closest("[hidden]")) return;
    for (const each of around) {
      if (!root.contains(each)) continue;
      const stops = /** @type {HTMLElement[]} */ ([...each.querySelectorAll("button, input, select, textarea, [tabindex]")]);
      const next = stops.find((stop) => stop.tabIndex >= 0 && !stop.closest("[hidden]"));
      if (next) return next.focus({ preventScroll: true });
    }
  };
}

/**
 * Keep `count` children in `parent`, made by `make`, so that what stays keeps its focus and its transitions.
 * @template {Element} E
 * @param {Element} parent @param {number} count @param {(index: number) => E} make @returns {E[]}
 */
export function pool(parent, count, make) {
  const before = parent.childElementCount;
  for (let i = before; i > count; i -= 1) parent.lastElementChild?.remove();
  for (let i = before; i < count; i += 1) parent.append(make(i));
  return /** @type {E[]} */ ([...parent.children]);
}

const ICONS = {
  stop: "M4.5 4.5h7v7h-7z",
  cross: "m4 4 8 8M12 4l-8 8",
  play: "M5 3.5v9l7-4.5z",
  split: "M8 2v12M5 5.5 2.5 8 5 10.5M11 5.5 13.5 8 11 10.5",
  remove: "M3.5 4.5h9M6.5 4.5V3h3v1.5M5 4.5l.6 8.5h4.8l.6-8.5",
  lock: "M4.5 7.5h7v5.5h-7zM6 7.5V5.2a2 2 0 0 1 4 0v2.3",
  undo: "M6.5 3 3 6.5 6.5 10M3 6.5h6a4 4 0 0 1 0 8H7",
  redo: "M9.5 3 13 6.5 9.5 10M13 6.5H7a4 4 0 0 0 0 8h2",
  keep: "M4.5 2.5h7v11L8 10.8l-3.5 2.7z",
  risk: "M8 2.5 14.5 13.5h-13zM8 6.5v3.5M8 11.8v.2",
  tick: "m3 8.5 3.5 3.5L13 4.5",
  note: "M8 7.5v4M8 4.8v.2M14 8A6 6 0 1 1 2 8a6 6 0 0 1 12 0z",
  plus: "M8 3v10M3 8h10",
  loop: "M3 8a5 5 0 1 1 1.6 3.7M3 12.5V9.3h3.2",
  down: "m4.5 6.5 3.5 3.5 3.5-3.5",
  copy: "M5.5 5.5h8v8h-8zM3 10.5h-.5v-8h8V3",
  open: "m5.5 3.5 5 4.5-5 4.5",
};

/** @param {keyof typeof ICONS} name */
export function icon(name) {
  return s("svg", { class: "ml-icon", viewBox: "0 0 16 16", "aria-hidden": "true" }, s("path", { d: ICONS[name] }));
}
