/** Read faces from a CSV in every layout in which FER2013 is distributed, with Python's error for each invalid row. */

import { PIXELS } from "./csv/classes.js";
import { warningOfColumnsLeftOut } from "./csv/columns.js";
import { DataError } from "./csv/errors.js";
import { decodePlainRow } from "./csv/plain_rows.js";
import { MAX_LINE_BYTES, dialectOf, isBlank, parseRow, withoutBom, withoutCr } from "./csv/rows.js";

export { DataError };

/** Number of bytes of the shortest face. */
const SHORTEST = 2 * PIXELS - 1;

const LF = 10;

/**
 * Faces of a file.
 * @typedef {object} Faces
 * @property {Uint8Array} images n times 2,304 gray levels
 * @property {number} n
 * @property {number[]} rows row numbers; the header is row 1
 * @property {number[]} positions numbers of the rows from 0, which do not count blank lines: the ids of a file without
 * @property {string[] | null} ids null if there is no such column
 * @property {number[] | null} labels
 * @property {string[] | null} splits
 * @property {DataError[]} rejected errors of the rows that were skipped
 * @property {string[]} warnings
 */

/**
 * Read the faces of a CSV.
 * @param {Uint8Array | ArrayBuffer | string} content
 * @param {string} name of the file in errors
 * @param {{onError?: "fail" | "skip", labels?: boolean}} [options] for a row that cannot be read: throw its error, or
 *   skip the row; and whether to read labels and splits, which predictions do not need
 * @returns {Faces}
 * @throws {DataError} with the text of Python
 */
export function readFaces(content, name, { onError = "fail", labels = true } = {}) {
  const bytes = typeof content === "string" ? new TextEncoder().encode(content) : new Uint8Array(content);
  const header = headerOf(bytes, name);
  const columns = dialectOf(header.line, name, header.row);
  const dialect = labels ? columns : { ...columns, label: -1, split: -1 };
  const faces = emptyFaces(bytes, dialect, name, columns);
  let [row, start, blank] = [header.row, header.end, 0];
  while (start < bytes.length) {
    const end = endOfLine(bytes, start);
    row += 1;
    const pixels = faces.images.subarray(faces.n * PIXELS, (faces.n + 1) * PIXELS);
    const plain = end - start < MAX_LINE_BYTES ? decodePlainRow(bytes, start, end, dialect, pixels) : null;
    if (plain !== null) {
      add(faces, plain, row, row - header.row - 1 - blank);
    } else if (isBlank(bytes.subarray(start, end))) {
      blank += 1;
    } else {
      try {
        const cells = parseRow(bytes.subarray(start, end), row, dialect, name, pixels);
        add(faces, cells, row, row - header.row - 1 - blank);
      } catch (error) {
        if (onError === "fail" || !(error instanceof DataError)) throw error;
        faces.rejected.push(error);
      }
    }
    start = end + 1;
  }
  faces.images = faces.images.subarray(0, faces.n * PIXELS);
  return faces;
}

/**
 * Return the first line that is not blank, without its line end, its row number, and the start of the next line.
 * @param {Uint8Array} bytes
 * @param {string} name
 */
function headerOf(bytes, name) {
  let [row, start] = [0, 0];
  while (start < bytes.length) {
    const end = endOfLine(bytes, start);
    const line = bytes.subarray(start, end);
    row += 1;
    if (line.length >= MAX_LINE_BYTES) {
      const found = `found a line of over ${MAX_LINE_BYTES} bytes`;
      throw new DataError(name, `expected a header that ends in LF or CRLF, ${found}`, row);
    }
    if (!isBlank(withoutBom(line))) return { line: withoutCr(line), row, end: end + 1 };
    start = end + 1;
  }
  throw new DataError(name, "expected a header, found an empty file", 1);
}

/**
 * @param {Uint8Array} bytes
 * @param {import("./csv/rows.js").Dialect} dialect
 * @param {string} name
 * @param {import("./csv/rows.js").Dialect} columns with labels and splits, also if they are not read
 * @returns {Faces}
 */
function emptyFaces(bytes, dialect, name, columns) {
  const known = new Set([columns.pixels, columns.label, columns.split, columns.id]);
  const warning = warningOfColumnsLeftOut(columns.names, name, known);
  return {
    images: new Uint8Array((Math.floor(bytes.length / SHORTEST) + 1) * PIXELS),
    n: 0,
    rows: [],
    positions: [],
    ids: dialect.id === -1 ? null : [],
    labels: dialect.label === -1 ? null : [],
    splits: dialect.split === -1 ? null : [],
    rejected: [],
    warnings: warning === null ? [] : [warning],
  };
}

/**
 * @param {Faces} faces
 * @param {import("./csv/rows.js").Cells} cells
 * @param {number} row
 * @param {number} position
 */
function add(faces, cells, row, position) {
  faces.n += 1;
  faces.rows.push(row);
  faces.positions.push(position);
  faces.ids?.push(cells.id);
  faces.labels?.push(cells.label);
  faces.splits?.push(cells.split);
}

/**
 * @param {Uint8Array} bytes
 * @param {number} start
 */
function endOfLine(bytes, start) {
  const end = bytes.indexOf(LF, start);
  return end === -1 ? bytes.length : end;
}
