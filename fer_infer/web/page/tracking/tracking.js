/** Follow faces through a film: the same face has the same id in all frames. The rules are those of Python. */

import { assign } from "./assignment.js";

/** Time in seconds after which a face that is not found is forgotten. */
export const LOST_S = 1;

/** Largest cost at which a face continues a track: landmarks that lie apart by the size of the face. */
const GATE = 1;

/** Cost of a size that differs by the factor e. */
const SIZE_WEIGHT = 0.5;

/** Time constant of the mean velocity of a face, in seconds. */
const VELOCITY_S = 0.2;

/**
 * The parts of a face that are followed.
 * @typedef {object} TrackedFace
 * @property {import("../scoring/detector.js").Box} box
 * @property {number[][]} landmarks
 */

/**
 * @typedef {object} Track
 * @property {number} id
 * @property {number[][]} landmarks
 * @property {number} size
 * @property {[number, number]} velocity in pixels per second
 * @property {number} timeS time when the face was seen last
 * @property {number | null} missedS time of the first frame since then; null if it is in the latest frame
 */

/**
 * Return the time of `Tracker` for a film of which one frame per `everyS` seconds is taken.
 * @param {number} everyS
 */
export function lostS(everyS) {
  return Math.max(LOST_S, 2 * everyS);
}

/** Gives the faces of successive frames ids. */
export class Tracker {
  /** @param {number} [longestS] time in seconds after which a face that is not found is forgotten */
  constructor(longestS = LOST_S) {
    this.longestS = longestS + 1e-9;
    /** @type {Track[]} */
    this.tracks = [];
    this.next = 1;
    this.lastS = 0;
  }

  /** Number of ids so far. */
  get count() {
    return this.next - 1;
  }

  /**
   * Return the ids of the faces of a frame, from 1 in the order of appearance, never used again.
   * @param {TrackedFace[]} faces
   * @param {number} timeS not before that of the frame before
   * @returns {number[]}
   */
  assign(faces, timeS) {
    this.#forget(timeS);
    /** @type {(number | undefined)[]} */
    const ids = faces.map(() => undefined);
    const costs = this.tracks.map((track) => faces.map((face) => costOf(track, face, timeS)));
    // costs beyond the gate count alike, so that they never push a good pair aside
    const limited = costs.map((row) => row.map((cost) => Math.min(cost, 2 * GATE)));
    for (const [row, column] of assign(limited)) {
      if (costs[row][column] > GATE) continue;
      update(this.tracks[row], faces[column], timeS);
      ids[column] = this.tracks[row].id;
    }
    for (const track of this.tracks) {
      if (track.timeS < timeS && track.missedS === null) track.missedS = timeS;
    }
    return faces.map((face, place) => ids[place] ?? this.#start(face, timeS));
  }

  /**
   * @param {TrackedFace} face
   * @param {number} timeS
   */
  #start({ landmarks, box }, timeS) {
    const id = this.next;
    this.next += 1;
    this.tracks.push({ id, landmarks, size: sizeOf(box), velocity: [0, 0], timeS, missedS: null });
    return id;
  }

  /**
   * Drop the tracks that were missed for too long before the frame at `timeS`.
   * @param {number} timeS
   */
  #forget(timeS) {
    const { lastS, longestS } = this;
    const follows = timeS - lastS <= longestS;
    this.tracks = this.tracks.filter(({ missedS }) => follows && (missedS === null || lastS - missedS <= longestS));
    this.lastS = timeS;
  }
}

/**
 * @param {Track} track
 * @param {TrackedFace} face
 * @param {number} timeS
 */
function update(track, { landmarks, box }, timeS) {
  const elapsed = timeS - track.timeS;
  const [before, now] = [centerOf(track.landmarks), centerOf(landmarks)];
  const share = 1 - Math.exp(-elapsed / VELOCITY_S);
  for (const axis of /** @type {const} */ ([0, 1])) {
    const moved = (now[axis] - before[axis]) / Math.max(elapsed, 1e-6);
    track.velocity[axis] += (moved - track.velocity[axis]) * share;
  }
  Object.assign(track, { landmarks, size: sizeOf(box), timeS, missedS: null });
}

/**
 * @param {Track} track
 * @param {TrackedFace} face
 * @param {number} timeS
 */
function costOf(track, { landmarks, box }, timeS) {
  const trusted = Math.min(timeS - track.timeS, VELOCITY_S); // constant velocity holds for a short time only
  const [across, down] = track.velocity.map((speed) => speed * trusted);
  const apart = landmarks.map(([x, y], i) => {
    const [lastX, lastY] = track.landmarks[i];
    return Math.hypot(lastX + across - x, lastY + down - y);
  });
  const size = Math.sqrt(track.size * sizeOf(box));
  return mean(apart) / size + SIZE_WEIGHT * Math.abs(Math.log(sizeOf(box) / track.size));
}

/** @param {import("../scoring/detector.js").Box} box */
function sizeOf({ width, height }) {
  return Math.sqrt(width * height);
}

/** @param {number[][]} points */
function centerOf(points) {
  return [0, 1].map((axis) => mean(points.map((point) => point[axis])));
}

/** @param {number[]} values */
function mean(values) {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}
