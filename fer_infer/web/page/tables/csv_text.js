/** CSVs as `fer-infer score` writes them. */

/**
 * Return a number with nine significant digits, which represent every float32 exactly: `%.9g` of Python.
 * @param {number} value
 */
export function significant(value) {
  const [digits, power] = value.toExponential(8).split("e");
  const exponent = Number(power);
  if (exponent >= -4 && exponent < 9) return withoutZeros(value.toFixed(8 - exponent));
  const sign = exponent < 0 ? "-" : "+";
  return `${withoutZeros(digits)}e${sign}${String(Math.abs(exponent)).padStart(2, "0")}`;
}

/** @param {string} text */
function withoutZeros(text) {
  return text.includes(".") ? text.replace(/\.?0+$/, "") : text;
}

/**
 * Return a table as CSV; texts that contain a comma, a quote or a line break are quoted.
 * @param {string[]} header
 * @param {Iterable<(string | number)[]>} rows
 */
export function csvText(header, rows) {
  return [header, ...rows].map((row) => `${row.map(cell).join(",")}\n`).join("");
}

/** @param {string | number} value */
function cell(value) {
  const text = String(value);
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}
