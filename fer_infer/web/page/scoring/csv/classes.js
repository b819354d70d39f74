/** Classes and splits of FER2013, and the spellings of them that data sets use. */

import { strip } from "./python_text.js";

/** Number of pixels of an image. */
export const PIXELS = 2304;

/** Class names in lower case, and their labels. */
const CLASS_NAMES = new Map([
  ["angry", 0],
  ["disgust", 1],
  ["fear", 2],
  ["happy", 3],
  ["sad", 4],
  ["surprise", 5],
  ["neutral", 6],
  ["anger", 0],
  ["disgusted", 1],
  ["fearful", 2],
  ["happiness", 3],
  ["sadness", 4],
  ["surprised", 5],
]);

const CLASSES = 7;

/** Names of splits in lower case, and the names used here. */
const SPLIT_NAMES = new Map([
  ["training", "Training"],
  ["publictest", "PublicTest"],
  ["privatetest", "PrivateTest"],
  ["train", "Training"],
  ["val", "validation"],
  ["valid", "validation"],
  ["validation", "validation"],
  ["test", "test"],
]);

export const LABEL_EXPECTED = `expected a label in 0..${CLASSES - 1} or the name of a class`;
export const SPLIT_EXPECTED = "expected one of Training, PublicTest, PrivateTest, train, validation, test";

const WHOLE_NUMBER = /^([0-9]{1,3})(?:\.0*)?$/;

/**
 * Return the label that a text states, or null if it states none.
 * @param {string} text
 */
export function labelOf(text) {
  const plain = strip(text, " ").toLowerCase();
  const named = CLASS_NAMES.get(plain);
  if (named !== undefined) return named;
  const number = WHOLE_NUMBER.exec(plain);
  const label = number === null ? -1 : Number(number[1]);
  return label >= 0 && label < CLASSES ? label : null;
}

/**
 * Return the split that a text names, or null if it names none.
 * @param {string} text
 */
export function splitOf(text) {
  return SPLIT_NAMES.get(strip(text, " ").toLowerCase()) ?? null;
}
