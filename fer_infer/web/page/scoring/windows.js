/** The parts of a picture in which faces are searched: the whole, overlapping tiles, and a second look. */

import { rotate, scaled } from "./resampling.js";
import { roundHalfEven } from "./pixels.js";

/** Longer side of the windows of a picture in pixels, as in the training of the network. */
export const WINDOW_SIDE = 640;

/** Side in pixels from which on the network finds faces. */
const SMALLEST_IN_WINDOW = 12;

/** Scales of the window and rotations in degrees with which a picture is searched again if nothing was found in it. */
const SECOND_LOOK_SCALES = [0.5, 2];
const SECOND_LOOK_ROLLS = [-20, 20];

/**
 * A scaled and perhaps rotated part of a picture.
 * @typedef {object} Window
 * @property {import("./resampling.js").Raster} raster
 * @property {number} scale pixels of the window per pixel of the picture
 * @property {number[]} toPicture affine transform from positions in the window to the picture, two rows of three
 * @property {number} largest side in pixels of the window of the largest face to look for; others show larger ones
 * @property {{left: boolean, top: boolean, right: boolean, bottom: boolean}} cut edges that cut the picture
 */

/**
 * Yield the windows of a picture in which faces of at least `minFace` pixels are searched.
 * @param {import("./resampling.js").Raster} picture
 * @param {number} minFace
 * @param {number} side longer side of a window
 * @returns {Generator<Window>}
 */
export function* windows(picture, minFace, side) {
  const whole = Math.min(1, side / Math.max(picture.width, picture.height));
  yield windowOf(picture, whole);
  const scale = Math.min(1, SMALLEST_IN_WINDOW / minFace);
  if (whole >= scale) return;
  const all = scaled(picture, scale);
  // faces that are too small in the whole picture must fit into the overlap of two tiles
  const overlap = Math.min(Math.floor(side / 2), Math.ceil((1.5 * SMALLEST_IN_WINDOW * scale) / whole));
  for (const row of starts(all.height, side, overlap)) {
    for (const column of starts(all.width, side, overlap)) {
      yield {
        raster: cropped(all, column.start, row.start, side),
        scale,
        toPicture: [1 / scale, 0, column.start / scale, 0, 1 / scale, row.start / scale],
        largest: overlap,
        cut: { left: column.before, top: row.before, right: column.after, bottom: row.after },
      };
    }
  }
}

/**
 * Yield the windows of a picture in which nothing was found: smaller, rotated and, if there is room, larger.
 *
 * The network misses some faces that fill a picture, lean to a side, or are small and blurred.
 * @param {import("./resampling.js").Raster} picture
 * @param {number} side longer side of a window
 * @returns {Generator<Window>}
 */
export function* secondLook(picture, side) {
  const longer = Math.max(picture.width, picture.height);
  const whole = Math.min(1, side / longer);
  for (const factor of SECOND_LOOK_SCALES) {
    if (factor * whole * longer <= 2 * side) yield windowOf(picture, factor * whole);
  }
  for (const roll of SECOND_LOOK_ROLLS) yield windowOf(picture, whole, roll);
}

/**
 * Return a window that shows a whole picture.
 * @param {import("./resampling.js").Raster} picture
 * @param {number} scale
 * @param {number} [roll] degrees by which the picture is rotated counterclockwise
 * @returns {Window}
 */
export function windowOf(picture, scale, roll = 0) {
  let raster = scaled(picture, scale);
  if (roll !== 0) raster = rotate(raster, roll);
  const cosine = Math.cos((roll * Math.PI) / 180);
  const sine = Math.sin((roll * Math.PI) / 180);
  const [x, y] = [raster.width / 2, raster.height / 2];
  const toPicture = [cosine, -sine, x - (cosine * x - sine * y), sine, cosine, y - (sine * x + cosine * y)];
  return {
    raster,
    scale,
    toPicture: toPicture.map((value) => value / scale),
    largest: Infinity,
    cut: { left: false, top: false, right: false, bottom: false },
  };
}

/**
 * Return where tiles begin along an axis, and whether something lies before and behind them.
 * @param {number} length
 * @param {number} side
 * @param {number} overlap
 */
function starts(length, side, overlap) {
  const count = Math.max(1, Math.ceil((length - overlap) / (side - overlap)));
  const last = Math.max(0, length - side);
  return Array.from({ length: count }, (_, number) => ({
    start: roundHalfEven((last * number) / Math.max(1, count - 1)),
    before: number > 0,
    after: number < count - 1,
  }));
}

/**
 * @param {import("./resampling.js").Raster} raster
 * @param {number} left
 * @param {number} top
 * @param {number} side
 * @returns {import("./resampling.js").Raster}
 */
function cropped(raster, left, top, side) {
  const width = Math.min(side, raster.width - left);
  const height = Math.min(side, raster.height - top);
  const line = width * raster.channels;
  const data = new Uint8Array(line * height);
  for (let row = 0; row < height; row += 1) {
    const begin = ((top + row) * raster.width + left) * raster.channels;
    data.set(raster.data.subarray(begin, begin + line), row * line);
  }
  return { width, height, data, channels: raster.channels };
}
