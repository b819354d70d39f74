/** A film: its faces over time, and the frame at any time. */

import { closeFilm, openFilm, seek } from "../sources/films.js";
import { pixelsOf, shown } from "../sources/pictures.js";
import { counted } from "../views/dom.js";
import { TimedResult, facesOf } from "./timed_result.js";

/** Time between the frames that are scored, in seconds. */
const EVERY_S = 0.1;

export class FilmResult extends TimedResult {
  /**
   * @param {import("./result.js").Tools} tools
   * @param {File} file
   */
  constructor(tools, file) {
    super(tools, file.name, EVERY_S);
    this.file = file;
    this.stopped = false;
    /** @type {HTMLVideoElement | null} */
    this.video = null;
    this.stop = this.addAction("Stop", () => {
      this.stopped = true;
    });
    this.addAction("Remove", () => this.close());
  }

  /** Search and score the film, frame by frame. */
  async run() {
    this.video = await openFilm(this.file, this.title);
    const { duration } = this.video;
    this.tools.announce(`${this.title}: searching ${duration.toFixed(1)} s of video …`);
    const startMs = performance.now();
    for (let i = 0; i * EVERY_S < duration && !this.stopped && !this.closed; i += 1) {
      const timeS = i * EVERY_S;
      await seek(this.video, timeS);
      const picture = shown(this.video);
      const frame = await this.addFrame(timeS, await this.tools.engine.find(pixelsOf(this.video, this.title)));
      if (this.closed) break;
      await this.viewer.show({ name: this.title, picture, faces: facesOf(frame) });
      this.drawTimeline();
      this.meta.textContent = `${timeS.toFixed(1)} of ${duration.toFixed(1)} s`;
    }
    this.stop.remove();
    const elapsedS = (performance.now() - startMs) / 1000;
    const found = `${counted(this.tracker.count, "face")} in ${counted(this.count, "frame")}`;
    this.meta.textContent = `${found}, ${(this.count / elapsedS).toFixed(1)} frames/s`;
    this.tools.announce(`${this.title}: ${found}`);
    if (this.closed) closeFilm(this.video);
  }

  /**
   * @override
   * @param {import("./timed_result.js").ShownFrame} frame
   */
  async showFrame(frame) {
    const { video } = this;
    if (video === null) return;
    await seek(video, frame.timeS);
    if (frame.timeS !== this.timeS) return; // another time was selected meanwhile
    await this.viewer.show({ name: this.title, picture: shown(video), faces: facesOf(frame) });
  }

  /** @override */
  range() {
    return /** @type {[number, number]} */ ([0, this.video?.duration ?? 1]);
  }

  /** @override */
  close() {
    const isRunning = this.stop.isConnected;
    super.close();
    if (this.video !== null && !isRunning) closeFilm(this.video);
  }
}
