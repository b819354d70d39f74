/** Runs the networks away from the page, which therefore never waits: it answers the calls of `Engine`. */

import { createClassifier } from "../scoring/classifier.js";
import { DataError, readFaces } from "../scoring/csv.js";
import { createDetector } from "../scoring/detector.js";
import { search } from "../scoring/faces.js";

const worker = /** @type {DedicatedWorkerGlobalScope} */ (/** @type {unknown} */ (self));

/** @typedef {import("../scoring/classifier.js").Classifier} Classifier */
/** @typedef {import("../scoring/classifier.js").Card} Card */

/** @type {Promise<any>} */
const runtime = import(new URL("../runtime/ort.wasm.min.mjs", import.meta.url).href);

/** @type {import("../scoring/detector.js").Detector} */
let detector;
/** @type {Classifier} */
let classifier;

/**
 * Functions that the page can call; each returns its result and the buffers in it, which are moved rather than copied.
 * @type {Record<string, (...values: any[]) => Promise<[result: unknown, moved?: ArrayBufferLike[]]>>}
 */
const methods = {
  /**
   * @param {string} url
   */
  async loadDetector(url) {
    detector = await createDetector(await runtime, url);
    return [null];
  },

  /**
   * @param {{model: string, saliency: string | null, card: Card}} files
   */
  async loadClassifier(files) {
    const before = classifier;
    classifier = await createClassifier(await runtime, files);
    await before?.release();
    return [null];
  },

  /**
   * @param {import("../scoring/pixels.js").Picture} picture
   * @param {import("../scoring/detector.js").SearchOptions} options
   */
  async find(picture, options) {
    return [await search(detector, picture, options)];
  },

  /**
   * @param {Uint8Array} images
   * @param {number} n
   */
  async predict(images, n) {
    return [await classifier.predict(images, n)];
  },

  /**
   * @param {Uint8Array} images
   * @param {number} n
   * @param {number[] | null} targets
   */
  async explain(images, n, targets) {
    return [await classifier.explain(images, n, targets)];
  },

  /**
   * @param {ArrayBuffer} content
   * @param {string} name
   */
  async readCsv(content, name) {
    const faces = readForPredictions(content, name);
    const images = faces.images.slice(); // without the unused rest of the buffer
    return [{ ...faces, images }, [images.buffer]];
  },

  /**
   * @param {string} url
   */
  async sha256(url) {
    const response = await fetch(url);
    if (!response.ok) throw new Error(`${url}: cannot be read: HTTP status ${response.status}`);
    const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", await response.arrayBuffer()));
    return [Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("")];
  },
};

/**
 * Read faces with their labels, or without, if only labels are invalid: predictions do not need them.
 * @param {ArrayBuffer} content
 * @param {string} name
 */
function readForPredictions(content, name) {
  try {
    return readFaces(content, name);
  } catch (error) {
    if (!(error instanceof DataError)) throw error;
    try {
      const faces = readFaces(content, name, { labels: false });
      return { ...faces, warnings: [...faces.warnings, `${error.message}; predicted without labels`] };
    } catch {
      throw error;
    }
  }
}

worker.addEventListener("message", async ({ data: { id, method, values } }) => {
  try {
    const [result, moved = []] = await methods[method](...values);
    worker.postMessage({ id, result }, /** @type {Transferable[]} */ (moved));
  } catch (error) {
    const { name, message } = error instanceof Error ? error : new Error(String(error));
    worker.postMessage({ id, error: { name, message } });
  }
});
