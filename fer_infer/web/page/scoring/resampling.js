/** Change the size of pictures and rotate them with the integer arithmetic of Pillow, to the same bits. */

import { roundHalfEven } from "./pixels.js";

/**
 * Interleaved 8-bit samples: gray levels, or red, green and blue. A fourth channel is left out of what is made of it.
 * @typedef {object} Raster
 * @property {number} width
 * @property {number} height
 * @property {Uint8Array | Uint8ClampedArray} data
 * @property {1 | 3 | 4} channels
 */

/** Bits after the binary point of a weight. */
const PRECISION_BITS = 22;

/** A picture is first averaged over blocks if these leave at least this many pixels per pixel of the result. */
const REDUCING_GAP = 2;

const FILTERS = {
  bilinear: { support: 1, weight: (/** @type {number} */ x) => Math.max(0, 1 - Math.abs(x)) },
  box: { support: 0.5, weight: (/** @type {number} */ x) => (x > -0.5 && x <= 0.5 ? 1 : 0) },
};

/**
 * Resize a raster.
 * @param {Raster} raster
 * @param {number} width
 * @param {number} height
 * @param {"bilinear" | "box"} filter
 * @param {boolean} [reduceFirst] average a much larger picture over blocks first, which is faster
 * @returns {Raster}
 */
export function resize(raster, width, height, filter, reduceFirst = false) {
  if (raster.width === width && raster.height === height) return raster;
  let right = raster.width;
  let bottom = raster.height;
  let source = raster;
  if (reduceFirst) {
    const across = Math.max(1, Math.trunc(right / width / REDUCING_GAP));
    const down = Math.max(1, Math.trunc(bottom / height / REDUCING_GAP));
    if (across > 1 || down > 1) {
      source = reduce(raster, across, down);
      right /= across;
      bottom /= down;
    }
  }
  const columns = source.width !== width || right !== width ? weightsOf(source.width, right, width, filter) : null;
  const rows = source.height !== height || bottom !== height ? weightsOf(source.height, bottom, height, filter) : null;
  const fewerRows = source.height - height;
  const rowsFirst = fewerRows > 0 && fewerRows > 2 * (source.width - width);
  if (rowsFirst && rows) source = resampleRows(source, rows);
  if (columns) source = resampleColumns(source, columns);
  return !rowsFirst && rows ? resampleRows(source, rows) : source;
}

/**
 * Resize a raster so that both sides are scaled alike.
 * @param {Raster} raster
 * @param {number} scale
 * @returns {Raster}
 */
export function scaled(raster, scale) {
  if (scale === 1) return raster;
  const [width, height] = [raster.width, raster.height].map((side) => Math.max(1, roundHalfEven(side * scale)));
  return resize(raster, width, height, "bilinear", true);
}

/**
 * Average a raster over blocks; those at the right and lower edge can be smaller.
 * @param {Raster} raster
 * @param {number} across
 * @param {number} down
 * @returns {Raster}
 */
export function reduce(raster, across, down) {
  const { width, height, data, channels } = raster;
  const columns = Math.ceil(width / across);
  const rows = Math.ceil(height / down);
  const reduced = blank(columns, rows, channels);
  const bands = reduced.channels;
  for (let row = 0, place = 0; row < rows; row += 1) {
    const top = row * down;
    const bottom = Math.min(height, top + down);
    for (let column = 0; column < columns; column += 1, place += bands) {
      const left = column * across;
      const right = Math.min(width, left + across);
      const count = (right - left) * (bottom - top);
      const factor = Math.trunc(Math.fround(2 ** 32 / (256 * count)));
      for (let band = 0; band < bands; band += 1) {
        let sum = count >> 1;
        for (let y = top; y < bottom; y += 1) {
          const end = (y * width + right) * channels;
          for (let i = (y * width + left) * channels + band; i < end; i += channels) sum += data[i];
        }
        reduced.data[place + band] = Math.floor((sum * factor) / 2 ** 24);
      }
    }
  }
  return reduced;
}

/**
 * Rotate a colored raster about its center, with bilinear interpolation; what comes from outside is black.
 * @param {Raster} raster
 * @param {number} degrees counterclockwise
 * @returns {Raster}
 */
export function rotate(raster, degrees) {
  const { width, height, data, channels } = raster;
  const radians = (-degrees * Math.PI) / 180;
  const cosine = Number(Math.cos(radians).toFixed(15));
  const sine = Number(Math.sin(radians).toFixed(15));
  const left = width / 2 - cosine * (width / 2) - sine * (height / 2);
  const top = height / 2 + sine * (width / 2) - cosine * (height / 2);
  const rotated = blank(width, height, channels);
  for (let row = 0, place = 0; row < height; row += 1) {
    for (let column = 0; column < width; column += 1, place += 3) {
      let x = cosine * (column + 0.5) + sine * (row + 0.5) + left;
      let y = -sine * (column + 0.5) + cosine * (row + 0.5) + top;
      if (x < 0 || x >= width || y < 0 || y >= height) continue;
      x -= 0.5;
      y -= 0.5;
      const column0 = Math.floor(x);
      const row0 = Math.floor(y);
      const right = x - column0;
      const down = y - row0;
      const x0 = channels * Math.max(0, column0);
      const x1 = channels * Math.min(width - 1, column0 + 1);
      const above = channels * width * Math.max(0, row0);
      const below = channels * width * Math.min(height - 1, row0 + 1);
      for (let band = 0; band < 3; band += 1) {
        const upper = data[above + x0 + band];
        const first = upper + (data[above + x1 + band] - upper) * right;
        const lower = data[below + x0 + band];
        const second = lower + (data[below + x1 + band] - lower) * right;
        rotated.data[place + band] = first + (second - first) * down;
      }
    }
  }
  return rotated;
}

/**
 * For each pixel of the result, the first pixel of the source, the number of pixels, and their weights.
 * @typedef {object} Weights
 * @property {number} size
 * @property {Int32Array} starts
 * @property {Int32Array} counts
 * @property {number} stride weights per pixel of the result
 * @property {Int32Array} weights
 */

/**
 * @param {number} sourceSize
 * @param {number} end position in the source that the end of the result shows
 * @param {number} size
 * @param {"bilinear" | "box"} name
 * @returns {Weights}
 */
function weightsOf(sourceSize, end, size, name) {
  const filter = FILTERS[name];
  const scale = Math.fround(end) / size;
  const stretch = Math.max(1, scale);
  const support = filter.support * stretch;
  const stride = 2 * Math.ceil(support) + 1;
  const starts = new Int32Array(size);
  const counts = new Int32Array(size);
  const weights = new Int32Array(size * stride);
  const exact = new Float64Array(stride);
  for (let place = 0; place < size; place += 1) {
    const center = (place + 0.5) * scale;
    const start = Math.max(0, Math.trunc(center - support + 0.5));
    const count = Math.min(sourceSize, Math.trunc(center + support + 0.5)) - start;
    let sum = 0;
    for (let i = 0; i < count; i += 1) {
      exact[i] = filter.weight((i + start - center + 0.5) * (1 / stretch));
      sum += exact[i];
    }
    for (let i = 0; i < count; i += 1) {
      const share = sum === 0 ? exact[i] : exact[i] / sum;
      weights[place * stride + i] = Math.trunc(0.5 + share * 2 ** PRECISION_BITS);
    }
    starts[place] = start;
    counts[place] = count;
  }
  return { size, starts, counts, stride, weights };
}

/**
 * @param {Raster} raster
 * @param {Weights} columns
 * @returns {Raster}
 */
function resampleColumns(raster, columns) {
  const { width, height, data, channels } = raster;
  const { size, starts, counts, stride, weights } = columns;
  const result = blank(size, height, channels);
  const out = result.data;
  const half = 1 << (PRECISION_BITS - 1);
  for (let row = 0, place = 0; row < height; row += 1) {
    for (let column = 0; column < size; column += 1) {
      const first = column * stride;
      const last = first + counts[column];
      let [one, two, three] = [half, half, half];
      for (let k = first, i = (row * width + starts[column]) * channels; k < last; k += 1, i += channels) {
        const weight = weights[k];
        one += data[i] * weight;
        if (channels > 1) {
          two += data[i + 1] * weight;
          three += data[i + 2] * weight;
        }
      }
      out[place] = one >> PRECISION_BITS;
      if (channels > 1) {
        out[place + 1] = two >> PRECISION_BITS;
        out[place + 2] = three >> PRECISION_BITS;
      }
      place += result.channels;
    }
  }
  return result;
}

/**
 * @param {Raster} raster
 * @param {Weights} rows
 * @returns {Raster}
 */
function resampleRows(raster, rows) {
  const { width, data, channels } = raster;
  const { size, starts, counts, stride, weights } = rows;
  const result = blank(width, size, channels);
  const bands = result.channels;
  const sums = new Int32Array(width * bands);
  for (let row = 0; row < size; row += 1) {
    sums.fill(1 << (PRECISION_BITS - 1));
    for (let k = 0; k < counts[row]; k += 1) {
      const weight = weights[row * stride + k];
      let i = (starts[row] + k) * width * channels;
      if (channels === bands) {
        for (let place = 0; place < sums.length; place += 1, i += 1) sums[place] += data[i] * weight;
      } else {
        for (let place = 0; place < sums.length; place += 3, i += channels) {
          sums[place] += data[i] * weight;
          sums[place + 1] += data[i + 1] * weight;
          sums[place + 2] += data[i + 2] * weight;
        }
      }
    }
    const begin = row * sums.length;
    for (let place = 0; place < sums.length; place += 1) result.data[begin + place] = sums[place] >> PRECISION_BITS;
  }
  return result;
}

/**
 * @param {number} width
 * @param {number} height
 * @param {1 | 3 | 4} channels of the source
 * @returns {Raster} without a fourth channel
 */
function blank(width, height, channels) {
  const bands = channels === 1 ? 1 : 3;
  return { width, height, data: new Uint8Array(width * height * bands), channels: bands };
}
