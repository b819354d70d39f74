/** The card of the model, and the proof that the graph of this page is the one that was exported. */

import { byId, make, percent } from "./dom.js";

/** @typedef {import("../engine/site.js").Site} Site */

/**
 * Show the card, the accuracy and the comparison with the trained network.
 * @param {Site} site
 */
export function showAbout(site) {
  byId("model-name").textContent = site.model;
  document.title = `Facial expressions in your browser: ${site.model}`;
  byId("facts").replaceChildren(...factsOf(site));
  byId("card").replaceChildren(...site.summary.map(([name, text]) => pair(name, text)));
  byId("checks").replaceChildren(...comparisonOf(site));
  byId("about").append(` Written by fer-infer ${site.toolkit} with ${site.runtime}.`);
}

/**
 * Compare the checksums of the graphs with those that the export states.
 * @param {Site} site
 * @param {import("../engine/engine.js").Engine} engine
 */
export async function showChecksums(site, engine) {
  const stated = site.parity?.graph_sha256 ?? {};
  const urls = [...Object.values(site.graphs), ...(site.saliency === null ? [] : [site.saliency])];
  for (const url of urls) {
    const name = /** @type {string} */ (url.split("/").pop());
    const verdict = make("span", { class: "verdict plain" }, "checking …");
    const sum = make("code", {}, stated[name] ?? "");
    byId("checks").append(make("tr", {}, make("th", { scope: "row" }, name), make("td", {}, verdict, " ", sum)));
    const [text, kind] = await verdictOf(url, stated[name], engine);
    verdict.textContent = text;
    verdict.className = `verdict ${kind}`;
  }
}

/**
 * @param {string} url
 * @param {string | undefined} stated
 * @param {import("../engine/engine.js").Engine} engine
 * @returns {Promise<[text: string, kind: "good" | "bad" | "plain"]>}
 */
async function verdictOf(url, stated, engine) {
  if (stated === undefined) return ["the export states no checksum", "plain"];
  if (!window.isSecureContext) return ["not checked: browsers compute checksums only on https or localhost", "plain"];
  const found = await engine.sha256(url);
  return found === stated ? ["checksum verified here", "good"] : [`differs: SHA-256 ${found}`, "bad"];
}

/** @param {Site} site */
function factsOf({ card, parity }) {
  const facts = Object.entries(card.scores).map(([split, { accuracy, n, wilson_95: [low, high] }]) =>
    fact(
      `Accuracy on ${split}`,
      percent(accuracy, 2),
      `95% interval ${percent(low, 2)} to ${percent(high, 2)}, ${n.toLocaleString("en-US")} faces`,
    ),
  );
  const { rows, source } = card.training_data;
  if (rows.Training) facts.push(fact("Trained on", rows.Training.toLocaleString("en-US"), `faces of ${source}`));
  const int8 = parity?.int8?.chosen.agreement;
  if (int8) {
    facts.push(fact("Accuracy of int8", percent(int8.accuracy, 2), `${percent(int8.equal_predictions, 1)} equal predictions`));
  }
  facts.push(fact("Classes", String(card.labels.length), card.labels.join(", ")));
  return facts;
}

/** @param {Site} site */
function comparisonOf({ card, parity }) {
  const rows = [pair("Weights", `SHA-256 ${card.weights_sha256}`)];
  if (parity === null) return rows;
  const faces = `${parity.n.toLocaleString("en-US")} faces of ${parity.source}`;
  return [
    ...rows,
    pair("Compared on", faces),
    pair("Changed predictions", `${parity.changed_predictions}, float32 graph against the trained network`),
    pair("Largest difference of a logit", parity.max_absolute_difference.toExponential(1)),
    pair("Largest difference of a probability", parity.max_probability_difference.toExponential(1)),
    ...(parity.saliency ? [pair("Saliency maps", saliencyText(parity.saliency))] : []),
  ];
}

/** @param {import("../engine/site.js").SaliencyParity} parity */
function saliencyText({ source, n, median_relative_difference: median, max_relative_difference: most, kinks }) {
  const faces = `${n.toLocaleString("en-US")} faces of ${source}`;
  const differences = `median relative difference ${median.toExponential(1)}, largest ${most.toExponential(1)}`;
  const undefinedThere = kinks.length === 0 ? "" : `, except ${kinks.length} where the gradient is discontinuous`;
  return `compared with PyTorch on ${faces}: ${differences}${undefinedThere}`;
}

/**
 * @param {string} name
 * @param {string} big
 * @param {string} small
 */
function fact(name, big, small) {
  return make("div", {}, make("dt", {}, name), make("dd", { class: "big" }, big), make("dd", { class: "small" }, small));
}

/**
 * @param {string} name
 * @param {string} text
 */
function pair(name, text) {
  return make("tr", {}, make("th", { scope: "row" }, name), make("td", {}, text));
}
