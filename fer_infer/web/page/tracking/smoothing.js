/** Smooth the probabilities of each face over time. The rules are those of Python. */

/** Time constants after which an observation counts for nothing in float64. */
const FORGOTTEN = 20;

/** Time constant of the page, in seconds. */
export const SMOOTH_S = 0.5;

/**
 * Averages the probabilities of a face over an exponential window.
 *
 * The smoothed probabilities at time t are `sum(w_i p_i) / sum(w_i)` over all observations until t, with the weights
 * `w_i = exp(-(t - t_i) / smoothS)`.
 */
export class Smoother {
  /** @param {number} [smoothS] time constant in seconds; 0 returns the probabilities unchanged */
  constructor(smoothS = SMOOTH_S) {
    this.smoothS = smoothS;
    /** @type {Map<number, {weighted: Float64Array, weight: number, timeS: number}>} */
    this.sums = new Map();
  }

  /**
   * Add an observation; return the smoothed probabilities at its time.
   * @param {number} face id of the face
   * @param {number} timeS time in seconds, not before that of its last observation
   * @param {ArrayLike<number>} probabilities
   * @returns {Float64Array}
   */
  add(face, timeS, probabilities) {
    const current = Float64Array.from(probabilities);
    if (this.smoothS === 0) return current;
    this.#forget(timeS);
    const known = this.sums.get(face);
    if (known === undefined) {
      this.sums.set(face, { weighted: current.slice(), weight: 1, timeS });
      return current;
    }
    const decay = Math.exp(-(timeS - known.timeS) / this.smoothS);
    known.weighted = known.weighted.map((sum, i) => sum * decay + current[i]);
    known.weight = known.weight * decay + 1;
    known.timeS = timeS;
    return known.weighted.map((sum) => sum / known.weight);
  }

  /** @param {number} timeS */
  #forget(timeS) {
    for (const [face, known] of this.sums) {
      if (timeS - known.timeS >= FORGOTTEN * this.smoothS) this.sums.delete(face);
    }
  }
}
