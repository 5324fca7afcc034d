// @ts-check
// Why layers cannot go where a hand wants them, and the ways out. Python says what fits; here it is looked up.

import { baseOf, blendRun, methodOf } from "./mixing.js";
import { bordersOf, insertRun, rangeOf } from "./sketch.js";

/** @typedef {import("./draft.js").Draft} Draft */
/** @typedef {import("./sketch.js").Sketch} Sketch */
/** @typedef {import("./sketch.js").Run} Run */
/** @typedef {{ words: string, sketch: Sketch }} Way  out of a refusal: what its button says, what it makes */
/** @typedef {{ what: string, more: string, ways: Way[] }} Refusal  the reason first */

/** @param {Sketch} sketch @param {number} source */
export const holds = ({ slices }, source) => slices.some(({ parts }) => parts.some((part) => part.source === source));

/** The facts that keep a source from the base: a depth of its own, say, does not. @param {import("./draft.js").Fit | undefined} fit */
const obstacles = (fit) => fit?.facts.filter(({ hinders }) => hinders) ?? [];

/** The first figures that keep a source from the base, theirs first: "96 ≠ 128". @param {Draft} draft @param {number} source */
export function unlike({ fits }, source) {
  const [fact] = obstacles(fits[source]);
  return fact ? `${fact.theirs} ≠ ${fact.ours}` : "";
}

/**
 * Whether a source may come into a stack that has none of it yet.
 * @param {Draft} draft @param {Sketch} before @param {number} source @param {Sketch} next the stack with it @returns {Refusal | null}
 */
export function misfit({ fits, sources }, before, source, next) {
  const fit = fits[source];
  if (!fit || fit.grade === "fits" || (fit.grade === "preview" && holds(before, source))) return null;
  if (fit.grade === "preview" && before.widen && fit.widen) return null;
  const { name } = sources[source];
  const what = fit.why.startsWith(name) ? fit.why : `${name}: ${fit.why}`;
  if (fit.grade === "no") return { what, more: "", ways: [] };
  const found = obstacles(fit);
  const widen = { words: found.length === 1 ? `Widen to ${found[0].ours}` : "Widen", sketch: { ...next, widen: true } };
  const ways = [...(fit.widen ? [widen] : []), { words: "Preview only", sketch: next }];
  return { what, more: "Previews here, cannot be saved.", ways };
}

/** Why a source cannot be blended with those of a slice; "" where it can. @param {Draft} draft @param {readonly number[]} sources @param {number} source */
export function clash({ blends }, sources, source) {
  return sources.map((other) => blends[other]?.[source] ?? "").find(Boolean) ?? "";
}

/**
 * A run of a source put in front of output layer `at`, or blended over the layers from there on.
 * @param {Draft} draft @param {Sketch} before @param {Run} run @param {{ at: number, blend: boolean }} place
 * @returns {{ next: Sketch, refusal: Refusal | null }} what it makes, allowed or not
 */
export function brought(draft, before, run, { at, blend }) {
  const inserted = insertRun(before, at, run);
  if (!blend) return { next: inserted, refusal: misfit(draft, before, run.source, inserted) };
  const { sources, methods } = draft;
  const instead = { words: "Use a slice of its own", sketch: inserted };
  const end = at + run.end - run.start;
  const borders = bordersOf(before);
  const under = before.slices.filter((_, i) => borders[i] < end && borders[i + 1] > at);
  const clashes = clash(draft, under.flatMap(({ parts }) => parts.map(({ source }) => source)), run.source);
  if (clashes) {
    const why = `${sources[run.source].name}: ${clashes}`;
    const apart = misfit(draft, before, run.source, inserted);
    if (!apart) return { next: before, refusal: { what: why, more: "", ways: [instead] } };
    // Where it does not fit as it is either, its own slice is there to be heard.
    const possible = apart.ways.some(({ sketch }) => sketch === inserted);
    return { next: before, refusal: { what: why, more: possible ? "In a slice of its own it previews here, but cannot be saved." : "", ways: possible ? [instead] : [] } };
  }
  const next = blendRun(before, at, run, methods, sources.map(({ layers }) => layers));
  if (next) return { next, refusal: misfit(draft, before, run.source, next) };
  const { name } = sources[run.source];
  const base = under.find((slice) => baseOf(before, slice, methods) === run.source);
  const there = base ? `${name} is the base of ${methodOf(methods, base.method).word} there.` : `${name} ${rangeOf(run.start, run.end - run.start)} is in that slice already, or the run ends above the stack.`;
  return { next: before, refusal: { what: there, more: "", ways: [instead] } };
}
