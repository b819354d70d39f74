/** The description of the site, which `fer-infer web` writes. */

/**
 * A measurement of the accuracy of a model.
 * @typedef {object} Score
 * @property {number} n
 * @property {number} accuracy
 * @property {[number, number]} wilson_95
 * @property {string} tta
 */

/**
 * The parts of a model card that the page shows.
 * @typedef {object} Card
 * @property {string[]} labels
 * @property {string} architecture
 * @property {string} weights_sha256
 * @property {Record<string, Score>} scores
 * @property {{source: string, rows: Record<string, number>}} training_data
 */

/**
 * The parts of `parity.json` that the page shows.
 * @typedef {object} Parity
 * @property {string} source
 * @property {number} n
 * @property {number} max_absolute_difference
 * @property {number} max_probability_difference
 * @property {number} changed_predictions
 * @property {Record<string, string>} [graph_sha256]
 * @property {{chosen: {agreement: Int8Agreement}} | null} [int8]
 * @property {SaliencyParity | null} [saliency]
 */

/**
 * How the maps of `saliency.onnx` differ from those of the trained network.
 * @typedef {object} SaliencyParity
 * @property {string} source
 * @property {number} n
 * @property {number} median_relative_difference
 * @property {number} max_relative_difference
 * @property {unknown[]} kinks
 */

/**
 * How an int8 graph differs from the float32 graph on the same faces.
 * @typedef {object} Int8Agreement
 * @property {string} split
 * @property {number} n
 * @property {number} accuracy
 * @property {number} fp32_accuracy
 * @property {number} equal_predictions
 */

/**
 * @typedef {object} Site
 * @property {string} model name of the exports folder
 * @property {Record<string, string>} graphs URL of the graph of each precision
 * @property {string[]} precisions the first one is used unless the visitor selects another
 * @property {string | null} saliency URL of the graph of attribution maps
 * @property {boolean} gradCam whether this graph returns Grad-CAM
 * @property {string} detector URL
 * @property {string} drawnFace URL
 * @property {Card} card
 * @property {Parity | null} parity
 * @property {[name: string, text: string][]} summary of the card
 * @property {string} runtime
 * @property {string} toolkit version
 */

/**
 * Read the description of the site.
 * @returns {Promise<Site>}
 */
export async function readSite() {
  const about = await readJson("site.json");
  const [card, parity] = await Promise.all([readJson(about.card), about.parity === null ? null : readJson(about.parity)]);
  const graphs = Object.fromEntries(Object.entries(about.graphs).map(([name, file]) => [name, urlOf(file)]));
  return {
    model: about.model,
    graphs,
    precisions: Object.keys(graphs),
    saliency: about.saliency === null ? null : urlOf(about.saliency),
    gradCam: about.grad_cam,
    detector: urlOf(about.detector),
    drawnFace: urlOf(about.drawn_face),
    card,
    parity,
    summary: about.summary,
    runtime: about.runtime,
    toolkit: about.toolkit,
  };
}

/** @param {string} file */
function urlOf(file) {
  return new URL(file, document.baseURI).href;
}

/** @param {string} file */
async function readJson(file) {
  const response = await fetch(urlOf(file));
  if (!response.ok) throw new Error(`${file}: cannot be read: HTTP status ${response.status}`);
  return response.json();
}
