/** A CSV of faces: predictions, their distribution, and the accuracy if the rows have labels. */

import { argmax, dataSetCsv } from "../tables/predictions.js";
import { canvasOf, contextOf, counted, download, make, percent } from "../views/dom.js";
import { csvName } from "./photo_result.js";
import { Result } from "./result.js";

/** Faces per call of the model, between which progress is shown. */
const CHUNK = 256;

/** Faces that are shown at once. */
const PAGE = 24;

const PIXELS = 48 * 48;

export class DataSetResult extends Result {
  /**
   * @param {import("./result.js").Tools} tools
   * @param {File} file
   */
  constructor(tools, file) {
    super(tools, file.name);
    this.file = file;
    /** @type {import("../scoring/csv.js").Faces | null} */
    this.faces = null;
    /** @type {Float32Array[]} */
    this.probabilities = [];
    this.page = 0;
    this.selected = 0;
    this.grid = make("div", { class: "tiles", role: "group", "aria-label": "Faces" });
    this.pager = make("p", { class: "pager" });
    this.body.append(this.grid, this.pager);
    this.addAction("Download CSV", () => download(this.csv(), `${csvName(this.title)}-predictions.csv`)).classList.add(
      "csv",
    );
    this.addAction("Remove", () => this.close());
  }

  /** Read and score the file. */
  async run() {
    const { engine, announce } = this.tools;
    announce(`${this.title}: reading …`);
    const faces = await engine.readCsv(await contentOf(this.file), this.title);
    this.faces = faces;
    for (const warning of faces.warnings) this.tools.complain(new Error(warning));
    await this.rescore();
  }

  /** @override */
  async rescore() {
    const { faces } = this;
    if (faces === null) return;
    const { engine, announce } = this.tools;
    const startMs = performance.now();
    this.probabilities = [];
    for (let start = 0; start < faces.n && !this.closed; start += CHUNK) {
      const end = Math.min(faces.n, start + CHUNK);
      this.probabilities.push(...(await engine.predict(range(start, end).map((i) => imageOf(faces, i)))));
      this.meta.textContent = `${end.toLocaleString("en-US")} of ${counted(faces.n, "face")}`;
    }
    const elapsedS = (performance.now() - startMs) / 1000;
    this.meta.textContent = `${this.#summary(faces)}, ${Math.round(faces.n / elapsedS)} faces/s`;
    announce(`${this.title}: ${this.#summary(faces)}`);
    this.#drawPage();
    if (faces.n > 0) this.#select(this.selected);
  }

  /** The table that `fer-infer score --columns probabilities` writes. */
  csv() {
    return dataSetCsv(this.faces?.ids ?? this.faces?.positions ?? [], this.probabilities, this.tools.engine.labels);
  }

  /** @param {import("../scoring/csv.js").Faces} faces */
  #summary({ n, labels }) {
    const known = labels?.map((label, i) => [label, argmax(this.probabilities[i])]).filter(([label]) => label >= 0);
    if (!known || known.length === 0) return counted(n, "face");
    const correct = known.filter(([label, predicted]) => label === predicted).length;
    const [low, high] = wilson(correct, known.length);
    const accuracy = percent(correct / known.length, 1);
    return `${counted(n, "face")}, accuracy ${accuracy} (95% interval ${percent(low, 1)} to ${percent(high, 1)})`;
  }

  #drawPage() {
    const faces = /** @type {import("../scoring/csv.js").Faces} */ (this.faces);
    const start = this.page * PAGE;
    const end = Math.min(faces.n, start + PAGE);
    this.grid.replaceChildren(...range(start, end).map((i) => this.#tile(faces, i)));
    this.pager.replaceChildren();
    if (faces.n <= PAGE) return;
    const turn = (/** @type {string} */ text, /** @type {number} */ by) => {
      const target = this.page + by;
      const isPossible = target >= 0 && target * PAGE < faces.n;
      const button = make("button", { type: "button", class: "button small", disabled: !isPossible }, text);
      button.addEventListener("click", () => {
        this.page = target;
        this.#drawPage();
      });
      return button;
    };
    const shown = `${(start + 1).toLocaleString("en-US")} to ${end.toLocaleString("en-US")} of ${counted(faces.n, "face")}`;
    this.pager.append(turn("Previous", -1), make("span", {}, shown), turn("Next", 1));
  }

  /**
   * @param {import("../scoring/csv.js").Faces} faces
   * @param {number} i
   */
  #tile(faces, i) {
    const { labels } = this.tools.engine;
    const canvas = canvasOf(48, 48);
    canvas.className = "pixels";
    const pixels = new ImageData(48, 48);
    imageOf(faces, i).forEach((level, pixel) => pixels.data.set([level, level, level, 255], 4 * pixel));
    contextOf(canvas).putImageData(pixels, 0, 0);
    const predicted = labels[argmax(this.probabilities[i])];
    const labeled = faces.labels ? (labels[faces.labels[i]] ?? "") : "";
    const isWrong = labeled !== "" && labeled !== predicted;
    const text = isWrong ? `${predicted}, labeled ${labeled}` : predicted;
    const name = `Row ${faces.rows[i]}: ${text}`;
    const tile = make("button", { type: "button", "aria-label": name, class: isWrong ? "wrong" : "" }, canvas, text);
    tile.dataset.face = String(i);
    tile.addEventListener("click", () => this.#select(i));
    return tile;
  }

  /** @param {number} i */
  #select(i) {
    const faces = /** @type {import("../scoring/csv.js").Faces} */ (this.faces);
    this.selected = i;
    for (const tile of this.grid.querySelectorAll("button")) {
      tile.setAttribute("aria-pressed", String(tile.dataset.face === String(i)));
    }
    const face = {
      box: { left: 0, top: 0, width: 48, height: 48 },
      detection: NaN,
      landmarks: [],
      transform: [1, 0, 0, 0, 1, 0],
      image: imageOf(faces, i),
    };
    const shown = { face, probabilities: this.probabilities[i], smoothed: null, number: i + 1 };
    this.viewer.show({ name: `${this.title} ${i}`, picture: null, faces: [shown] }).catch(this.tools.complain);
  }
}

/**
 * Return the bytes of a file, decompressed if it is a gzip file.
 * @param {File} file
 */
async function contentOf(file) {
  const magic = new Uint8Array(await file.slice(0, 2).arrayBuffer());
  if (magic[0] !== 0x1f || magic[1] !== 0x8b) return file.arrayBuffer();
  try {
    return await new Response(file.stream().pipeThrough(new DecompressionStream("gzip"))).arrayBuffer();
  } catch {
    throw new Error(`${file.name}: cannot be decompressed`);
  }
}

/**
 * @param {import("../scoring/csv.js").Faces} faces
 * @param {number} i
 */
function imageOf(faces, i) {
  return faces.images.subarray(i * PIXELS, (i + 1) * PIXELS);
}

/**
 * @param {number} start
 * @param {number} end
 */
function range(start, end) {
  return Array.from({ length: end - start }, (_, i) => start + i);
}

/**
 * Return the 95% confidence interval of a share (Wilson, Journal of the American Statistical Association 22, 1927).
 * @param {number} successes
 * @param {number} n
 * @returns {[number, number]}
 */
export function wilson(successes, n) {
  const z = 1.959963984540054;
  const share = successes / n;
  const center = share + (z * z) / (2 * n);
  const half = z * Math.sqrt((share * (1 - share)) / n + (z * z) / (4 * n * n));
  return [(center - half) / (1 + (z * z) / n), (center + half) / (1 + (z * z) / n)];
}
