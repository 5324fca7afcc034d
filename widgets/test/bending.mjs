// Slices of every kind that a panel of coefficients can meet, and the methods they are of.

const number = (name, per_part, more = {}) => ({ name, per_part, kind: "number", default: null, needed: !("default" in more), dial: [0, 1], low: null, high: null, choices: [], doc: "", effect: true, curve: true, ...more });
export const METHODS = [
  { name: "passthrough", word: "Pass", base: false, parts: [1, 1], numbers: [number("scale", true, { dial: [0, 1.5], default: 1 })] },
  { name: "linear", word: "Linear", base: false, parts: [1, null], numbers: [number("weight", true), { ...number("normalize", false, { kind: "switch", default: true, dial: null, curve: false }) }] },
  { name: "ties", word: "TIES", base: true, parts: [1, null], numbers: [number("weight", true, { dial: [-1, 2] }), number("density", true, { default: 1, low: 0, high: 1 }), number("lambda", false, { dial: [0, 2], default: 1 })] },
];
export const KINDS_HERE = { attention: "self_attn", feed_forward: "mlp" };
export const part = (source, start, numbers = {}) => ({ source, start, numbers });
export const slice = (method, layers, parts, numbers = {}) => ({ method, base: null, layers, parts, numbers });
/** Base 0–3 whole; TIES over 4–7; Arith 6–7 whole; a blend of base and Bible over 8–11. */
export const mixed = () => ({
  base: 0,
  widen: false,
  slices: [
    slice("passthrough", 4, [part(0, 0)]),
    slice("ties", 4, [part(0, 4), part(1, 4, { weight: [["self_attn", [0.3, 0.48, 0.5, 0.5]], [null, [0.45, 0.3]]] }), part(2, 4)], { weight: [[null, 0.25]] }),
    slice("passthrough", 2, [part(1, 6)]),
    slice("linear", 4, [part(0, 8, { weight: [[null, 0.5]] }), part(2, 8, { weight: [["q_proj", 0.9], [null, [0.2, 2.5]]] })]),
  ],
});
