/** Faces over time: the frames of a film or of the camera, followed, smoothed and drawn as a timeline. */

import { MIN_FACE } from "../scoring/detector.js";
import { NO_FACE, filmCsv, tooSmall } from "../tables/predictions.js";
import { Smoother } from "../tracking/smoothing.js";
import { LOST_S, Tracker, lostS } from "../tracking/tracking.js";
import { download } from "../views/dom.js";
import { Timeline } from "../views/timeline.js";
import { csvName } from "./photo_result.js";
import { Result } from "./result.js";

/** @typedef {import("../tables/predictions.js").FilmRow} FilmRow */
/** @typedef {import("../views/viewer.js").ShownFace} ShownFace */

/**
 * A frame that was searched.
 * @typedef {object} ShownFrame
 * @property {number} timeS
 * @property {FilmRow[]} rows with a face
 */

/** Frames that are kept, the latest ones: half an hour of a film, some minutes of a camera. */
const MOST_FRAMES = 18_000;

export class TimedResult extends Result {
  /**
   * @param {import("./result.js").Tools} tools
   * @param {string} title
   * @param {number} everyS time between frames
   */
  constructor(tools, title, everyS) {
    super(tools, title);
    this.everyS = everyS;
    tools.controls.offerSeries();
    this.tracker = new Tracker(lostS(everyS));
    this.smoother = new Smoother();
    /** @type {FilmRow[]} */
    this.rows = [];
    /** @type {ShownFrame[]} */
    this.frames = [];
    /** @type {Map<number, FilmRow[]>} */
    this.observations = new Map();
    this.count = 0;
    this.timeline = new Timeline(tools.engine.labels, (timeS) => this.selectTime(timeS));
    this.body.append(this.timeline.element);
    this.timeS = 0;
    this.onChange = () => this.drawTimeline();
    tools.controls.addEventListener("change", this.onChange);
    this.addAction("Download CSV", () => download(this.csv(), `${csvName(title)}.csv`)).classList.add("csv");
  }

  /** The table that `fer-infer score` writes for a film. */
  csv() {
    return filmCsv(this.rows, this.tools.engine.labels);
  }

  /**
   * Follow and score the faces of a frame.
   * @param {number} timeS
   * @param {import("../scoring/faces.js").Found} found
   * @returns {Promise<ShownFrame>}
   */
  async addFrame(timeS, { faces, tooSmall: small }) {
    const probabilities = await this.tools.engine.predict(faces.map(({ image }) => image));
    const ids = this.tracker.assign(faces, timeS);
    const about = { frame: this.count, timeS };
    this.count += 1;
    const rows = faces.map((face, i) => this.#observe({ ...about, id: ids[i], face, probabilities: probabilities[i] }));
    const without = small.map(({ box }) => tooSmall(box, MIN_FACE));
    if (rows.length + without.length === 0) without.push(NO_FACE);
    const empty = { ...about, id: null, face: null, probabilities: null, smoothed: null };
    this.rows.push(...rows, ...without.map((reason) => ({ ...empty, reason })));
    const frame = { timeS, rows };
    this.frames.push(frame);
    this.timeS = timeS;
    this.#forget();
    return frame;
  }

  /**
   * @param {Omit<FilmRow, "smoothed" | "reason"> & {id: number, probabilities: Float32Array}} seen
   * @returns {FilmRow}
   */
  #observe(seen) {
    const row = { ...seen, smoothed: this.smoother.add(seen.id, seen.timeS, seen.probabilities), reason: "" };
    const known = this.observations.get(seen.id);
    if (known) known.push(row);
    else this.observations.set(seen.id, [row]);
    return row;
  }

  /** Drop the oldest frames. */
  #forget() {
    if (this.frames.length <= MOST_FRAMES) return;
    const { timeS } = this.frames[this.frames.length - MOST_FRAMES];
    this.frames = this.frames.filter((frame) => frame.timeS >= timeS);
    this.rows = this.rows.filter((row) => row.timeS >= timeS);
    for (const [id, rows] of this.observations) {
      const kept = rows.filter((row) => row.timeS >= timeS);
      if (kept.length === 0) this.observations.delete(id);
      else this.observations.set(id, kept);
    }
  }

  /** @override */
  async rescore() {
    const faces = this.rows.filter(({ face }) => face !== null);
    const images = faces.map(({ face }) => /** @type {NonNullable<FilmRow["face"]>} */ (face).image);
    const probabilities = await this.tools.engine.predict(images);
    this.smoother = new Smoother();
    faces.forEach((row, i) => {
      row.probabilities = probabilities[i];
      row.smoothed = this.smoother.add(/** @type {number} */ (row.id), row.timeS, probabilities[i]);
    });
    this.drawTimeline();
    this.selectTime(this.timeS);
  }

  /**
   * Return the last frame at or before a time.
   * @param {number} timeS
   */
  frameAt(timeS) {
    return this.frames.findLast((frame) => frame.timeS <= timeS + 1e-6) ?? this.frames[0];
  }

  /**
   * Show the frame at a time.
   * @param {number} timeS
   */
  selectTime(timeS) {
    if (this.frames.length === 0) return;
    const frame = this.frameAt(timeS);
    this.timeS = frame.timeS;
    this.drawTimeline();
    this.showFrame(frame).catch(this.tools.complain);
  }

  /**
   * Show a frame; without its picture, only the faces as the model sees them.
   * @param {ShownFrame} frame
   */
  async showFrame(frame) {
    await this.viewer.show({ name: this.title, picture: null, faces: facesOf(frame) });
  }

  /** Draw the probabilities over time, smoothed or raw. */
  drawTimeline() {
    const { smoothed } = this.tools.controls;
    /** @type {Map<number, import("../views/timeline.js").Point[]>} */
    const points = new Map();
    const [startS, endS] = this.range();
    for (const [id, rows] of this.observations) {
      const inRange = rows.filter(({ timeS }) => timeS >= startS);
      const values = inRange.map((row) => ({
        timeS: row.timeS,
        probabilities: /** @type {ArrayLike<number>} */ (smoothed ? row.smoothed : row.probabilities),
      }));
      if (values.length > 0) points.set(id, values);
    }
    this.timeline.draw(points, { startS, endS, timeS: this.timeS, gapS: Math.max(LOST_S / 2, 2 * this.everyS) });
  }

  /**
   * Times in seconds at which the timeline starts and ends.
   * @returns {[number, number]}
   */
  range() {
    return [this.frames[0]?.timeS ?? 0, this.frames.at(-1)?.timeS ?? 0];
  }

  /** @override */
  close() {
    this.tools.controls.removeEventListener("change", this.onChange);
    super.close();
  }
}

/**
 * Return the faces of a frame, to show them.
 * @param {ShownFrame} frame
 * @returns {ShownFace[]}
 */
export function facesOf({ rows }) {
  return rows.map(({ face, probabilities, smoothed, id }) => ({
    face: /** @type {NonNullable<FilmRow["face"]>} */ (face),
    probabilities: /** @type {Float32Array} */ (probabilities),
    smoothed,
    number: /** @type {number} */ (id),
  }));
}
