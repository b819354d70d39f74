/**
 * YuNet, the network that finds faces: its input, and the decoding of its outputs.
 *
 * Wu et al., "YuNet: A Tiny Millisecond-level Face Detector", Machine Intelligence Research 20 (2023).
 */

import { roundHalfEven } from "./pixels.js";

/** Pixels per cell of the three grids in which the network looks for faces. */
const STRIDES = [8, 16, 32];
const LARGEST_STRIDE = 32;

/**
 * Step in pixels to which landmarks are rounded, so that a face is aligned alike by every build of ONNX Runtime: the
 * network amplifies small differences.
 */
const LANDMARK_STEP = 1 / 16;

/**
 * A face in the pixels that the network was given.
 * @typedef {object} Candidate
 * @property {number} score 0 to 1, the geometric mean of the probabilities of a face and of an object
 * @property {number} left
 * @property {number} top
 * @property {number} width
 * @property {number} height
 * @property {number[][]} landmarks x and y of five points
 */

/** The network, with memory for its input that all calls share. */
export class Yunet {
  /** @param {import("./session.js").Session} session */
  constructor(session) {
    this.session = session;
    this.memory = new Float32Array(0);
  }

  /**
   * Find the faces in a picture in its own size.
   * @param {import("./resampling.js").Raster} raster
   * @param {number} threshold smallest score
   * @returns {Promise<Candidate[]>}
   */
  find(raster, threshold) {
    // the largest stride must divide the sides; black pixels are added on the right and below
    const [columns, rows] = [raster.width, raster.height].map(
      (side) => Math.ceil(side / LARGEST_STRIDE) * LARGEST_STRIDE,
    );
    return this.session.run(
      () => ({ input: ["float32", this.fill(raster, columns, rows), [1, 3, rows, columns]] }),
      (outputs) => STRIDES.flatMap((stride) => candidatesOf(outputs, stride, columns / stride, threshold)),
    );
  }

  /**
   * Write the planes blue, green and red, the order in which the network was trained.
   * @param {import("./resampling.js").Raster} raster
   * @param {number} columns
   * @param {number} rows
   */
  fill(raster, columns, rows) {
    const { width, height, data, channels } = raster;
    const plane = columns * rows;
    if (this.memory.length < 3 * plane) this.memory = new Float32Array(3 * plane);
    const input = this.memory.subarray(0, 3 * plane);
    if (columns !== width || rows !== height) input.fill(0);
    const [green, blue] = channels === 1 ? [0, 0] : [1, 2];
    for (let row = 0, i = 0; row < height; row += 1) {
      for (let place = row * columns, end = place + width; place < end; place += 1, i += channels) {
        input[place] = data[i + blue];
        input[place + plane] = data[i + green];
        input[place + 2 * plane] = data[i];
      }
    }
    return input;
  }
}

/**
 * @param {Record<string, Float32Array>} outputs
 * @param {number} stride
 * @param {number} columns cells per row
 * @param {number} threshold
 * @returns {Candidate[]}
 */
function candidatesOf(outputs, stride, columns, threshold) {
  const [faces, objects, offsets, points] = ["cls", "obj", "bbox", "kps"].map((kind) => outputs[`${kind}_${stride}`]);
  const found = [];
  for (let cell = 0; cell < faces.length; cell += 1) {
    const score = Math.sqrt(probability(faces[cell]) * probability(objects[cell]));
    if (!(score >= threshold)) continue;
    const right = cell % columns;
    const down = Math.floor(cell / columns);
    const [dx, dy, logWidth, logHeight] = offsets.subarray(4 * cell, 4 * cell + 4);
    const width = Math.exp(logWidth) * stride;
    const height = Math.exp(logHeight) * stride;
    const landmarks = [];
    for (let i = 10 * cell; i < 10 * cell + 10; i += 2) {
      const exact = [(right + points[i]) * stride, (down + points[i + 1]) * stride];
      landmarks.push(exact.map((value) => roundHalfEven(value / LANDMARK_STEP) * LANDMARK_STEP));
    }
    const left = (right + dx) * stride - width / 2;
    const top = (down + dy) * stride - height / 2;
    found.push({ score, left, top, width, height, landmarks });
  }
  return found;
}

/** @param {number} value */
function probability(value) {
  return Math.min(1, Math.max(0, value));
}
