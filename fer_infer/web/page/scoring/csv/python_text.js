/** Texts as Python writes them, so that errors read the same. */

/** @type {Record<string, string>} */
const ESCAPES = { "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t" };

const UNPRINTABLE = /[\\\p{C}\p{Z}]/gu;

/**
 * Return a text in quotes, as `repr` does.
 * @param {string} text
 */
export function repr(text) {
  const quote = text.includes("'") && !text.includes('"') ? '"' : "'";
  const escaped = text.replace(UNPRINTABLE, escape);
  return quote + (quote === "'" ? escaped.replaceAll("'", "\\'") : escaped) + quote;
}

/** @param {string} character */
function escape(character) {
  if (character === " ") return character;
  if (character in ESCAPES) return ESCAPES[character];
  const code = /** @type {number} */ (character.codePointAt(0));
  const digits = code.toString(16);
  if (code < 0x100) return `\\x${digits.padStart(2, "0")}`;
  return code < 0x10000 ? `\\u${digits.padStart(4, "0")}` : `\\U${digits.padStart(8, "0")}`;
}

/**
 * Return a text in quotes, cut after `length` characters.
 * @param {string} text
 * @param {number} [length]
 */
export function shorten(text, length = 40) {
  const characters = text.length <= length ? [] : [...text];
  return repr(characters.length <= length ? text : `${characters.slice(0, length).join("")}...`);
}

/**
 * Return the first items, separated by commas, and the number of the others.
 * @param {string[]} items
 * @param {number} [most]
 */
export function listed(items, most = 8) {
  const others = items.length - most;
  const more = others > 0 ? ` and ${others.toLocaleString("en-US")} more` : "";
  return items.slice(0, most).join(", ") + more || "none";
}

/**
 * Remove characters from both ends of a text.
 * @param {string} text
 * @param {string} characters
 */
export function strip(text, characters) {
  let start = 0;
  let end = text.length;
  while (start < end && characters.includes(text[start])) start += 1;
  while (end > start && characters.includes(text[end - 1])) end -= 1;
  return text.slice(start, end);
}
