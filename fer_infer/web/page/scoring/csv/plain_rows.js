/** A fast decoder of plain rows, which are nearly all rows of most files. */

import { PIXELS, labelOf, splitOf } from "./classes.js";
import { idOf } from "./columns.js";

const [COMMA, CR, QUOTE, SPACE, ZERO] = [0x2c, 0x0d, 0x22, 0x20, 0x30];

/**
 * Decode a row whose cells other than the pixels are unquoted ASCII, and whose pixels are integers with single
 * separators, perhaps in quotes.
 * @param {Uint8Array} bytes
 * @param {number} start of the line
 * @param {number} lineEnd position of its LF
 * @param {import("./rows.js").Dialect} dialect
 * @param {Uint8Array} pixels receives the gray levels; undefined if the row is not plain
 * @returns {import("./rows.js").Cells | null} null if the row is not plain or invalid, which `parseRow` decides
 */
export function decodePlainRow(bytes, start, lineEnd, dialect, pixels) {
  let end = lineEnd;
  while (end > start && bytes[end - 1] === CR) end -= 1;
  const cells = { label: -1, split: "", id: "" };
  const last = dialect.names.length - 1;
  let place = start;
  for (let column = 0; column <= last; column += 1) {
    const begin = place;
    place = column === dialect.pixels ? endOfPixels(bytes, begin, end, dialect, pixels) : endOfCell(bytes, begin, end);
    if (place === -1 || (column === last ? place !== end : place === end || bytes[place] !== COMMA)) return null;
    if (!readCell(bytes, begin, place, column, dialect, cells)) return null;
    place += 1;
  }
  return cells;
}

/**
 * @param {Uint8Array} bytes
 * @param {number} begin
 * @param {number} end
 */
function endOfCell(bytes, begin, end) {
  let place = begin;
  while (place < end && bytes[place] !== COMMA) {
    if (bytes[place] >= 0x80 || bytes[place] === QUOTE || bytes[place] === CR) return -1;
    place += 1;
  }
  return place;
}

/**
 * @param {Uint8Array} bytes
 * @param {number} begin
 * @param {number} end
 * @param {import("./rows.js").Dialect} dialect
 * @param {Uint8Array} pixels
 */
function endOfPixels(bytes, begin, end, dialect, pixels) {
  const separator = dialect.pixelNames.length > 0 ? COMMA : SPACE;
  const isQuoted = bytes[begin] === QUOTE && separator === SPACE;
  let place = endOfValues(bytes, afterSpaces(bytes, isQuoted ? begin + 1 : begin, end), separator, pixels);
  if (place === -1) return -1;
  place = afterSpaces(bytes, place, end);
  if (!isQuoted) return place;
  return bytes[place] === QUOTE ? place + 1 : -1;
}

/**
 * @param {Uint8Array} bytes
 * @param {number} begin
 * @param {number} end
 */
function afterSpaces(bytes, begin, end) {
  let place = begin;
  while (place < end && bytes[place] === SPACE) place += 1;
  return place;
}

/**
 * Read 2,304 values of one to three digits; the line end stops the last one.
 * @param {Uint8Array} bytes
 * @param {number} begin
 * @param {number} separator
 * @param {Uint8Array} pixels
 */
function endOfValues(bytes, begin, separator, pixels) {
  let place = begin;
  for (let i = 0; i < PIXELS; i += 1) {
    if (i > 0) {
      if (bytes[place] !== separator) return -1;
      place += 1;
    }
    let value = bytes[place] - ZERO;
    if (!(value >= 0 && value <= 9)) return -1;
    place += 1;
    for (let digits = 1; digits < 3; digits += 1) {
      const digit = bytes[place] - ZERO;
      if (!(digit >= 0 && digit <= 9)) break;
      value = 10 * value + digit;
      place += 1;
    }
    if (value > 255) return -1;
    pixels[i] = value;
  }
  return place;
}

/**
 * @param {Uint8Array} bytes
 * @param {number} begin
 * @param {number} end
 * @param {number} column
 * @param {import("./rows.js").Dialect} dialect
 * @param {import("./rows.js").Cells} cells
 */
function readCell(bytes, begin, end, column, dialect, cells) {
  if (column !== dialect.label && column !== dialect.split && column !== dialect.id) return true;
  const text = String.fromCharCode(...bytes.subarray(begin, Math.min(end, begin + 1024)));
  if (text.length < end - begin) return false;
  const [label, split, id] = [
    column === dialect.label ? labelOf(text) : cells.label,
    column === dialect.split ? splitOf(text) : cells.split,
    column === dialect.id ? idOf(text) : cells.id,
  ];
  if (label === null || split === null || id === null) return false;
  Object.assign(cells, { label, split, id });
  return true;
}
