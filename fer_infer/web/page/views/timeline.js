/** The probabilities of each face of a film over time, as stacked areas. */

import { byColor } from "./series.js";
import { make } from "./dom.js";

/** Faces that are drawn, the ones seen most often. */
const MOST_FACES = 4;

/** Height of the area of a face and of the space below it, in pixels. */
const [ROW, GAP] = [72, 10];

/**
 * An observation of a face.
 * @typedef {object} Point
 * @property {number} timeS
 * @property {ArrayLike<number>} probabilities
 */

export class Timeline {
  /**
   * @param {string[]} labels
   * @param {(timeS: number) => void} onSelect called when the visitor selects a time
   */
  constructor(labels, onSelect) {
    this.labels = labels;
    this.canvas = make("canvas", { class: "areas", role: "img" });
    this.slider = make("input", { type: "range", min: 0, max: 1, step: "any", value: 0, "aria-label": "Time" });
    this.time = make("output", { class: "time" });
    const keys = labels.map((label, i) => make("li", {}, make("span", { class: `key series-${i % 8}` }), label));
    const seek = make("div", { class: "seek" }, this.slider, this.time);
    this.element = make("div", { class: "timeline" }, this.canvas, seek, make("ul", { class: "keys" }, ...keys));
    this.slider.addEventListener("input", () => onSelect(Number(this.slider.value)));
    this.canvas.addEventListener("click", (event) => {
      const { left, width } = this.canvas.getBoundingClientRect();
      const share = (event.clientX - left) / width;
      onSelect(this.startS + share * (this.endS - this.startS));
    });
    /** Times in seconds at which the areas start and end. */
    this.startS = 0;
    this.endS = 1;
  }

  /**
   * Draw the observations of each face.
   * @param {Map<number, Point[]>} faces by id
   * @param {{startS: number, endS: number, timeS: number, gapS: number}} range of time, the selected time, and the time
   *   without an observation that is a gap
   */
  draw(faces, { startS, endS, timeS, gapS }) {
    [this.startS, this.endS] = [startS, Math.max(endS, startS + 0.1)];
    Object.assign(this.slider, { min: String(this.startS), max: String(this.endS), value: String(timeS) });
    this.slider.setAttribute("aria-valuetext", `${timeS.toFixed(1)} seconds`);
    this.time.textContent = `${timeS.toFixed(1)} s`;
    const often = [...faces].sort(([, one], [, other]) => other.length - one.length).slice(0, MOST_FACES);
    const rows = often.sort(([one], [other]) => one - other);
    const context = this.#clear(rows.length);
    rows.forEach(([id, points], row) => this.#drawFace(context, `face ${id}`, points, row * (ROW + GAP), gapS));
    const names = rows.map(([id]) => id).join(", ");
    this.canvas.setAttribute("aria-label", `Probabilities over time of face ${names}; the CSV has the numbers`);
    context.fillStyle = getComputedStyle(this.canvas).color;
    context.fillRect(this.#x(timeS) - 1, 0, 2, Math.max(1, rows.length) * (ROW + GAP) - GAP);
  }

  /** @param {number} rows */
  #clear(rows) {
    const density = window.devicePixelRatio || 1;
    const [width, height] = [this.canvas.clientWidth || 600, Math.max(1, rows) * (ROW + GAP) - GAP];
    this.canvas.style.height = `${height}px`;
    this.canvas.width = Math.round(width * density);
    this.canvas.height = Math.round(height * density);
    const context = /** @type {CanvasRenderingContext2D} */ (this.canvas.getContext("2d"));
    context.scale(density, density);
    return context;
  }

  /**
   * @param {CanvasRenderingContext2D} context
   * @param {string} name
   * @param {Point[]} points
   * @param {number} top
   * @param {number} gapS
   */
  #drawFace(context, name, points, top, gapS) {
    const colors = byColor(this.canvas, this.labels.length);
    for (const part of partsOf(points, gapS)) {
      let below = part.map(() => 0);
      for (let label = 0; label < this.labels.length; label += 1) {
        const above = part.map(({ probabilities }, i) => below[i] + probabilities[label]);
        const places = part.map(({ timeS }) => this.#x(timeS));
        if (part.length === 1) places[0] -= 1;
        context.fillStyle = colors[label];
        context.beginPath();
        places.forEach((x, i) => context.lineTo(x, top + ROW * (1 - above[i])));
        if (part.length === 1) context.lineTo(places[0] + 2, top + ROW * (1 - above[0]));
        if (part.length === 1) context.lineTo(places[0] + 2, top + ROW * (1 - below[0]));
        for (let i = places.length - 1; i >= 0; i -= 1) context.lineTo(places[i], top + ROW * (1 - below[i]));
        context.fill();
        below = above;
      }
    }
    context.font = "600 12px system-ui, sans-serif";
    const { width } = context.measureText(name);
    context.fillStyle = "rgb(0 0 0 / .6)";
    context.fillRect(0, top, width + 12, 18);
    context.fillStyle = "#fff";
    context.fillText(name, 6, top + 13);
  }

  /** @param {number} timeS */
  #x(timeS) {
    return ((timeS - this.startS) / (this.endS - this.startS)) * (this.canvas.clientWidth || 600);
  }
}

/**
 * Split observations where there is none for longer than `gapS`.
 * @param {Point[]} points
 * @param {number} gapS
 * @returns {Point[][]}
 */
function partsOf(points, gapS) {
  /** @type {Point[][]} */
  const parts = [];
  points.forEach((point, i) => {
    if (i === 0 || point.timeS - points[i - 1].timeS > gapS) parts.push([]);
    parts[parts.length - 1].push(point);
  });
  return parts;
}
