/** A picture with its faces, and what the model sees and predicts for one of them. */

import { overlayFace, overlayPhoto } from "../scoring/maps.js";
import { argmax } from "../tables/predictions.js";
import { Bars } from "./bars.js";
import { canvasOf, contextOf, make, percent } from "./dom.js";

/** @typedef {import("../engine/engine.js").FaceMaps} FaceMaps */
/** @typedef {import("../engine/engine.js").Engine} Engine */
/** @typedef {import("./controls.js").Controls} Controls */

/**
 * A face that is shown.
 * @typedef {object} ShownFace
 * @property {import("../scoring/faces.js").FoundFace} face
 * @property {Float32Array} probabilities
 * @property {Float64Array | null} smoothed probabilities over time, in a film
 * @property {number} number
 */

/**
 * A picture at the size in which it is shown.
 * @typedef {object} ShownPicture
 * @property {HTMLCanvasElement} canvas
 * @property {number} scale factor from pixels of the photo to those of the canvas
 */

/**
 * A picture and its faces. Maps are computed when they are first shown.
 * @typedef {object} Scene
 * @property {string} name
 * @property {ShownPicture | null} picture null if there is only the face itself
 * @property {ShownFace[]} faces
 * @property {{key: string, maps: FaceMaps[]}} [explained]
 */

/** Names of the methods in a sentence. */
const METHODS = { saliency: "saliency", gradCam: "Grad-CAM" };

export class Viewer {
  /**
   * @param {Engine} engine
   * @param {Controls} controls
   * @param {(error: unknown) => void} complain shows an error
   */
  constructor(engine, controls, complain) {
    this.engine = engine;
    this.controls = controls;
    /** @type {Scene | null} */
    this.scene = null;
    this.selected = 0;
    this.stage = make("canvas", { role: "img" });
    this.boxes = make("div", { class: "boxes", role: "group", "aria-label": "Faces in the picture" });
    this.photo = make("div", { class: "photo" }, this.stage, this.boxes);
    this.seen = canvasOf(48, 48);
    this.mapped = canvasOf(48, 48);
    this.seenFigure = figureOf(this.seen, "The face as the model sees it, 48 by 48 pixels", "as the model sees it");
    this.mapFigure = figureOf(this.mapped, "", "");
    this.title = make("p", { class: "prediction" });
    this.bars = new Bars(engine.labels, "Probabilities of the selected face");
    const face = make("div", { class: "crops" }, this.seenFigure, this.mapFigure);
    this.detail = make("div", { class: "detail" }, this.title, face, this.bars.element);
    this.element = make("div", { class: "viewer" }, this.photo, this.detail);
    for (const part of [this.photo, this.detail, this.mapFigure]) part.hidden = true; // until there is a scene
    for (const part of [this.photo, this.detail, this.mapFigure]) part.hidden = true; // until there is a scene
    this.complain = complain;
    this.onChange = () => void this.render().catch(complain);
    controls.addEventListener("change", this.onChange);
  }

  /** Stop following the controls. */
  close() {
    this.controls.removeEventListener("change", this.onChange);
  }

  /**
   * Show a scene.
   * @param {Scene} scene
   */
  show(scene) {
    if (scene.name !== this.scene?.name) this.selected = 0;
    this.scene = scene;
    return this.render();
  }

  /**
   * Class that the maps of a face explain.
   * @param {ShownFace} face
   */
  targetOf(face) {
    return this.controls.target ?? argmax(this.probabilitiesOf(face));
  }

  /**
   * Probabilities that are shown for a face.
   * @param {ShownFace} face
   */
  probabilitiesOf(face) {
    return this.controls.smoothed ? (face.smoothed ?? face.probabilities) : face.probabilities;
  }

  /** Draw the scene, with maps if they are wanted. */
  async render() {
    const { scene } = this;
    if (scene === null) return;
    this.selected = Math.min(this.selected, Math.max(0, scene.faces.length - 1));
    this.#drawBoxes(scene);
    this.#drawFace(scene);
    const maps = await this.#mapsOf(scene);
    if (scene !== this.scene) return; // another one was shown meanwhile
    this.#drawPicture(scene, maps);
    this.#drawMap(scene, maps);
  }

  /**
   * Return the map of each face; null without maps.
   * @param {Scene} scene
   * @returns {Promise<Float32Array[] | null>}
   */
  async #mapsOf(scene) {
    const { method } = this.controls;
    if (method === "none" || !this.engine.canExplain || scene.faces.length === 0) return null;
    const targets = scene.faces.map((face) => this.targetOf(face));
    const key = targets.join(" ");
    if (scene.explained?.key !== key) {
      const images = scene.faces.map(({ face }) => face.image);
      scene.explained = { key, maps: await this.engine.explain(images, targets) };
    }
    const { maps } = scene.explained;
    return maps.map(({ saliency, gradCam }) => (method === "gradCam" ? (gradCam ?? saliency) : saliency));
  }

  /**
   * @param {Scene} scene
   * @param {Float32Array[] | null} maps
   */
  #drawPicture({ picture, faces, name }, maps) {
    this.photo.hidden = picture === null;
    if (picture === null) return;
    const { canvas, scale } = picture;
    if (this.stage.width !== canvas.width || this.stage.height !== canvas.height) {
      Object.assign(this.stage, { width: canvas.width, height: canvas.height });
    }
    const context = contextOf(this.stage);
    context.drawImage(canvas, 0, 0);
    this.stage.setAttribute("aria-label", name);
    if (maps === null) return;
    faces.forEach(({ face }, i) => {
      const pixels = context.getImageData(0, 0, canvas.width, canvas.height);
      const [a, b, c, d, e, f] = face.transform;
      const patch = overlayPhoto(pixels, [a / scale, b / scale, c, d / scale, e / scale, f], maps[i], this.#signs());
      if (patch.width > 0 && patch.height > 0) {
        context.putImageData(new ImageData(patch.data, patch.width, patch.height), patch.left, patch.top);
      }
    });
  }

  /** @param {Scene} scene */
  #drawBoxes({ picture, faces }) {
    if (picture === null) return;
    const { canvas, scale } = picture;
    while (this.boxes.children.length > faces.length) this.boxes.lastElementChild?.remove();
    while (this.boxes.children.length < faces.length) this.boxes.append(this.#box(this.boxes.children.length));
    faces.forEach((shown, i) => {
      const box = /** @type {HTMLButtonElement} */ (this.boxes.children[i]);
      const { left, top, width, height } = shown.face.box;
      const [across, down] = [(100 * scale) / canvas.width, (100 * scale) / canvas.height];
      Object.assign(box.style, {
        left: `${left * across}%`,
        top: `${top * down}%`,
        width: `${width * across}%`,
        height: `${height * down}%`,
      });
      box.classList.toggle("low", top * down < 8); // there is no room above
      box.setAttribute("aria-pressed", String(i === this.selected));
      box.setAttribute("aria-label", `Face ${shown.number}: ${this.#predictionOf(shown)}`);
      /** @type {HTMLElement} */ (box.firstElementChild).textContent = `${shown.number} ${this.#predictionOf(shown)}`;
    });
  }

  /** @param {number} place */
  #box(place) {
    const box = make("button", { type: "button", class: "box" }, make("span"));
    box.addEventListener("click", () => {
      this.selected = place;
      this.render().catch(this.complain);
    });
    return box;
  }

  /** @param {Scene} scene */
  #drawFace({ faces }) {
    this.detail.hidden = faces.length === 0;
    if (faces.length === 0) return;
    const shown = faces[this.selected];
    const probabilities = this.probabilitiesOf(shown);
    const best = argmax(probabilities);
    const name = make("strong", {}, this.engine.labels[best]);
    this.title.replaceChildren(`Face ${shown.number}: `, name, ` ${percent(probabilities[best], 1)}`);
    this.bars.show(probabilities);
    const pixels = new ImageData(48, 48);
    shown.face.image.forEach((level, i) => pixels.data.set([level, level, level, 255], 4 * i));
    contextOf(this.seen).putImageData(pixels, 0, 0);
  }

  /**
   * @param {Scene} scene
   * @param {Float32Array[] | null} maps
   */
  #drawMap({ faces }, maps) {
    this.mapFigure.hidden = maps === null;
    if (maps === null) return;
    const shown = faces[this.selected];
    const { data } = overlayFace(shown.face.image, maps[this.selected], this.#signs());
    contextOf(this.mapped).putImageData(new ImageData(data, 48, 48), 0, 0);
    const { method } = this.controls;
    const caption = `${method === "none" ? "" : METHODS[method]} for “${this.engine.labels[this.targetOf(shown)]}”`;
    /** @type {HTMLElement} */ (this.mapFigure.lastElementChild).textContent = caption;
    this.mapped.setAttribute("aria-label", `Map: ${caption}`);
  }

  #signs() {
    return { signed: this.controls.method === "saliency" };
  }

  /** @param {ShownFace} shown */
  #predictionOf(shown) {
    const probabilities = this.probabilitiesOf(shown);
    const best = argmax(probabilities);
    return `${this.engine.labels[best]} ${percent(probabilities[best])}`;
  }
}

/**
 * @param {HTMLCanvasElement} canvas
 * @param {string} description
 * @param {string} caption
 */
function figureOf(canvas, description, caption) {
  canvas.className = "pixels";
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", description);
  return make("figure", {}, canvas, make("figcaption", {}, caption));
}
