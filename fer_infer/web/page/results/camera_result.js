/** The camera, live: the faces in it, and their probabilities over the last half minute. */

import { closeCamera, nextFrame } from "../sources/camera.js";
import { pixelsOf, shown } from "../sources/pictures.js";
import { TimedResult, facesOf } from "./timed_result.js";

/** Time that the timeline shows, in seconds. */
const SHOWN_S = 30;

/** Frames of the mean speed that is shown. */
const SPEED_FRAMES = 20;

/** A quick search, at half the size of the picture; a face that is missed is found in one of the next frames. */
const QUICK = { side: 320, again: false, tiles: false };

export class CameraResult extends TimedResult {
  /**
   * @param {import("./result.js").Tools} tools
   * @param {HTMLVideoElement} video
   */
  constructor(tools, video) {
    super(tools, "Camera", 0);
    this.video = video;
    this.live = true;
    this.stop = this.addAction("Stop", () => {
      this.live = false;
    });
    this.addAction("Remove", () => this.close());
    this.timeline.slider.disabled = true;
  }

  /** Search and score frames until the camera is stopped. */
  async run() {
    const { video, tools } = this;
    const startMs = performance.now();
    /** @type {number[]} */
    const times = [];
    this.tools.announce("Camera: on");
    let next = nextFrame(video);
    try {
      while (this.live && !this.closed) {
        await next;
        next = nextFrame(video); // it may arrive while this one is searched
        const picture = shown(video);
        const timeS = (performance.now() - startMs) / 1000;
        const frame = await this.addFrame(timeS, await tools.engine.find(pixelsOf(picture.canvas, this.title), QUICK));
        await this.viewer.show({ name: this.title, picture, faces: facesOf(frame) });
        this.drawTimeline();
        times.push(performance.now());
        if (times.length > SPEED_FRAMES) times.shift();
        const speed = (1000 * (times.length - 1)) / (times[times.length - 1] - times[0]);
        this.meta.textContent = times.length > 2 ? `${speed.toFixed(1)} frames/s` : "";
      }
    } finally {
      closeCamera(video);
      this.stop.remove();
      this.timeline.slider.disabled = false;
      this.tools.announce("Camera: off");
    }
  }

  /** @override */
  selectTime(/** @type {number} */ timeS) {
    if (!this.live) super.selectTime(timeS);
  }

  /** @override */
  range() {
    const [first, last] = super.range();
    return /** @type {[number, number]} */ ([Math.max(first, last - SHOWN_S), last]);
  }

  /** @override */
  close() {
    this.live = false;
    super.close();
  }
}
