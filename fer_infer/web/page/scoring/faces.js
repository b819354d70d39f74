/** Find the faces in a photo and align them to 48x48. */

import { IMAGE_SIZE, inverse, rollOf, similarity, transformed, warp } from "./alignment.js";
import { MIN_FACE } from "./detector.js";
import { grayOf, overWhite, roundHalfEven } from "./pixels.js";
import { resize } from "./resampling.js";

/** Enlargement of 48x48 faces in which landmarks are found to align them. */
const ENLARGEMENT = 4;

const MOST_ALIGNMENTS = 3;

/** Change of the roll in degrees below which a face is not aligned again. */
const ROLL_TOLERANCE = 2;

/**
 * A face in a photo.
 * @typedef {object} FoundFace
 * @property {import("./detector.js").Box} box bounding box in pixels of the photo; it can extend beyond the photo
 * @property {number} detection score of the detector, 0 to 1; NaN if the whole picture is the face
 * @property {number[][]} landmarks x and y of five points in pixels of the photo; NaN if the whole picture is the face
 * @property {import("./alignment.js").Transform} transform from the photo to the 48x48 face, whose first pixel has its
 *   center at (0.5, 0.5)
 * @property {Uint8Array} image the aligned face, 2,304 gray levels: the input of a model
 */

/**
 * The aligned faces of a photo, and those that are smaller than allowed, from left to right.
 * @typedef {object} Found
 * @property {FoundFace[]} faces
 * @property {import("./detector.js").Detection[]} tooSmall
 */

/**
 * Find the faces in a photo and align each to 48x48, as the faces of FER2013 are.
 * @param {import("./detector.js").Detector} detector
 * @param {import("./pixels.js").Picture} photo
 * @param {import("./detector.js").SearchOptions} [options]
 * @returns {Promise<FoundFace[]>} from left to right; empty if there is no face
 */
export async function findFaces(detector, photo, options = {}) {
  return (await search(detector, photo, options)).faces;
}

/**
 * Find the faces in a photo as `findFaces` does; faces that are smaller than `minFace` are returned apart.
 * @param {import("./detector.js").Detector} detector
 * @param {import("./pixels.js").Picture} photo
 * @param {import("./detector.js").SearchOptions} [options]
 * @returns {Promise<Found>}
 */
export async function search(detector, photo, options = {}) {
  const { minFace = MIN_FACE } = options;
  const picture = overWhite(photo);
  const detections = await detector.detect(picture, options);
  const isLarge = (/** @type {import("./detector.js").Detection} */ { box }) =>
    Math.min(box.width, box.height) >= minFace;
  const faces = [];
  for (const face of detections.filter(isLarge)) faces.push(await align(picture, face, detector));
  return { faces, tooSmall: detections.filter((face) => !isLarge(face)) };
}

/**
 * Align a detected face to the template.
 *
 * The landmarks are found again in the aligned face, enlarged four times, as the template was fitted, until its roll
 * no longer changes: the network underestimates the roll of a face by a quarter, and a face that is nearly upright is
 * measured best.
 * @param {import("./pixels.js").Picture} picture
 * @param {import("./detector.js").Detection} detection
 * @param {import("./detector.js").Detector} detector
 * @returns {Promise<FoundFace>}
 */
async function align(picture, detection, detector) {
  const { template } = detector;
  const side = ENLARGEMENT * IMAGE_SIZE;
  let { landmarks } = detection;
  let transform = similarity(landmarks, template);
  for (let times = 0; times < MOST_ALIGNMENTS; times += 1) {
    const enlarged = transform.map((value) => ENLARGEMENT * value);
    const again = await detector.detectFilling(warp(picture, enlarged, side), side);
    if (again === null) break;
    const toPhoto = inverse(enlarged);
    landmarks = again.landmarks.map((point) => transformed(toPhoto, point));
    const before = transform;
    transform = similarity(landmarks, template);
    if (Math.abs(rollOf(transform) - rollOf(before)) < ROLL_TOLERANCE) break;
  }
  const image = warp(picture, transform);
  return { box: detection.box, detection: detection.score, landmarks, transform, image };
}

/**
 * Take a whole picture as the face, resized to 48x48 by area averaging.
 *
 * A picture that is not square is extended to a square by repeating its border, so that it keeps its proportions.
 * @param {import("./pixels.js").Picture} photo
 * @returns {FoundFace}
 */
export function wholeFace(photo) {
  const { width, height } = photo;
  const scale = IMAGE_SIZE / Math.max(width, height);
  const [columns, rows] = [width, height].map((side) => Math.max(1, roundHalfEven(side * scale)));
  // a box filter averages areas, but would repeat pixels where the picture is smaller than the face
  const gray = { ...grayOf(overWhite(photo)), channels: /** @type {1} */ (1) };
  const resized = resize(gray, columns, rows, scale <= 1 ? "box" : "bilinear");
  const left = Math.floor((IMAGE_SIZE - columns) / 2);
  const top = Math.floor((IMAGE_SIZE - rows) / 2);
  const image = new Uint8Array(IMAGE_SIZE * IMAGE_SIZE);
  for (let row = 0, place = 0; row < IMAGE_SIZE; row += 1) {
    const line = columns * Math.min(rows - 1, Math.max(0, row - top));
    for (let column = 0; column < IMAGE_SIZE; column += 1, place += 1) {
      image[place] = resized.data[line + Math.min(columns - 1, Math.max(0, column - left))];
    }
  }
  return {
    box: { left: 0, top: 0, width, height },
    detection: NaN,
    landmarks: Array.from({ length: 5 }, () => [NaN, NaN]),
    transform: [columns / width, 0, left, 0, rows / height, top],
    image,
  };
}
