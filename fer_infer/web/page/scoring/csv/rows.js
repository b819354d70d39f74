/** The column layout of a CSV, and a slow parser of single rows that explains malformed ones. */

import { LineError, readFace, splitCells, wrongValue } from "./cells.js";
import { LABEL_EXPECTED, PIXELS, SPLIT_EXPECTED, labelOf, splitOf } from "./classes.js";
import { ID_EXPECTED, assignRoles, idOf, pixelColumns } from "./columns.js";
import { DataError } from "./errors.js";
import { repr, shorten, strip } from "./python_text.js";

/** Maximum length of a line with its line end. */
export const MAX_LINE_BYTES = 1 << 17;

/** Separators in files that are named CSV but are not comma-separated. */
const OTHER_SEPARATORS = [";", "\t", "|"];

const CR = 13;
const BOM = [0xef, 0xbb, 0xbf];

/**
 * The layout of a file.
 * @typedef {object} Dialect
 * @property {string[]} names of the columns; where there is one column per pixel, these together are one of them
 * @property {number} pixels position of the column in `names`
 * @property {number} label -1 if there is no such column
 * @property {number} split
 * @property {number} id
 * @property {string[]} pixelNames of the 2,304 columns in a file with one column per pixel; empty in other files
 */

/**
 * Cells of a row other than the pixels; -1 or empty if the file has no such column.
 * @typedef {{label: number, split: string, id: string}} Cells
 */

/**
 * Recognize a header line.
 * @param {Uint8Array} line without its line end
 * @param {string} source
 * @param {number} row
 * @returns {Dialect}
 */
export function dialectOf(line, source, row) {
  const expected = "expected a header with a column 'pixels' or 'feature'";
  if ((line[0] === 0xff && line[1] === 0xfe) || (line[0] === 0xfe && line[1] === 0xff)) {
    throw new DataError(source, `${expected}, in UTF-8; found UTF-16`, row);
  }
  if (line.includes(CR)) throw new DataError(source, "expected lines that end in LF or CRLF, found only CR", row);
  let names;
  try {
    names = splitCells(withoutBom(line)).map((name) => strip(name, " "));
  } catch (error) {
    throw error instanceof LineError ? new DataError(source, `${expected}; found ${error.message}`, row) : error;
  }
  const run = pixelColumns(names, source, row);
  const pixelNames = run === null ? [] : names.slice(run.start, run.end);
  if (run !== null) names.splice(run.start, PIXELS, `${pixelNames[0]}..${pixelNames[PIXELS - 1]}`);
  const separator = names.length > 1 || run !== null ? undefined : OTHER_SEPARATORS.find((mark) => names[0].includes(mark));
  if (separator !== undefined) {
    const found = `found ${repr(separator)} in ${shorten(names[0])}`;
    throw new DataError(source, `expected columns separated by commas, ${found}`, row);
  }
  const places = assignRoles(names, source, row, run === null ? null : run.start);
  const [pixels, label, split, id] = /** @type {const} */ (["pixels", "label", "split", "id"]).map(
    (role) => places.get(role) ?? -1,
  );
  return { names, pixels, label, split, id, pixelNames };
}

/**
 * Parse one line; the error names row, column, and expected and found values.
 * @param {Uint8Array} line without its LF
 * @param {number} row
 * @param {Dialect} dialect
 * @param {string} source
 * @param {Uint8Array} pixels receives the gray levels
 * @returns {Cells}
 */
export function parseRow(line, row, dialect, source, pixels) {
  const cells = cellsOf(line, row, dialect, source);
  const values = cells.slice(dialect.pixels, dialect.pixels + dialect.pixelNames.length);
  if (values.length > 0) cells.splice(dialect.pixels, PIXELS, values.join(","));
  const problem = readFace(cells[dialect.pixels], pixels);
  if (problem !== null) {
    dialect.pixelNames.forEach((name, i) => {
      const wrong = wrongValue(values[i]);
      if (wrong !== null) throw new DataError(source, wrong, row, name);
    });
    throw new DataError(source, problem, row, dialect.names[dialect.pixels]);
  }
  /**
   * @template T
   * @param {number} place
   * @param {(text: string) => T | null} read
   * @param {string} expected
   * @param {T} otherwise
   */
  const meaning = (place, read, expected, otherwise) => {
    if (place === -1) return otherwise;
    const value = read(cells[place]);
    if (value !== null) return value;
    const found = shorten(strip(cells[place], " "));
    throw new DataError(source, `${expected}, found ${found}`, row, dialect.names[place]);
  };
  const label = meaning(dialect.label, labelOf, LABEL_EXPECTED, -1);
  const id = meaning(dialect.id, idOf, ID_EXPECTED, "");
  return { label, id, split: meaning(dialect.split, splitOf, SPLIT_EXPECTED, "") };
}

/**
 * @param {Uint8Array} line
 * @param {number} row
 * @param {Dialect} dialect
 * @param {string} source
 * @returns {string[]}
 */
function cellsOf(line, row, dialect, source) {
  const n = dialect.names.length + Math.max(0, dialect.pixelNames.length - 1);
  const expected = n === 1 ? "expected 1 cell" : `expected ${n} cells`;
  if (line.length >= MAX_LINE_BYTES) {
    throw new DataError(source, `expected at most ${MAX_LINE_BYTES} bytes, found more`, row);
  }
  let cells;
  try {
    cells = splitCells(withoutCr(line));
  } catch (error) {
    throw error instanceof LineError ? new DataError(source, `${expected}, found ${error.message}`, row) : error;
  }
  if (cells.length !== n) throw new DataError(source, `${expected}, found ${cells.length}`, row);
  return cells;
}

/**
 * Return whether a line is blank: only spaces, tabs and its line end.
 * @param {Uint8Array} line
 */
export function isBlank(line) {
  return line.every((byte) => byte === 0x20 || byte === 0x09 || byte === CR);
}

/** @param {Uint8Array} line */
export function withoutBom(line) {
  return BOM.every((byte, i) => line[i] === byte) ? line.subarray(BOM.length) : line;
}

/** @param {Uint8Array} line */
export function withoutCr(line) {
  let end = line.length;
  while (end > 0 && line[end - 1] === CR) end -= 1;
  return line.subarray(0, end);
}
