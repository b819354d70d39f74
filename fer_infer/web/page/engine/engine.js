/** The networks of the site: finds, predicts and explains faces in a worker. */

/** @typedef {import("../scoring/faces.js").FoundFace} FoundFace */
/** @typedef {import("../scoring/faces.js").Found} Found */
/** @typedef {import("../scoring/classifier.js").Prediction} Prediction */
/** @typedef {import("../scoring/classifier.js").Explanation} Explanation */
/** @typedef {import("../scoring/csv.js").Faces} Faces */
/** @typedef {import("./site.js").Site} Site */

export class Engine {
  /** @param {Site} site */
  constructor(site) {
    this.site = site;
    /** Names of the classes, in the order of the outputs. */
    this.labels = site.card.labels;
    /** Whether the model has a graph of attribution maps. */
    this.canExplain = site.saliency !== null;
    /** Precision of the graph that predicts. */
    this.precision = site.precisions[0];
    this.worker = new Worker(new URL("./scoring_worker.js", import.meta.url), { type: "module" });
    /** @type {Map<number, {resolve: (result: any) => void, reject: (error: Error) => void}>} */
    this.waiting = new Map();
    this.calls = 0;
    this.worker.addEventListener("message", ({ data }) => this.#settle(data));
    this.worker.addEventListener("error", (event) => this.#fail(event.message));
  }

  /** Load the networks. */
  async load() {
    await Promise.all([this.#call("loadDetector", [this.site.detector]), this.usePrecision(this.precision)]);
  }

  /**
   * Predict with the graph of a precision from now on.
   * @param {string} precision
   */
  async usePrecision(precision) {
    const { graphs, saliency, card } = this.site;
    await this.#call("loadClassifier", [{ model: graphs[precision], saliency, card }]);
    this.precision = precision;
  }

  /**
   * Find the faces in a picture. Its pixels are moved, so that the caller cannot use them any more.
   * @param {ImageData} picture
   * @param {import("../scoring/detector.js").SearchOptions} [options]
   * @returns {Promise<Found>}
   */
  find({ width, height, data }, options = {}) {
    return this.#call("find", [{ width, height, data }, options], [data.buffer]);
  }

  /**
   * @param {Uint8Array[]} images of 2,304 gray levels each
   * @returns {Promise<Float32Array[]>} probabilities of each
   */
  async predict(images) {
    if (images.length === 0) return [];
    const { probabilities } = await this.#call("predict", [joined(images), images.length]);
    return split(probabilities, images.length);
  }

  /**
   * @param {Uint8Array[]} images of 2,304 gray levels each
   * @param {number[]} targets class that the maps of each image explain
   * @returns {Promise<FaceMaps[]>} one per image
   */
  async explain(images, targets) {
    if (images.length === 0) return [];
    /** @type {Explanation} */
    const found = await this.#call("explain", [joined(images), images.length, targets]);
    const saliency = split(found.saliency, images.length);
    const gradCam = found.gradCam === null ? null : split(found.gradCam, images.length);
    return images.map((_, i) => ({ saliency: saliency[i], gradCam: gradCam === null ? null : gradCam[i] }));
  }

  /**
   * Read the faces of a CSV. Its content is moved, so that the caller cannot use it any more.
   * @param {ArrayBuffer} content
   * @param {string} name
   * @returns {Promise<Faces>}
   */
  readCsv(content, name) {
    return this.#call("readCsv", [content, name], [content]);
  }

  /**
   * Return the SHA-256 of a file of the site as hexadecimal text.
   * @param {string} url
   * @returns {Promise<string>}
   */
  sha256(url) {
    return this.#call("sha256", [url]);
  }

  /**
   * @param {string} method
   * @param {unknown[]} values
   * @param {Transferable[]} [moved]
   * @returns {Promise<any>}
   */
  #call(method, values, moved = []) {
    const id = this.calls;
    this.calls += 1;
    return new Promise((resolve, reject) => {
      this.waiting.set(id, { resolve, reject });
      this.worker.postMessage({ id, method, values }, moved);
    });
  }

  /** @param {{id: number, result?: unknown, error?: {name: string, message: string}}} answer */
  #settle({ id, result, error }) {
    const { resolve, reject } = /** @type {NonNullable<ReturnType<typeof this.waiting.get>>} */ (this.waiting.get(id));
    this.waiting.delete(id);
    if (error) reject(Object.assign(new Error(error.message), { name: error.name }));
    else resolve(result);
  }

  /** @param {string} message */
  #fail(message) {
    for (const { reject } of this.waiting.values()) reject(new Error(message || "the worker cannot be loaded"));
    this.waiting.clear();
  }
}

/**
 * Attribution maps of a face, 2,304 values each.
 * @typedef {object} FaceMaps
 * @property {Float32Array} saliency
 * @property {Float32Array | null} gradCam null if the network has no convolution
 */

/** @param {Uint8Array[]} images */
function joined(images) {
  const length = images[0].length;
  const whole = new Uint8Array(images.length * length);
  images.forEach((image, i) => whole.set(image, i * length));
  return whole;
}

/**
 * @param {Float32Array} values
 * @param {number} n
 */
function split(values, n) {
  const length = values.length / n;
  return Array.from({ length: n }, (_, i) => values.slice(i * length, (i + 1) * length));
}
