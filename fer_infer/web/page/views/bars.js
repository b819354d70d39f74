/** Probabilities as bars. */

import { argmax } from "../tables/predictions.js";
import { make, percent } from "./dom.js";

/** A table of classes with one bar each, which can show other probabilities many times per second. */
export class Bars {
  /**
   * @param {string[]} labels
   * @param {string} label of the table
   */
  constructor(labels, label) {
    this.rows = labels.map((name) => {
      const bar = make("div");
      const value = make("td", { class: "value" });
      const row = make("tr", {}, make("th", { scope: "row" }, name), make("td", { class: "track" }, bar), value);
      return { row, bar, value };
    });
    const body = make("tbody", {}, ...this.rows.map(({ row }) => row));
    this.element = make("table", { class: "bars", "aria-label": label }, body);
  }

  /** @param {ArrayLike<number>} probabilities */
  show(probabilities) {
    const best = argmax(probabilities);
    this.rows.forEach(({ row, bar, value }, i) => {
      row.classList.toggle("predicted", i === best);
      bar.style.width = `${100 * probabilities[i]}%`;
      value.textContent = percent(probabilities[i], 1);
    });
  }
}
