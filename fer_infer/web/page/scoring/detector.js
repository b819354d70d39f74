/** Find faces of all sizes in a picture of any size. */

import { transformed } from "./alignment.js";
import { Session } from "./session.js";
import { WINDOW_SIDE, secondLook, windowOf, windows } from "./windows.js";
import { Yunet } from "./yunet.js";

/** Smallest score of a face. */
const SCORE_THRESHOLD = 0.6;

/** Boxes whose intersection is more than this fraction of their union are one face. */
const OVERLAP_THRESHOLD = 0.3;

/** Largest distance of a face that fills a picture from its center, as a fraction of the side of the picture. */
const FILLING_TOLERANCE = 0.2;

/** Smallest standard deviation of the landmarks of a face as a fraction of the size of its box; usual is 0.2. */
const SMALLEST_SPREAD = 0.1;

/**
 * A rectangle in pixels of the picture; (0, 0) is the upper left corner of the first pixel.
 * @typedef {object} Box
 * @property {number} left
 * @property {number} top
 * @property {number} width
 * @property {number} height
 */

/**
 * A detected face, in pixels of the picture.
 * @typedef {object} Detection
 * @property {Box} box
 * @property {number} score 0 to 1
 * @property {number[][]} landmarks x and y of right eye, left eye, nose, right and left corner of the mouth; left and
 *   right are those of the person
 */

/**
 * How thoroughly a picture is searched. The defaults are those of Python; for live pictures, a smaller window and no
 * second look save time.
 * @typedef {object} SearchOptions
 * @property {number} [minFace] smallest side of the faces to find, in pixels
 * @property {number} [side] longer side of a window in pixels
 * @property {boolean} [again] search again at other scales and rotated if nothing was found
 * @property {boolean} [tiles] search overlapping tiles if faces of `minFace` pixels are too small in the whole picture
 */

/** Half the side of the faces that models see; a smaller face would be enlarged more than twice. */
export const MIN_FACE = 24;

/** Finds faces with YuNet; `template` has the landmarks to which faces are aligned. */
export class Detector {
  /**
   * @param {Yunet} network
   * @param {number[][]} template
   */
  constructor(network, template) {
    this.network = network;
    this.template = template;
  }

  /**
   * Find the faces in a picture, from left to right; of those with equal left sides, from top to bottom.
   * @param {import("./pixels.js").Picture} picture without transparent pixels
   * @param {SearchOptions} [options]
   * @returns {Promise<Detection[]>}
   */
  async detect(picture, { minFace = MIN_FACE, side = WINDOW_SIDE, again = true, tiles = true } = {}) {
    const { width, height, data } = picture;
    const raster = { width, height, data, channels: /** @type {4} */ (4) };
    const smallest = tiles ? minFace : Infinity;
    let found = await this.#detectIn(windows(raster, smallest, side));
    if (found.length === 0 && again) found = await this.#detectIn(secondLook(raster, side));
    return found.sort((one, other) => compareBoxes(one.box, other.box));
  }

  /**
   * Find the face with the highest score among those of about the size of a square picture and near its center.
   * @param {Uint8Array} gray gray levels
   * @param {number} side of the picture
   * @returns {Promise<Detection | null>}
   */
  async detectFilling(gray, side) {
    const faces = await this.#facesOf(windowOf({ width: side, height: side, data: gray, channels: 1 }, 1));
    const fitting = faces.filter(
      ({ box }) =>
        Math.abs(box.left + box.width / 2 - side / 2) < FILLING_TOLERANCE * side &&
        Math.abs(box.top + box.height / 2 - side / 2) < FILLING_TOLERANCE * side &&
        box.width > side / 2,
    );
    return fitting.reduce(
      (/** @type {Detection | null} */ best, face) => (best === null || face.score > best.score ? face : best),
      null,
    );
  }

  /**
   * @param {Iterable<import("./windows.js").Window>} parts
   */
  async #detectIn(parts) {
    const faces = [];
    for (const part of parts) faces.push(...(await this.#facesOf(part)));
    return withoutRepeats(faces);
  }

  /**
   * @param {import("./windows.js").Window} part
   * @returns {Promise<Detection[]>}
   */
  async #facesOf({ raster, scale, toPicture, largest, cut }) {
    const faces = [];
    for (const candidate of await this.network.find(raster, SCORE_THRESHOLD)) {
      const { left, top, width, height, landmarks } = candidate;
      // another window shows a face whole that is too large for this one or cut by its edge
      const isCut =
        (cut.left && left < 0) ||
        (cut.top && top < 0) ||
        (cut.right && left + width > raster.width) ||
        (cut.bottom && top + height > raster.height);
      if (isCut || Math.max(width, height) > largest || !isPlausible(candidate)) continue;
      const [x, y] = transformed(toPicture, [left + width / 2, top + height / 2]);
      const [across, down] = [width / scale, height / scale];
      faces.push({
        box: { left: x - across / 2, top: y - down / 2, width: across, height: down },
        score: candidate.score,
        landmarks: landmarks.map((point) => transformed(toPicture, point)),
      });
    }
    return faces;
  }
}

/**
 * Load the detector.
 * @param {import("./session.js").Runtime} ort
 * @param {string | URL} url of YuNet's graph for inputs of any size; `template.json` is in the same folder
 * @returns {Promise<Detector>}
 */
export async function createDetector(ort, url) {
  const network = new URL(url, globalThis.location?.href);
  const template = new URL("template.json", network);
  const [session, response] = await Promise.all([Session.open(ort, network), fetch(template)]);
  if (!response.ok) throw new Error(`${template}: cannot be read: HTTP status ${response.status}`);
  return new Detector(new Yunet(session), (await response.json()).landmarks);
}

/**
 * Return whether a box is finite and its landmarks are far enough apart to align a face by them.
 * @param {import("./yunet.js").Candidate} candidate
 */
function isPlausible({ width, height, landmarks }) {
  const size = Math.sqrt(width * height);
  const spread = Math.max(...[0, 1].map((axis) => deviationOf(landmarks.map((point) => point[axis]))));
  return Number.isFinite(size) && spread >= SMALLEST_SPREAD * size;
}

/** @param {number[]} values */
function deviationOf(values) {
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
  return Math.sqrt(values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / values.length);
}

/**
 * Keep the highest score among boxes that overlap (non-maximum suppression), ties broken by position.
 * @param {Detection[]} faces
 */
export function withoutRepeats(faces) {
  /** @type {Detection[]} */
  const kept = [];
  const sorted = [...faces].sort((one, other) => other.score - one.score || compareBoxes(one.box, other.box));
  for (const face of sorted) {
    if (kept.every((other) => overlapOf(face.box, other.box) <= OVERLAP_THRESHOLD)) kept.push(face);
  }
  return kept;
}

/**
 * Return the intersection of two boxes as a fraction of their union, 0 to 1.
 * @param {Box} one
 * @param {Box} other
 */
export function overlapOf(one, other) {
  const width = Math.min(one.left + one.width, other.left + other.width) - Math.max(one.left, other.left);
  const height = Math.min(one.top + one.height, other.top + other.height) - Math.max(one.top, other.top);
  const shared = Math.max(0, width) * Math.max(0, height);
  const union = one.width * one.height + other.width * other.height - shared;
  return union === 0 ? 0 : shared / union;
}

/**
 * @param {Box} one
 * @param {Box} other
 */
function compareBoxes(one, other) {
  return one.left - other.left || one.top - other.top || one.width - other.width || one.height - other.height;
}
