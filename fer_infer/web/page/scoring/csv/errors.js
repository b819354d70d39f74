/** Errors of CSVs, with the text of Python. */

import { repr } from "./python_text.js";

/** Faces that cannot be read. */
export class DataError extends Error {
  /**
   * @param {string} source name of the file
   * @param {string} text expected and found values
   * @param {number | null} [row] the header is row 1
   * @param {string | null} [column] name of the column
   */
  constructor(source, text, row = null, column = null) {
    const atRow = row === null ? "" : ` row ${row}`;
    const inColumn = column === null ? "" : `, column ${repr(column)}`;
    super(`${source}${atRow}${inColumn}: ${text}`);
    this.name = "DataError";
    this.source = source;
    this.text = text;
    this.row = row;
    this.column = column;
  }
}
