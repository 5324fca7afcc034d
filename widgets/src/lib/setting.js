// @ts-check
// What a recipe says of one number: rules in order, each with a filter of tensor names and a value; a list is spread
// evenly over the layers of its slice (mergekit's gradient). The same arithmetic as mergelab/methods/curve.py.

/** @typedef {import("./sketch.js").Value} Value */
/** @typedef {import("./sketch.js").Setting} Setting  the first rule whose filter is in the tensor's name counts */
/** @typedef {Setting[number]} Rule */
/** @typedef {{ attention: string, feed_forward: string } | null} Kinds  the filters that name these tensors */
/** @typedef {"attention" | "feed_forward" | "rest"} Kind  rest: norms, and whatever else a layer has */

export const KINDS = /** @type {const} */ (["attention", "feed_forward", "rest"]);

/** The part of a tensor's name that tells its kind; null: nothing does. @param {Kinds} kinds @param {Kind} kind */
export const filterOf = (kinds, kind) => (kinds && kind !== "rest" ? kinds[kind] : null);

/** @param {string | null} filter */
const isAll = (filter) => filter === null || filter === "" || filter === "*";
/** @param {string | null} filter @param {string | null} name */
const catches = (filter, name) => isAll(filter) || (name !== null && name.includes(/** @type {string} */ (filter)));

/**
 * The value of a layer of a slice.
 * @param {Value} value @param {number} offset from 0 @param {number} layers
 */
export function valueAt(value, offset, layers) {
  if (!Array.isArray(value)) return value;
  const whole = layers > 1 ? offset * (value.length - 1) : value.length - 1;
  const span = Math.max(1, layers - 1);
  const rest = layers > 1 ? whole % span : 0;
  const place = layers > 1 ? (whole - rest) / span : whole;
  return rest ? value[place] + (value[place + 1] - value[place]) * (rest / span) : value[place];
}

/** @param {readonly number[]} points @param {number} layers @returns {number[]} */
const spread = (points, layers) => Array.from({ length: layers }, (_, offset) => /** @type {number} */ (valueAt([...points], offset, layers)));

/**
 * The value for tensors of a kind in a layer of a slice; null: no rule is for them.
 * @param {Setting} setting @param {string | null} filterName as in Kinds; null: tensors that only a rule for all is about
 * @param {number} offset @param {number} layers
 */
export function at(setting, filterName, offset, layers) {
  const rule = setting.find(([filter]) => catches(filter, filterName));
  return rule ? valueAt(rule[1], offset, layers) : null;
}

/** The number of every layer; null where there is none. @param {Setting} setting @param {string | null} filterName @param {number} layers */
export function expand(setting, filterName, layers) {
  return Array.from({ length: layers }, (_, offset) => {
    const value = at(setting, filterName, offset, layers);
    return typeof value === "number" ? value : null;
  });
}

/**
 * The shortest value that gives these layers to the last bit: a number for a flat curve, else the fewest points that
 * fall on layers.
 * @param {readonly number[]} values of every layer @returns {number | number[]}
 */
export function simplest(values) {
  const span = values.length - 1;
  if (values.every((value) => Object.is(value, values[0]))) return values[0];
  for (let parts = 1; parts < span; parts += 1) {
    if (span % parts) continue;
    const points = values.filter((_, i) => i % (span / parts) === 0);
    if (same(values, spread(points, values.length))) return points;
  }
  return [...values];
}

/** What is said of one kind, as it is written. @param {Setting} setting @param {string | null} filterName @returns {Value | null} */
export function valueOf(setting, filterName) {
  return setting.find(([filter]) => catches(filter, filterName))?.[1] ?? null;
}

/** The kind that a filter is about and no other. @param {string | null} filter @param {Kinds} kinds @returns {Kind | null} */
function kindOf(filter, kinds) {
  if (isAll(filter)) return "rest";
  const found = KINDS.filter((kind) => kind !== "rest" && kinds && catches(filter, kinds[kind]));
  return found.length === 1 ? found[0] : null;
}

/** Rules that count and are about other tensors than the picture has. @param {Setting} setting @param {Kinds} kinds */
export function others(setting, kinds) {
  return live(setting).filter(([filter]) => kindOf(filter, kinds) === null);
}

/** Whether attention, feed-forward and the rest of the tensors differ. @param {Setting} setting @param {Kinds} kinds @param {number} layers */
export function isSeparate(setting, kinds, layers) {
  const [first, ...further] = KINDS.map((kind) => expand(setting, filterOf(kinds, kind), layers));
  return further.some((values) => !same(values, first));
}

/** @param {readonly (number | null)[]} one @param {readonly (number | null)[]} other */
const same = (one, other) => one.every((value, i) => Object.is(value, other[i]));

/** Up to the first rule for all: nothing reaches those behind it. @param {Setting} setting @returns {Setting} */
function live(setting) {
  const last = setting.findIndex(([filter]) => isAll(filter));
  return last < 0 ? setting : setting.slice(0, last + 1);
}

/**
 * What a part or a slice has, as one list: the nearest scope's rules first, the default of the method last.
 * @param {readonly (Setting | undefined)[]} scopes @param {Value | null} standard @returns {Setting}
 */
export function inherited(scopes, standard) {
  const rules = scopes.flatMap((setting) => setting ?? []);
  return live(standard === null ? rules : [...rules, [null, standard]]);
}

/**
 * The setting with another value for one kind; what is said of other tensors stays.
 * @param {Setting} setting @param {Kinds} kinds @param {Kind} kind @param {Value} value @returns {Setting}
 */
function put(setting, kinds, kind, value) {
  const name = filterOf(kinds, kind);
  const found = setting.findIndex(([filter]) => catches(filter, name));
  const place = found < 0 ? setting.length : found;
  if (kind !== "rest") {
    const own = found >= 0 && kindOf(setting[found][0], kinds) === kind;
    return [...setting.slice(0, place), [own ? setting[found][0] : name, value], ...setting.slice(own ? place + 1 : place)];
  }
  // Attention and feed-forward stop sharing the rule for all.
  const leaving = KINDS.filter((each) => kinds && each !== "rest" && found >= 0 && setting.findIndex(([filter]) => catches(filter, kinds[each])) === found);
  const kept = leaving.map((each) => /** @type {Rule} */ ([filterOf(kinds, each), setting[found][1]]));
  return [...setting.slice(0, place), ...kept, [null, value], ...setting.slice(place + 1)];
}

/** Without rules that say what the next one for the same tensors says. @param {Setting} setting @param {Kinds} kinds @param {number} layers */
function tidy(setting, kinds, layers) {
  const kept = live(setting);
  for (let i = kept.length - 2; i >= 0; i -= 1) {
    const kind = kindOf(kept[i][0], kinds);
    if (kind === null || kind === "rest") continue;
    const name = filterOf(kinds, kind);
    const behind = kept.slice(i + 1);
    const next = behind.findIndex(([filter]) => catches(filter, name));
    if (next < 0 || behind.slice(0, next + 1).some(([filter]) => kindOf(filter, kinds) === null)) continue;
    if (same(expand([kept[i]], name, layers), expand([behind[next]], name, layers))) kept.splice(i, 1);
  }
  return kept;
}

/**
 * The setting with other values for some kinds, in its simplest form.
 * @param {Setting} setting @param {Kinds} kinds @param {number} layers @param {Partial<Record<Kind, Value>>} values
 * @returns {Setting}
 */
export function withValues(setting, kinds, layers, values) {
  let changed = [...setting];
  for (const kind of KINDS) {
    const value = values[kind];
    if (value !== undefined && (kind === "rest" || kinds)) changed = put(changed, kinds, kind, value);
  }
  return tidy(changed, kinds, layers);
}

/**
 * The setting with other numbers at some layers, for some kinds. Layers that had no number get that of the first.
 * @param {Setting} setting @param {Kinds} kinds @param {number} layers @param {readonly Kind[]} which
 * @param {(old: number | null, offset: number) => number | null} next  null: as it was
 * @returns {Setting}
 */
export function withPoints(setting, kinds, layers, which, next) {
  /** @type {Partial<Record<Kind, Value>>} */
  const values = {};
  for (const kind of which) {
    const before = expand(setting, filterOf(kinds, kind), layers);
    const after = before.map((old, offset) => next(old, offset) ?? old);
    const first = after.find((value) => value !== null);
    if (first === undefined || first === null || same(before, after)) continue;
    values[kind] = simplest(after.map((value) => value ?? first));
  }
  return Object.keys(values).length ? withValues(setting, kinds, layers, values) : setting;
}

/** The same curve from the last layer to the first. @param {Value} value @returns {Value} */
export const mirrored = (value) => (Array.isArray(value) ? [...value].reverse() : value);

/**
 * A pasted value: inside what the number may be, and with no more points than layers. Numbers that fall between its
 * points are rounded to the step of a hand, or to a hundredth of the curve's own height where that is finer.
 * @param {Value} value @param {number} low @param {number} high @param {number} layers @param {number} step a power of ten @returns {Value}
 */
export function fitted(value, low, high, layers, step) {
  const inside = (/** @type {number} */ each) => Math.min(high, Math.max(low, each));
  if (!Array.isArray(value)) return typeof value === "number" ? inside(value) : value;
  const points = value.map(inside);
  if (points.length <= layers) return points;
  const short = simplest(spread(points, layers));
  if (!Array.isArray(short)) return short;
  const fine = Math.min(step, stepOf([Math.min(...points), Math.max(...points)]));
  // First without the last bits, by which the two halves of a symmetric curve differ: at half a step they would part.
  return simplest(short.map((each) => (points.includes(each) ? each : inside(settle(Number(each.toPrecision(12)), fine)))));
}

/** The smallest step of a hand: a hundredth of a dial that is 1 wide. @param {readonly [number, number]} dial */
export function stepOf([low, high]) {
  return 10 ** (Math.floor(Math.log10(high - low) + 1e-9) - 2);
}

/** To whole steps. @param {number} value @param {number} step a power of ten */
export function settle(value, step) {
  const digits = Math.max(0, -Math.round(Math.log10(step)));
  return Number((Math.round(value / step) * step).toFixed(digits)) + 0;
}

/** Heights 0 to 1 at places spread evenly over the depth; between them straight lines. */
export const SHAPES = /** @type {const} */ ({
  flat: { word: "Flat", heights: [0.5] },
  linear: { word: "Linear", heights: [0, 1] },
  u: { word: "U", heights: [1, 0.25, 0, 0.25, 1] },
  bell: { word: "Bell", heights: [0, 0.25, 0.75, 1, 0.75, 0.25, 0] },
  step: { word: "Step", heights: null },
});
/** @typedef {keyof typeof SHAPES} Shape */

/**
 * A shape between the lowest and the highest number that a curve has now; a flat curve opens by a third of the dial. A
 * curve that is nowhere below 0 stays so, whatever the dial has below. A line keeps its ends where they differ.
 * @param {Shape} name @param {readonly number[]} values of every layer @param {readonly [number, number]} dial
 * @returns {number | number[]}
 */
export function shaped(name, values, dial) {
  const step = stepOf(dial);
  const count = values.length;
  let low = Math.min(...values);
  let high = Math.max(...values);
  if (name === "flat" || count === 1) return low === high ? low : settle(values.reduce((sum, value) => sum + value, 0) / count, step);
  if (low === high) {
    const floor = low >= 0 ? Math.max(0, dial[0]) : dial[0];
    const third = (dial[1] - floor) / 3;
    low = Math.max(Math.min(floor, low), low - third);
    high = Math.min(Math.max(dial[1], high), high + third);
  }
  if (name === "linear" && values[0] !== values[count - 1]) [low, high] = [values[0], values[count - 1]];
  const height = (/** @type {number} */ share) => settle(low + (high - low) * share, step);
  const { heights } = SHAPES[name];
  if (!heights) return simplest(values.map((_, i) => height(2 * i < count ? 0 : 1)));
  const points = heights.map(height);
  return points.length <= count ? points : simplest(spread(points, count).map((value) => settle(value, step)));
}
