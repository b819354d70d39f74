/** What the visitor wants to see: the method and class of maps, the graph, and raw or smoothed probabilities. */

import { colorScale } from "../scoring/maps.js";
import { byId, contextOf, make } from "./dom.js";

/** @typedef {"none" | "saliency" | "gradCam"} Method */
/** @typedef {import("../engine/engine.js").Engine} Engine */

/** What the lowest and the highest value of a map mean. */
const LEGENDS = {
  saliency: ["Darker", "brighter pixels raise the logit of the class"],
  gradCam: ["Little", "much evidence for the class"],
};

/** Names of the precisions. */
const PRECISIONS = /** @type {Record<string, string>} */ ({ int8: "int8, fast", fp32: "float32, exact" });

/**
 * The choices of the visitor. The event `change` is dispatched after a change of what is shown, and `precision` after
 * another graph was chosen.
 */
export class Controls extends EventTarget {
  /** @param {Engine} engine */
  constructor(engine) {
    super();
    this.form = /** @type {HTMLFormElement} */ (byId("controls"));
    this.#offerClasses(engine.labels);
    this.#offerPrecisions(engine.site.precisions);
    this.#offerMaps(engine);
    this.form.addEventListener("submit", (event) => event.preventDefault());
    this.form.addEventListener("change", () => {
      this.#showLegend();
      this.dispatchEvent(new Event("change"));
    });
    byId("precision").addEventListener("change", () => this.dispatchEvent(new Event("precision")));
  }

  /** @returns {Method} */
  get method() {
    return /** @type {Method} */ (this.#value("method"));
  }

  /** Class that maps explain; null for the predicted one. */
  get target() {
    const value = this.#value("target");
    return value === "predicted" ? null : Number(value);
  }

  get precision() {
    return this.#value("precision");
  }

  /** Whether smoothed probabilities are shown. */
  get smoothed() {
    return this.#value("series") === "smoothed";
  }

  /** Offer raw and smoothed probabilities, which films and the camera have. */
  offerSeries() {
    byId("series").hidden = false;
  }

  /** Explain the colors of the maps that are shown. */
  #showLegend() {
    const { method } = this;
    byId("target-field").hidden = method === "none";
    const legend = byId("legend");
    legend.hidden = method === "none";
    if (method === "none") return;
    const [low, high] = legend.querySelectorAll("span");
    [low.textContent, high.textContent] = LEGENDS[method];
    const { width, height, data } = colorScale({ signed: method === "saliency" });
    const canvas = /** @type {HTMLCanvasElement} */ (byId("scale"));
    Object.assign(canvas, { width, height });
    contextOf(canvas).putImageData(new ImageData(data, width, height), 0, 0);
  }

  /** @param {string} name */
  #value(name) {
    return String(new FormData(this.form).get(name));
  }

  /** @param {string[]} labels */
  #offerClasses(labels) {
    byId("target").append(...labels.map((label, i) => make("option", { value: i }, label)));
  }

  /** @param {string[]} precisions */
  #offerPrecisions(precisions) {
    const group = byId("precision");
    precisions.forEach((precision, i) => {
      const about = { type: "radio", name: "precision", form: this.form.id, value: precision, checked: i === 0 };
      const input = make("input", about);
      group.append(make("label", {}, input, make("span", {}, PRECISIONS[precision] ?? precision)));
    });
  }

  /** @param {Engine} engine */
  #offerMaps({ canExplain, site }) {
    byId("method").hidden = !canExplain;
    const gradCam = /** @type {HTMLInputElement} */ (this.form.querySelector("[value=gradCam]"));
    gradCam.disabled = !site.gradCam;
    const withoutGradCam = site.gradCam ? "" : "This network has no convolution, and therefore no Grad-CAM.";
    byId("maps-note").textContent = canExplain
      ? withoutGradCam
      : "This model was exported without saliency.onnx, so the page has no attribution maps.";
  }
}
