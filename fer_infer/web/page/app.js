/** The page: takes files and the camera, and shows a result for each. */

import { Engine } from "./engine/engine.js";
import { readSite } from "./engine/site.js";
import { CameraResult } from "./results/camera_result.js";
import { DataSetResult } from "./results/data_set_result.js";
import { FilmResult } from "./results/film_result.js";
import { PhotoResult } from "./results/photo_result.js";
import { openCamera } from "./sources/camera.js";
import { kindOf } from "./sources/kinds.js";
import { showAbout, showChecksums } from "./views/about.js";
import { Controls } from "./views/controls.js";
import { byId, make } from "./views/dom.js";

/** @typedef {import("./results/result.js").Result & {run: () => Promise<void>}} RunningResult */
/** @typedef {import("./results/result.js").Tools} Tools */

/** @type {Set<RunningResult>} */
const results = new Set();

/** @param {string} text */
function announce(text) {
  byId("status").textContent = text;
}

/** @param {unknown} error */
function complain(error) {
  byId("errors").append(make("p", {}, error instanceof Error ? error.message : String(error)));
}

/**
 * Put a result on top of the others, and compute it.
 * @param {RunningResult} result
 */
async function add(result) {
  results.add(result);
  result.addEventListener("close", () => results.delete(result));
  byId("results").prepend(result.element);
  try {
    await result.run();
  } catch (error) {
    result.close();
    complain(error);
    announce("");
  }
}

/**
 * Take files: photos together, and each video and CSV by itself.
 * @param {Tools} tools
 * @param {File[]} files
 */
async function take(tools, files) {
  byId("errors").replaceChildren();
  const photos = files.filter((file) => kindOf(file) === "photo");
  if (photos.length > 0) await add(new PhotoResult(tools, photos));
  for (const file of files) {
    if (kindOf(file) === "film") await add(new FilmResult(tools, file));
    if (kindOf(file) === "data") await add(new DataSetResult(tools, file));
  }
}

/** @param {Tools} tools */
function listen(tools) {
  const input = /** @type {HTMLInputElement} */ (byId("files"));
  input.addEventListener("change", () => {
    const files = [...(input.files ?? [])];
    input.value = ""; // the same file can be chosen again
    void take(tools, files);
  });
  const drop = byId("drop");
  document.addEventListener("dragover", (event) => {
    event.preventDefault();
    drop.classList.add("over");
  });
  document.addEventListener("dragleave", (event) => {
    if (event.relatedTarget === null) drop.classList.remove("over");
  });
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    drop.classList.remove("over");
    void take(tools, [...(event.dataTransfer?.files ?? [])]);
  });
  const camera = /** @type {HTMLButtonElement} */ (byId("camera"));
  camera.addEventListener("click", async () => {
    byId("errors").replaceChildren();
    camera.disabled = true;
    try {
      await add(new CameraResult(tools, await openCamera()));
    } catch (error) {
      complain(error);
    } finally {
      camera.disabled = false;
    }
  });
  tools.controls.addEventListener("precision", () => void changePrecision(tools).catch(complain));
}

/**
 * Predict everything again with the graph that was chosen.
 * @param {Tools} tools
 */
async function changePrecision({ engine, controls }) {
  announce("Loading another graph …");
  await engine.usePrecision(controls.precision);
  announce(`The graph ${controls.precision} predicts from now on.`);
  for (const result of results) await result.rescore();
}

/**
 * Score the drawn face, so that there is something to see at once.
 * @param {Tools} tools
 */
async function showDrawnFace(tools) {
  const response = await fetch(tools.engine.site.drawnFace);
  const file = new File([await response.blob()], "drawn face.png", { type: "image/png" });
  await add(new PhotoResult(tools, [file], "A drawn face"));
}

async function start() {
  const site = await readSite();
  showAbout(site);
  const engine = new Engine(site);
  const controls = new Controls(engine);
  const tools = { engine, controls, announce, complain };
  await engine.load();
  performance.mark("loaded");
  listen(tools);
  document.documentElement.classList.add("ready");
  await showDrawnFace(tools);
  performance.mark("first result");
  await showChecksums(site, engine);
}

start().catch((error) => {
  announce("");
  complain(error);
});
if ("serviceWorker" in navigator) {
  // the list of files is compared with that of the server, not with a copy of the browser; without the worker, for
  // example in a private window, the page only does not work offline
  navigator.serviceWorker.register("worker.js", { updateViaCache: "none" }).catch(() => undefined);
}
