/** Tables of predictions, in the columns of `fer-infer score`. */

import { csvText, significant } from "./csv_text.js";

/** @typedef {import("../scoring/detector.js").Box} Box */
/** @typedef {import("../scoring/faces.js").FoundFace} FoundFace */

/**
 * A row of a table of photos: a face, or the reason why there is none.
 * @typedef {object} PhotoRow
 * @property {string} file
 * @property {number | null} number number of the face in the photo, from 1
 * @property {FoundFace | null} face
 * @property {Float32Array | null} probabilities
 * @property {string} reason
 */

/**
 * A row of a table of a film. `id` is that of the tracker.
 * @typedef {object} FilmRow
 * @property {number} frame
 * @property {number} timeS
 * @property {number | null} id
 * @property {FoundFace | null} face
 * @property {Float32Array | null} probabilities
 * @property {Float64Array | null} smoothed
 * @property {string} reason
 */

export const NO_FACE = "no face";

const BOX = ["left", "top", "width", "height"];

/**
 * Return the reason for a face that is smaller than `minFace` pixels.
 * @param {Box} box
 * @param {number} minFace
 */
export function tooSmall({ width, height }, minFace) {
  return `too small: ${Math.floor(width)}x${Math.floor(height)} pixels, expected at least ${minFace}`;
}

/**
 * Return the position of the largest value, the first one of equals.
 * @param {ArrayLike<number>} values
 */
export function argmax(values) {
  let best = 0;
  for (let i = 1; i < values.length; i += 1) if (values[i] > values[best]) best = i;
  return best;
}

/**
 * @param {PhotoRow[]} rows
 * @param {string[]} labels
 */
export function photoCsv(rows, labels) {
  const header = ["file", "face", ...BOX, "detection", "label", ...labels, "reason"];
  return csvText(
    header,
    rows.map(({ file, number, face, probabilities, reason }) => [
      file,
      number ?? "",
      ...boxCells(face),
      ...predictionCells(probabilities, labels.length),
      reason,
    ]),
  );
}

/**
 * @param {FilmRow[]} rows
 * @param {string[]} labels
 */
export function filmCsv(rows, labels) {
  const smoothed = labels.map((label) => `${label}_smoothed`);
  const header = ["frame", "time", "face", ...BOX, "detection", "label", ...labels, "label_smoothed", ...smoothed];
  return csvText(
    [...header, "reason"],
    rows.map((row) => [
      row.frame,
      row.timeS.toFixed(6),
      row.id ?? "",
      ...boxCells(row.face),
      ...predictionCells(row.probabilities, labels.length),
      ...predictionCells(row.smoothed, labels.length),
      row.reason,
    ]),
  );
}

/**
 * @param {(string | number)[]} ids
 * @param {Float32Array[]} probabilities
 * @param {string[]} labels
 */
export function dataSetCsv(ids, probabilities, labels) {
  const rows = ids.map((id, i) => [id, ...predictionCells(probabilities[i], labels.length)]);
  return csvText(["id", "label", ...labels], rows);
}

/** @param {FoundFace | null} face */
function boxCells(face) {
  if (face === null) return ["", "", "", "", ""];
  const { left, top, width, height } = face.box;
  const box = [left, top, width, height].map((value) => value.toFixed(2));
  return [...box, Number.isNaN(face.detection) ? "" : significant(face.detection)];
}

/**
 * @param {ArrayLike<number> | null} probabilities
 * @param {number} classes
 */
function predictionCells(probabilities, classes) {
  if (probabilities === null) return Array.from({ length: classes + 1 }, () => "");
  return [argmax(probabilities), ...Array.from(probabilities, significant)];
}
