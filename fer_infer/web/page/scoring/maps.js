/** Draw attribution maps over the photo in which a face was found, and over the face that the model sees. */

import { IMAGE_SIZE, inverse, transformed } from "./alignment.js";
import { NEGATIVE, POSITIVE, magnitudeColor } from "./colors.js";
import { luma, roundHalfEven } from "./pixels.js";

/** Percentile of the absolute values of a map that has the full color; larger values are clipped. */
const PERCENTILE = 99;

/** Factor by which faces are darkened under a map, so that the map has the highest brightness. */
const FACE_BRIGHTNESS = 0.7;

/** Exponent of the opacity of a map; below 1 it makes medium values visible. */
const OVERLAY_GAMMA = 0.75;

/** Start of the color scale of magnitudes; its darker part is not visible over a face. */
const MIN_MAGNITUDE_COLOR = 0.3;

/**
 * A part of a photo, RGBA, to put at (left, top).
 * @typedef {object} Patch
 * @property {number} left
 * @property {number} top
 * @property {number} width
 * @property {number} height
 * @property {Uint8ClampedArray<ArrayBuffer>} data
 */

/**
 * Scale a map to the range -1 to 1 by the 99th percentile of its absolute values, so that single pixels do not
 * dominate; a constant map becomes zero.
 * @param {Float32Array} map
 * @returns {Float32Array}
 */
export function normalize(map) {
  const strengths = map.map(Math.abs).sort();
  const lowest = map.reduce((least, value) => Math.min(least, value), Infinity);
  const highest = map.reduce((most, value) => Math.max(most, value), -Infinity);
  if (lowest === highest) return new Float32Array(map.length);
  const place = (PERCENTILE / 100) * (map.length - 1);
  const below = Math.floor(place);
  const percentile = strengths[below] + (place - below) * (strengths[below + 1] - strengths[below]);
  const full = percentile > 0 ? percentile : strengths[strengths.length - 1];
  return map.map((value) => Math.min(1, Math.max(-1, value / full)));
}

/**
 * Draw a map over the photo in which its face was found, at the resolution of the photo.
 *
 * The map is interpolated at each pixel of the photo, by the inverse of the alignment. Inside the square that the model
 * sees, the photo is gray and darkened, as in the reports of `fer-explain`.
 * @param {import("./pixels.js").Picture} photo without transparent pixels
 * @param {import("./alignment.js").Transform} transform from the photo to the face
 * @param {Float32Array} map 2,304 values of any scale
 * @param {{signed: boolean}} options whether the sign has a meaning: orange supports the class, blue opposes it
 * @returns {Patch} the part of the photo around the square
 */
export function overlayPhoto(photo, transform, map, { signed }) {
  const patch = patchOf(photo, transform);
  const values = normalize(map);
  const [a, b, c, d, e, f] = transform;
  // a pixel that covers several pixels of the map gets the mean of several samples
  const samples = Math.max(1, Math.ceil(Math.sqrt(Math.abs(a * e - b * d))));
  const color = new Float64Array(3);
  for (let row = 0, i = 0; row < patch.height; row += 1) {
    for (let column = 0; column < patch.width; column += 1, i += 4) {
      const [left, top] = [patch.left + column, patch.top + row];
      const x = a * (left + 0.5) + b * (top + 0.5) + c;
      const y = d * (left + 0.5) + e * (top + 0.5) + f;
      if (!(x >= 0 && x < IMAGE_SIZE && y >= 0 && y < IMAGE_SIZE)) continue;
      let sum = 0;
      for (let down = top + 0.5 / samples; down < top + 1; down += 1 / samples) {
        for (let across = left + 0.5 / samples; across < left + 1; across += 1 / samples) {
          sum += sampled(values, a * across + b * down + c - 0.5, d * across + e * down + f - 0.5);
        }
      }
      const gray = luma(patch.data[i], patch.data[i + 1], patch.data[i + 2]);
      blend(gray, sum / (samples * samples), signed, color);
      patch.data.set(color, i);
    }
  }
  return patch;
}

/**
 * Draw a map over the face that the model sees.
 * @param {Uint8Array} image 2,304 gray levels
 * @param {Float32Array} map 2,304 values of any scale
 * @param {{signed: boolean}} options as of `overlayPhoto`
 * @returns {Patch}
 */
export function overlayFace(image, map, { signed }) {
  return painted(image, normalize(map), IMAGE_SIZE, signed);
}

/**
 * Draw the color scale of maps over mid gray, from its lowest to its highest value.
 * @param {{signed: boolean, length?: number}} options
 * @returns {Patch} one pixel high
 */
export function colorScale({ signed, length = 96 }) {
  const lowest = signed ? -1 : 0;
  const values = Float32Array.from({ length }, (_, i) => lowest + ((1 - lowest) * i) / (length - 1));
  return painted(new Uint8Array(length).fill(128), normalize(values), length, signed);
}

/**
 * Return the corners of the square that the model sees, in pixels of the photo, clockwise.
 * @param {import("./alignment.js").Transform} transform from the photo to the face
 */
export function cornersOf(transform) {
  const toPhoto = inverse(transform);
  const [low, high] = [0, IMAGE_SIZE];
  return [[low, low], [high, low], [high, high], [low, high]].map((corner) => transformed(toPhoto, corner));
}

/**
 * @param {Uint8Array} gray
 * @param {Float32Array} values -1 to 1
 * @param {number} width
 * @param {boolean} signed
 * @returns {Patch}
 */
function painted(gray, values, width, signed) {
  const data = new Uint8ClampedArray(4 * gray.length).fill(255);
  const color = new Float64Array(3);
  gray.forEach((level, pixel) => {
    blend(level, values[pixel], signed, color);
    data.set(color, 4 * pixel);
  });
  return { left: 0, top: 0, width, height: gray.length / width, data };
}

/**
 * Copy the part of a photo around the square that the model sees.
 * @param {import("./pixels.js").Picture} photo
 * @param {import("./alignment.js").Transform} transform
 * @returns {Patch}
 */
function patchOf(photo, transform) {
  const corners = cornersOf(transform);
  const [left, top] = [0, 1].map((axis) => Math.max(0, Math.floor(Math.min(...corners.map((point) => point[axis])))));
  const [right, bottom] = [photo.width, photo.height].map((end, axis) =>
    Math.min(end, Math.ceil(Math.max(...corners.map((point) => point[axis])))),
  );
  const [width, height] = [Math.max(0, right - left), Math.max(0, bottom - top)];
  const data = new Uint8ClampedArray(4 * width * height);
  for (let row = 0; row < height; row += 1) {
    const begin = 4 * ((top + row) * photo.width + left);
    data.set(photo.data.subarray(begin, begin + 4 * width), 4 * row * width);
  }
  return { left, top, width, height, data };
}

/**
 * Interpolate a map at a position counted from the center of its first pixel; borders are repeated.
 * @param {Float32Array} values
 * @param {number} x
 * @param {number} y
 */
function sampled(values, x, y) {
  const last = IMAGE_SIZE - 1;
  const [clippedX, clippedY] = [Math.min(last, Math.max(0, x)), Math.min(last, Math.max(0, y))];
  const left = Math.min(last - 1, Math.floor(clippedX));
  const top = Math.min(last - 1, Math.floor(clippedY));
  const [right, down] = [clippedX - left, clippedY - top];
  const place = top * IMAGE_SIZE + left;
  const upper = values[place] * (1 - right) + values[place + 1] * right;
  const lower = values[place + IMAGE_SIZE] * (1 - right) + values[place + IMAGE_SIZE + 1] * right;
  return upper * (1 - down) + lower * down;
}

/**
 * Mix a gray level with the color of a value.
 * @param {number} gray
 * @param {number} value -1 to 1
 * @param {boolean} signed
 * @param {Float64Array} color receives red, green and blue, integers
 */
function blend(gray, value, signed, color) {
  const strength = Math.abs(value);
  const face = FACE_BRIGHTNESS * gray;
  const opacity = strength ** OVERLAY_GAMMA;
  const signColor = value > 0 ? POSITIVE : NEGATIVE;
  const full = signed ? signColor : magnitudeColor(MIN_MAGNITUDE_COLOR + (1 - MIN_MAGNITUDE_COLOR) * strength);
  for (let channel = 0; channel < 3; channel += 1) {
    color[channel] = roundHalfEven(face + opacity * (full[channel] - face));
  }
}
