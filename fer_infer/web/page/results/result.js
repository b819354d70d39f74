/** What the page shows for files that were chosen together, or for the camera. */

import { make } from "../views/dom.js";
import { Viewer } from "../views/viewer.js";

/**
 * What all results use.
 * @typedef {object} Tools
 * @property {import("../engine/engine.js").Engine} engine
 * @property {import("../views/controls.js").Controls} controls
 * @property {(text: string) => void} announce shows progress
 * @property {(error: unknown) => void} complain shows an error
 */

let count = 0;

/** A titled part of the page with a viewer, which can be removed. The event `close` is dispatched at its end. */
export class Result extends EventTarget {
  /**
   * @param {Tools} tools
   * @param {string} title
   */
  constructor(tools, title) {
    super();
    this.tools = tools;
    this.title = title;
    this.closed = false;
    count += 1;
    const heading = make("h3", { id: `result-${count}` }, title);
    this.meta = make("p", { class: "meta" });
    this.actions = make("p", { class: "actions" });
    this.body = make("div", { class: "body" });
    this.viewer = new Viewer(tools.engine, tools.controls, tools.complain);
    this.body.append(this.viewer.element);
    const header = make("header", {}, heading, this.meta, this.actions);
    this.element = make("article", { class: "result panel", "aria-labelledby": heading.id }, header, this.body);
  }

  /** Compute the predictions again, with another graph. */
  async rescore() {}

  /**
   * Add a button.
   * @param {string} text
   * @param {() => void} action
   */
  addAction(text, action) {
    const label = `${text}: ${this.title}`;
    const button = make("button", { type: "button", class: "button small", "aria-label": label }, text);
    button.addEventListener("click", action);
    this.actions.append(button);
    return button;
  }

  /** Remove it from the page, and free what it uses. */
  close() {
    this.closed = true;
    this.viewer.close();
    this.element.remove();
    this.dispatchEvent(new Event("close"));
  }
}
