/** Predict the expression of faces, and explain predictions by attribution maps. */

import { IMAGE_SIZE } from "./alignment.js";
import { Session } from "./session.js";

const PIXELS = IMAGE_SIZE * IMAGE_SIZE;

/** Faces per call of a graph: enough to amortize it, few enough that the activations fit in the processor's cache. */
const BATCH_SIZE = 16;

/** Target that stands for the predicted class. */
const PREDICTED = -1n;

/**
 * Outputs for faces, those of each face one after the other, one value per class.
 * @typedef {object} Prediction
 * @property {Float32Array} logits
 * @property {Float32Array} probabilities
 */

/**
 * Attribution maps of faces, 2,304 values each, in addition to the prediction.
 * @typedef {object} Maps
 * @property {Float32Array} saliency signed gradient of the logit of the target with respect to the pixels
 * @property {Float32Array | null} gradCam of the last convolution, at least 0; null if the network has no convolution
 */

/**
 * @typedef {Prediction & Maps} Explanation
 */

/**
 * The parts of a model card that are used.
 * @typedef {object} Card
 * @property {string[]} labels
 */

/** Runs the graphs of a model; the one that explains is loaded when it is first needed. */
export class Classifier {
  /**
   * @param {import("./session.js").Runtime} ort
   * @param {Session} model
   * @param {string | URL | null} saliencyUrl
   * @param {string[]} labels
   */
  constructor(ort, model, saliencyUrl, labels) {
    this.ort = ort;
    this.model = model;
    this.saliencyUrl = saliencyUrl;
    /** @type {Promise<Session> | null} */
    this.saliency = null;
    /** Names of the classes, in the order of the outputs. */
    this.labels = labels;
  }

  /** Whether the model has a graph that explains. */
  get canExplain() {
    return this.saliencyUrl !== null;
  }

  /**
   * Predict faces.
   * @param {Uint8Array} images n times 2,304 gray levels
   * @param {number} n
   * @returns {Promise<Prediction>}
   */
  async predict(images, n) {
    const outputs = await this.#runInBatches(this.model, images, n, null);
    return { logits: outputs.logits, probabilities: outputs.probabilities };
  }

  /**
   * Predict faces and compute their attribution maps.
   * @param {Uint8Array} images n times 2,304 gray levels
   * @param {number} n
   * @param {ArrayLike<number> | null} [targets] class that each map explains; the predicted ones by default
   * @returns {Promise<Explanation>}
   */
  async explain(images, n, targets = null) {
    if (this.saliencyUrl === null) throw new Error("the model has no graph of saliency maps");
    this.saliency ??= Session.open(this.ort, this.saliencyUrl);
    let session;
    try {
      session = await this.saliency;
    } catch (error) {
      this.saliency = null; // the next call tries again
      throw error;
    }
    const chosen = BigInt64Array.from({ length: n }, (_, i) => (targets === null ? PREDICTED : BigInt(targets[i])));
    const outputs = await this.#runInBatches(session, images, n, chosen);
    return {
      logits: outputs.logits,
      probabilities: outputs.probabilities,
      saliency: outputs.saliency,
      gradCam: outputs.grad_cam ?? null,
    };
  }

  /** Free the memory of the graphs once all calls have ended. */
  async release() {
    const explaining = await this.saliency?.catch(() => null);
    await Promise.all([this.model.release(), explaining?.release()]);
  }

  /**
   * @param {Session} session
   * @param {Uint8Array} images
   * @param {number} n
   * @param {BigInt64Array | null} targets
   * @returns {Promise<Record<string, Float32Array>>}
   */
  async #runInBatches(session, images, n, targets) {
    if (images.length !== n * PIXELS) {
      throw new RangeError(`expected ${n * PIXELS} gray levels, found ${images.length}`);
    }
    const outputs = Object.fromEntries(
      session.outputNames.map((name) => [name, new Float32Array(n * this.#valuesPerFace(name))]),
    );
    for (let start = 0; start < n; start += BATCH_SIZE) {
      const end = Math.min(n, start + BATCH_SIZE);
      /** @returns {Record<string, [string, ArrayLike<unknown>, number[]]>} */
      const inputs = () => ({
        faces: ["uint8", images.subarray(start * PIXELS, end * PIXELS), [end - start, IMAGE_SIZE, IMAGE_SIZE]],
        ...(targets === null ? {} : { target: ["int64", targets.subarray(start, end), [end - start]] }),
      });
      await session.run(inputs, (batch) => {
        for (const [name, values] of Object.entries(batch)) {
          outputs[name].set(values, start * this.#valuesPerFace(name));
        }
      });
    }
    return outputs;
  }

  /** @param {string} output */
  #valuesPerFace(output) {
    return output === "logits" || output === "probabilities" ? this.labels.length : PIXELS;
  }
}

/**
 * Load a model.
 * @param {import("./session.js").Runtime} ort
 * @param {object} files
 * @param {string | URL} files.model URL of the graph that predicts
 * @param {string | URL | null} [files.saliency] URL of the graph that explains, if there is one
 * @param {Card} files.card
 * @returns {Promise<Classifier>}
 */
export async function createClassifier(ort, { model, saliency = null, card }) {
  return new Classifier(ort, await Session.open(ort, model), saliency, card.labels);
}
