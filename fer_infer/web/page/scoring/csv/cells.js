/** Split lines into cells, and read the cell of a face. */

import { PIXELS } from "./classes.js";
import { shorten, strip } from "./python_text.js";

const EXPECTED = `expected ${PIXELS} integers in 0..255`;
const EXPECTED_VALUE = "expected an integer in 0..255";

const VALUE = /^(?:[01]?[0-9]{1,2}|2[0-4][0-9]|25[0-5])(?:\.0*)?$/;

const BLANKS = " \t";

const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** What is wrong with a line that cannot be split. */
export class LineError extends Error {}

/**
 * Split a line at its commas, except in quotes.
 * @param {Uint8Array} line
 * @returns {string[]}
 * @throws {LineError}
 */
export function splitCells(line) {
  const position = invalidByte(line);
  if (position !== -1) throw new LineError(`a byte that is not UTF-8 at position ${position}`);
  const text = decoder.decode(line);
  if (text.includes("\r")) throw new LineError("a CR within a line");
  return text.includes('"') ? splitQuoted(text) : text.split(",");
}

/**
 * Split a text as Python's `csv` module does in its strict mode.
 * @param {string} text
 */
function splitQuoted(text) {
  const cells = [];
  let place = 0;
  for (;;) {
    if (text[place] === '"') {
      let cell = "";
      for (;;) {
        const end = text.indexOf('"', place + 1);
        if (end === -1) throw new LineError("bad quotes (unexpected end of data)");
        cell += text.slice(place + 1, end);
        place = end + 1;
        if (text[place] !== '"') break;
        cell += '"'; // two quotes stand for one
      }
      if (place < text.length && text[place] !== ",") throw new LineError("bad quotes (',' expected after '\"')");
      cells.push(cell);
    } else {
      const comma = text.indexOf(",", place);
      const end = comma === -1 ? text.length : comma;
      cells.push(text.slice(place, end));
      place = end;
    }
    if (place === text.length) return cells;
    place += 1;
  }
}

/**
 * Return the position of the first byte that is not valid UTF-8, as Python reports it, or -1.
 * @param {Uint8Array} bytes
 */
function invalidByte(bytes) {
  let place = 0;
  while (place < bytes.length) {
    const lead = bytes[place];
    const length = lead < 0x80 ? 1 : lead < 0xc2 ? 0 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : lead < 0xf5 ? 4 : 0;
    if (length === 0 || place + length > bytes.length) return place;
    // the second byte excludes overlong forms, surrogates and numbers beyond Unicode
    const least = lead === 0xe0 ? 0xa0 : lead === 0xf0 ? 0x90 : 0x80;
    const most = lead === 0xed ? 0x9f : lead === 0xf4 ? 0x8f : 0xbf;
    for (let i = 1; i < length; i += 1) {
      const byte = bytes[place + i];
      if (byte < (i === 1 ? least : 0x80) || byte > (i === 1 ? most : 0xbf)) return place;
    }
    place += length;
  }
  return -1;
}

/**
 * Read the cell of a face: exactly 2,304 integers in 0..255 of one to three digits, separated by spaces or tabs, or by
 * one comma with optional blanks around it. A number may end in a point or in a point and zeros, the whole text may be
 * enclosed in square brackets, and blanks around it are ignored.
 * @param {string} text
 * @param {Uint8Array} pixels receives the gray levels; undefined if the text is refused
 * @returns {string | null} what is wrong, or null
 */
export function readFace(text, pixels) {
  let plain = strip(text, BLANKS);
  if (plain.length > 1 && plain.startsWith("[") && plain.endsWith("]")) plain = strip(plain.slice(1, -1), BLANKS);
  if (plain === "") return `${EXPECTED}, found an empty cell`;
  const tokens = plain.includes(",") ? plain.split(",").map((token) => strip(token, BLANKS)) : plain.split(/[ \t]+/);
  const wrong = tokens.findIndex((token) => !VALUE.test(token));
  if (wrong !== -1) return `${EXPECTED}, found ${shorten(tokens[wrong], 12)} as value ${wrong + 1}`;
  if (tokens.length !== PIXELS) return `${EXPECTED}, found ${tokens.length}`;
  tokens.forEach((token, i) => {
    pixels[i] = parseInt(token, 10);
  });
  return null;
}

/**
 * Return what is wrong with a cell of one pixel, or null.
 * @param {string} text
 */
export function wrongValue(text) {
  const value = strip(text, BLANKS);
  return VALUE.test(value) ? null : `${EXPECTED_VALUE}, found ${shorten(value, 12)}`;
}
