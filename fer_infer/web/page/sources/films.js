/** Play films frame by frame. */

import { make } from "../views/dom.js";

/**
 * Open a film.
 * @param {Blob} file
 * @param {string} name of the file in errors
 * @returns {Promise<HTMLVideoElement>}
 */
export async function openFilm(file, name) {
  const video = make("video", { playsinline: true, preload: "auto" });
  video.muted = true;
  video.src = URL.createObjectURL(file);
  const problem = `${name}: cannot be read as a video by this browser`;
  await happening(video, "loadeddata", problem);
  if (!Number.isFinite(video.duration)) {
    await seek(video, Number.MAX_SAFE_INTEGER); // a recording that states no duration is read to its end
  }
  if (video.videoWidth === 0 || !Number.isFinite(video.duration)) throw new Error(problem);
  return video;
}

/**
 * Show the frame at a time.
 * @param {HTMLVideoElement} video
 * @param {number} timeS
 */
export async function seek(video, timeS) {
  if (video.currentTime === timeS) return;
  const arrived = happening(video, "seeked", "the video cannot be read further");
  video.currentTime = timeS;
  await arrived;
}

/**
 * Free a film.
 * @param {HTMLVideoElement} video
 */
export function closeFilm(video) {
  URL.revokeObjectURL(video.src);
  video.removeAttribute("src");
  video.load();
}

/**
 * @param {HTMLVideoElement} video
 * @param {string} event
 * @param {string} problem
 * @returns {Promise<void>}
 */
function happening(video, event, problem) {
  return new Promise((resolve, reject) => {
    const ended = new AbortController();
    const settle = (/** @type {() => void} */ then) => () => {
      ended.abort();
      then();
    };
    video.addEventListener(event, settle(resolve), { signal: ended.signal });
    video.addEventListener("error", settle(() => reject(new Error(problem))), { signal: ended.signal });
  });
}
