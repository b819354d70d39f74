/** Columns of tables of faces: their names and roles. */

import { PIXELS } from "./classes.js";
import { DataError } from "./errors.js";
import { listed, repr, shorten, strip } from "./python_text.js";

/** @typedef {"pixels" | "label" | "split" | "id"} Role */

/**
 * Column names in lower case, and their roles.
 * @type {Map<string, Role>}
 */
const COLUMNS = new Map([
  ["pixels", "pixels"],
  ["feature", "pixels"],
  ["emotion", "label"],
  ["label", "label"],
  ["usage", "split"],
  ["split", "split"],
  ["id", "id"],
]);

/** Longest id, in characters. */
const MAX_ID_LENGTH = 256;

export const ID_EXPECTED = `expected an id of 1 to ${MAX_ID_LENGTH} characters without control characters`;

const PIXELS_EXPECTED =
  `expected a column 'pixels' or 'feature', or ${PIXELS} columns such as pixel0 to pixel${PIXELS - 1}`;

/** Number of numbered columns from which on they count as pixels, even if they are not 2,304. */
const LEAST_PIXEL_COLUMNS = 100;

const NUMBERED = /^(.*?)([0-9]+)$/s;

/**
 * A range of adjacent columns, without its end.
 * @typedef {{start: number, end: number}} Range
 */

/**
 * Return the id in a cell without the spaces around it, or null if it cannot be one.
 * @param {string} text
 */
export function idOf(text) {
  const id = strip(text, " ");
  const isShort = id.length <= MAX_ID_LENGTH || [...id].length <= MAX_ID_LENGTH;
  // eslint-disable-next-line no-control-regex -- the characters that an id must not have
  return id !== "" && isShort && !/[\0-\x1f]/.test(id) ? id : null;
}

/**
 * Return the pixel columns of a table with one column per pixel: 2,304 adjacent columns whose names are the same text
 * followed by consecutive numbers. Other tables have none.
 * @param {string[]} names
 * @param {string} source
 * @param {number} row
 * @returns {Range | null}
 */
export function pixelColumns(names, source, row) {
  let run = { start: 0, end: 0 };
  for (const range of numberedRuns(names)) {
    if (range.end - range.start > run.end - run.start) run = range;
  }
  const count = run.end - run.start;
  if (count < LEAST_PIXEL_COLUMNS) return null;
  const shown = `${repr(names[run.start])} to ${repr(names[run.end - 1])}`;
  if (count !== PIXELS) {
    throw new DataError(source, `expected ${PIXELS} columns of pixels, found ${count}: ${shown}`, row);
  }
  const other = names.find((name) => COLUMNS.get(name.toLowerCase()) === "pixels");
  if (other !== undefined) {
    const found = `expected pixels in one column or in ${PIXELS}, found ${repr(other)} and ${shown}`;
    throw new DataError(source, `${found}; \`columns={'pixels': ${repr(other)}}\` chooses the former`, row);
  }
  return run;
}

/**
 * @param {string[]} names
 * @returns {Range[]} columns whose names are the same text followed by consecutive numbers
 */
function numberedRuns(names) {
  /** @type {Range[]} */
  const runs = [];
  let start = 0;
  let before = { text: "", number: -2 };
  [...names, ""].forEach((name, place) => {
    const match = NUMBERED.exec(name);
    const here = match === null ? { text: "", number: -2 } : { text: match[1], number: Number(match[2].slice(0, 9)) };
    if (here.text !== before.text || here.number !== before.number + 1 || here.number < 0) {
      runs.push({ start, end: place });
      start = place;
    }
    before = here;
  });
  return runs;
}

/**
 * Assign roles to columns.
 * @param {string[]} names
 * @param {string} source
 * @param {number} row
 * @param {number | null} pixels column of the pixels if it is known
 * @returns {Map<Role, number>}
 */
export function assignRoles(names, source, row, pixels) {
  /** @type {Map<Role, number>} */
  const places = new Map(pixels === null ? [] : [["pixels", pixels]]);
  names.forEach((name, place) => {
    const role = COLUMNS.get(name.toLowerCase());
    if (role === undefined || (role === "pixels" && pixels !== null)) return;
    const taken = places.get(role);
    if (taken !== undefined) throw twoColumns(names[taken], name, role, source, row);
    places.set(role, place);
  });
  if (!places.has("pixels")) throw new DataError(source, `${PIXELS_EXPECTED}, found ${quoted(names)}`, row);
  return places;
}

/**
 * @param {string} one
 * @param {string} other
 * @param {Role} role
 * @param {string} source
 * @param {number} row
 */
function twoColumns(one, other, role, source, row) {
  const remedy = one === other ? "rename one of them" : `\`columns={'${role}': ${repr(other)}}\` chooses one`;
  return new DataError(source, `expected one column of ${role}, found ${repr(one)} and ${repr(other)}; ${remedy}`, row);
}

/**
 * Return a warning that names the columns without a role, or null if all have one.
 * @param {string[]} names
 * @param {string} source
 * @param {Set<number>} read positions of the columns that are read
 */
export function warningOfColumnsLeftOut(names, source, read) {
  const leftOut = names.filter((name, place) => !read.has(place) && !COLUMNS.has(name.toLowerCase()));
  return leftOut.length === 0 ? null : `${source}: columns left out: ${quoted(leftOut)}`;
}

/** @param {string[]} names */
function quoted(names) {
  return listed(names.map((name) => shorten(name)));
}
