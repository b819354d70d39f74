/** Photos: the faces in each. */

import { MIN_FACE } from "../scoring/detector.js";
import { wholeFace } from "../scoring/faces.js";
import { decode, pixelsOf, shown } from "../sources/pictures.js";
import { NO_FACE, argmax, photoCsv, tooSmall } from "../tables/predictions.js";
import { counted, download, make, percent } from "../views/dom.js";
import { Result } from "./result.js";

/** Side of an aligned face; a picture of this size is the face itself. */
const FACE_SIDE = 48;

/** Side of the previews of photos, in pixels. */
const PREVIEW = 96;

/** @typedef {import("../tables/predictions.js").PhotoRow} PhotoRow */
/** @typedef {import("../views/viewer.js").ShownFace} ShownFace */

/**
 * A photo that was searched.
 * @typedef {object} SearchedPhoto
 * @property {File} file
 * @property {PhotoRow[]} rows
 * @property {boolean} isAligned whether the picture is an aligned face itself
 * @property {HTMLButtonElement} preview
 */

export class PhotoResult extends Result {
  /**
   * @param {import("./result.js").Tools} tools
   * @param {File[]} files
   * @param {string} [title]
   */
  constructor(tools, files, title = files.length === 1 ? files[0].name : counted(files.length, "photo")) {
    super(tools, title);
    this.files = files;
    /** @type {SearchedPhoto[]} */
    this.photos = [];
    this.selected = 0;
    this.wanted = 0;
    this.strip = make("div", { class: "strip", role: "group", "aria-label": "Photos" });
    this.strip.hidden = files.length === 1;
    this.nothing = make("p", { class: "nothing" });
    this.nothing.hidden = true;
    this.body.prepend(this.strip);
    this.viewer.element.append(this.nothing);
    this.addAction("Download CSV", () => download(this.csv(), `${csvName(this.title)}.csv`)).classList.add("csv");
    this.addAction("Remove", () => this.close());
  }

  /** Search and score the photos, one after the other. */
  async run() {
    const startMs = performance.now();
    for (const [i, file] of this.files.entries()) {
      if (this.closed) return;
      if (this.files.length > 1) this.tools.announce(`Searching photo ${i + 1} of ${this.files.length} …`);
      try {
        await this.#search(file);
      } catch (error) {
        this.tools.complain(error);
      }
    }
    if (this.photos.length === 0) {
      this.close();
      return;
    }
    this.#summarize((performance.now() - startMs) / 1000);
  }

  /** @override */
  async rescore() {
    for (const photo of this.photos) await this.#score(photo);
    await this.select(this.selected);
  }

  /** The table that `fer-infer score` writes. */
  csv() {
    return photoCsv(
      this.photos.flatMap(({ rows }) => rows),
      this.tools.engine.labels,
    );
  }

  /**
   * Show a photo.
   * @param {number} place
   */
  async select(place) {
    const photo = this.photos[place];
    this.selected = place;
    this.wanted += 1;
    const { wanted } = this;
    this.photos.forEach(({ preview }, i) => preview.setAttribute("aria-pressed", String(i === place)));
    const bitmap = photo.isAligned ? null : await decode(photo.file, photo.file.name);
    if (wanted !== this.wanted) return; // another photo was selected meanwhile
    const picture = bitmap === null ? null : shown(bitmap);
    bitmap?.close();
    this.#explainAbsence(photo);
    await this.viewer.show({ name: photo.file.name, picture, faces: facesOf(photo) });
  }

  /** @param {File} file */
  async #search(file) {
    const { engine } = this.tools;
    const bitmap = await decode(file, file.name);
    const pixels = pixelsOf(bitmap, file.name);
    const preview = this.#previewOf(bitmap, file.name);
    const isAligned = pixels.width === FACE_SIDE && pixels.height === FACE_SIDE;
    bitmap.close();
    const rows = isAligned
      ? [rowOf(file.name, 1, wholeFace(pixels))]
      : rowsOf(file.name, await engine.find(pixels));
    const photo = { file, rows, isAligned, preview };
    await this.#score(photo);
    this.photos.push(photo);
    this.strip.append(preview);
    if (this.photos.length === 1) await this.select(0);
  }

  /** @param {SearchedPhoto} photo */
  async #score({ rows }) {
    const faces = rows.filter(({ face }) => face !== null);
    const images = faces.map(({ face }) => /** @type {NonNullable<PhotoRow["face"]>} */ (face).image);
    const probabilities = await this.tools.engine.predict(images);
    faces.forEach((row, i) => {
      row.probabilities = probabilities[i];
    });
  }

  /**
   * @param {ImageBitmap} bitmap
   * @param {string} name
   */
  #previewOf(bitmap, name) {
    const { canvas } = shown(bitmap, PREVIEW);
    const preview = make("button", { type: "button", class: "preview", "aria-label": name }, canvas);
    preview.addEventListener("click", () => {
      const place = this.photos.findIndex((photo) => photo.preview === preview);
      this.select(place).catch(this.tools.complain);
    });
    return preview;
  }

  /** @param {number} elapsedS */
  #summarize(elapsedS) {
    const faces = this.photos.flatMap(facesOf);
    const found = counted(faces.length, "face");
    this.meta.textContent = `${found} in ${elapsedS.toFixed(2)} s`;
    const [first] = faces;
    const { labels } = this.tools.engine;
    const best = first && argmax(first.probabilities);
    const prediction = first ? `, ${labels[best]} ${percent(first.probabilities[best])}` : "";
    this.tools.announce(`${this.title}: ${found}${faces.length === 1 ? prediction : ""}`);
  }

  /** @param {SearchedPhoto} photo */
  #explainAbsence(photo) {
    const reasons = photo.rows.filter(({ face }) => face === null).map(({ reason }) => reason);
    this.nothing.hidden = reasons.length === 0;
    this.nothing.replaceChildren(reasons.join("; "));
    if (reasons[0] !== NO_FACE) return;
    const whole = make("button", { type: "button", class: "button small" }, "Use the whole picture as the face");
    whole.addEventListener("click", () => this.#takeWhole(photo).catch(this.tools.complain));
    this.nothing.replaceChildren("No face was found in this photo. ", whole);
  }

  /** @param {SearchedPhoto} photo */
  async #takeWhole(photo) {
    const bitmap = await decode(photo.file, photo.file.name);
    photo.rows = [rowOf(photo.file.name, 1, wholeFace(pixelsOf(bitmap, photo.file.name)))];
    bitmap.close();
    await this.#score(photo);
    await this.select(this.photos.indexOf(photo));
  }
}

/**
 * @param {string} file
 * @param {number | null} number
 * @param {PhotoRow["face"]} face
 * @returns {PhotoRow}
 */
function rowOf(file, number, face, reason = "") {
  return { file, number, face, probabilities: null, reason };
}

/**
 * Return the rows of a photo, numbered from left to right, or one row that says that there is no face.
 * @param {string} name
 * @param {import("../scoring/faces.js").Found} found
 */
export function rowsOf(name, found) {
  const small = found.tooSmall.map(({ box }) => ({ box, face: null, reason: tooSmall(box, MIN_FACE) }));
  const all = [...found.faces.map((face) => ({ box: face.box, face, reason: "" })), ...small];
  all.sort(({ box: one }, { box: other }) => one.left - other.left || one.top - other.top);
  if (all.length === 0) return [rowOf(name, null, null, NO_FACE)];
  return all.map(({ face, reason }, i) => rowOf(name, i + 1, face, reason));
}

/**
 * @param {SearchedPhoto} photo
 * @returns {ShownFace[]}
 */
function facesOf({ rows }) {
  return rows.flatMap(({ face, probabilities, number }) =>
    face === null || probabilities === null ? [] : [{ face, probabilities, smoothed: null, number: number ?? 1 }],
  );
}

/** @param {string} title */
export function csvName(title) {
  return title.replace(/\.[^.]*$/, "").replace(/[^\w.-]+/g, "-");
}
