/** Align a face to 48x48 as the faces of FER2013 are: their mean landmarks are the template. */

import { luma, roundHalfEven } from "./pixels.js";

/** Side of a face in pixels. */
export const IMAGE_SIZE = 48;

/** Pixels of the photo per pixel of the face from which on the photo is first averaged over blocks. */
const REDUCED_SCALE = 4;

/**
 * An affine transform, the two rows of its matrix one after the other: `(a, b, c, d, e, f)` maps (x, y) to
 * (a x + b y + c, d x + e y + f).
 * @typedef {number[]} Transform
 */

/**
 * Return the similarity transform that best maps landmarks to a template.
 *
 * It minimizes the sum of squared distances (Umeyama, IEEE TPAMI 13(4), 1991). With points as complex numbers, relative
 * to their means, a rotation and scaling is a multiplication by `a = sum(q * conj(p)) / sum(|p|^2)`.
 * @param {number[][]} landmarks x and y in the photo
 * @param {number[][]} template x and y in the aligned face
 * @returns {Transform}
 */
export function similarity(landmarks, template) {
  const [px, py] = meanOf(landmarks);
  const [qx, qy] = meanOf(template);
  let [size, real, imaginary] = [0, 0, 0];
  landmarks.forEach(([x, y], i) => {
    const [dx, dy] = [x - px, y - py];
    const [ex, ey] = [template[i][0] - qx, template[i][1] - qy];
    size += dx * dx + dy * dy;
    real += dx * ex + dy * ey;
    imaginary += dx * ey - dy * ex;
  });
  if (!(Number.isFinite(size) && size > 0)) throw new RangeError("the landmarks coincide or are not finite");
  real /= size;
  imaginary /= size;
  return [real, -imaginary, qx - (real * px - imaginary * py), imaginary, real, qy - (imaginary * px + real * py)];
}

/** @param {number[][]} points */
function meanOf(points) {
  return [0, 1].map((axis) => points.reduce((sum, point) => sum + point[axis], 0) / points.length);
}

/**
 * Apply a transform to a point.
 * @param {Transform} transform
 * @param {number[]} point x and y
 */
export function transformed([a, b, c, d, e, f], [x, y]) {
  return [a * x + b * y + c, d * x + e * y + f];
}

/**
 * Return the inverse of a transform.
 * @param {Transform} transform
 * @returns {Transform}
 */
export function inverse([a, b, c, d, e, f]) {
  const determinant = a * e - b * d;
  const [ia, ib, id, ie] = [e / determinant, -b / determinant, -d / determinant, a / determinant];
  return [ia, ib, -(ia * c + ib * f), id, ie, -(id * c + ie * f)];
}

/**
 * Return the roll in degrees that a transform from the photo to the aligned face removes; positive if the face is
 * turned clockwise in the photo.
 * @param {Transform} transform
 */
export function rollOf(transform) {
  return (-Math.atan2(transform[3], transform[0]) * 180) / Math.PI + 0; // never -0
}

/**
 * Sample an aligned face from a photo.
 *
 * Each pixel of the face is the mean over the area that it covers in the photo. Outside the photo, the pixels of its
 * border are repeated.
 * @param {import("./pixels.js").Picture} photo
 * @param {Transform} transform similarity transform from the photo to the face
 * @param {number} [size] side of the face in pixels
 * @returns {Uint8Array} gray levels
 */
export function warp(photo, transform, size = IMAGE_SIZE) {
  const toPhoto = inverse(transform);
  const step = Math.hypot(toPhoto[0], toPhoto[3]); // pixels of the photo per pixel of the face
  const block = Math.max(1, Math.trunc(step / REDUCED_SCALE));
  const samples = Math.max(1, Math.ceil(step / block));
  const region = regionOf(photo, toPhoto, size, Math.ceil(step) + 2);
  const gray = block > 1 ? blockMeans(region, block) : region;
  const [a, b, c, d, e, f] = toPhoto;
  const [down, across] = [[d / samples, e / samples, f - region.top], [a / samples, b / samples, c - region.left]].map(
    (row) => row.map((value) => value / block),
  );
  const face = new Uint8Array(size * size);
  for (let row = 0, place = 0; row < size; row += 1) {
    for (let column = 0; column < size; column += 1, place += 1) {
      let sum = 0;
      for (let y = samples * row + 0.5; y < samples * (row + 1); y += 1) {
        for (let x = samples * column + 0.5; x < samples * (column + 1); x += 1) {
          sum += bilinear(gray, across[0] * x + across[1] * y + across[2], down[0] * x + down[1] * y + down[2]);
        }
      }
      const level = Math.fround(sum / (samples * samples));
      face[place] = Math.min(255, Math.max(0, roundHalfEven(level)));
    }
  }
  return face;
}

/**
 * @typedef {object} Levels
 * @property {number} width
 * @property {number} height
 * @property {Uint8Array | Float32Array} data gray levels
 */

/**
 * Interpolate gray levels at a position whose integer part is the pixel.
 * @param {Levels} levels
 * @param {number} x
 * @param {number} y
 */
function bilinear({ width, height, data }, x, y) {
  if (!(x >= 0 && x < width && y >= 0 && y < height)) return 0;
  const left = Math.floor(x - 0.5);
  const top = Math.floor(y - 0.5);
  const right = x - 0.5 - left;
  const down = y - 0.5 - top;
  const x0 = left < 0 ? 0 : left;
  const x1 = left + 1 < width ? left + 1 : width - 1;
  const above = (top < 0 ? 0 : top) * width;
  const below = (top + 1 < height ? top + 1 : height - 1) * width;
  const upper = data[above + x0] + (data[above + x1] - data[above + x0]) * right;
  const lower = data[below + x0] + (data[below + x1] - data[below + x0]) * right;
  return Math.fround(upper + (lower - upper) * down);
}

/** Memory of `regionOf`, which grows to the largest face: its result is valid until the next call. */
let memory = new Uint8Array(0);

/**
 * Return the gray levels of the part of a photo that a face covers, extended beyond the borders.
 * @param {import("./pixels.js").Picture} photo
 * @param {Transform} toPhoto
 * @param {number} size
 * @param {number} margin
 * @returns {{left: number, top: number, width: number, height: number, data: Uint8Array}}
 */
function regionOf(photo, toPhoto, size, margin) {
  const corners = [[0, 0], [size, 0], [0, size], [size, size]].map((corner) => transformed(toPhoto, corner));
  const [left, top] = [0, 1].map((axis) => Math.floor(Math.min(...corners.map((point) => point[axis]))) - margin);
  const [right, bottom] = [0, 1].map((axis) => Math.ceil(Math.max(...corners.map((point) => point[axis]))) + margin);
  const [width, height] = [right - left, bottom - top];
  if (memory.length < width * height) memory = new Uint8Array(width * height);
  const gray = memory.subarray(0, width * height);
  const { data } = photo;
  for (let row = top, place = 0; row < bottom; row += 1) {
    const line = photo.width * Math.min(photo.height - 1, Math.max(0, row));
    for (let column = left; column < right; column += 1, place += 1) {
      const i = 4 * (line + Math.min(photo.width - 1, Math.max(0, column)));
      gray[place] = luma(data[i], data[i + 1], data[i + 2]);
    }
  }
  return { left, top, width, height, data: gray };
}

/**
 * Average gray levels over square blocks; those at the right and lower edge can be smaller.
 * @param {Levels} levels
 * @param {number} block
 * @returns {Levels}
 */
function blockMeans({ width, height, data }, block) {
  const columns = Math.ceil(width / block);
  const rows = Math.ceil(height / block);
  const means = new Float32Array(columns * rows);
  for (let row = 0, place = 0; row < rows; row += 1) {
    const bottom = Math.min(height, (row + 1) * block);
    for (let column = 0; column < columns; column += 1, place += 1) {
      const right = Math.min(width, (column + 1) * block);
      let sum = 0;
      for (let y = row * block; y < bottom; y += 1) {
        for (let x = column * block; x < right; x += 1) sum += data[y * width + x];
      }
      means[place] = sum / ((bottom - row * block) * (right - column * block));
    }
  }
  return { width: columns, height: rows, data: means };
}
