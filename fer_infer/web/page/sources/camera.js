/** The camera. */

import { make } from "../views/dom.js";

/** Errors of the browser, and what they mean. */
const REASONS = /** @type {Record<string, string>} */ ({
  NotAllowedError: "the browser did not allow it",
  NotFoundError: "there is none",
  NotReadableError: "another program uses it",
});

/**
 * Open the camera.
 * @returns {Promise<HTMLVideoElement>}
 */
export async function openCamera() {
  if (!navigator.mediaDevices) {
    throw new Error("the camera cannot be used: browsers allow it only on pages from https or localhost");
  }
  try {
    const stream = await navigator.mediaDevices.getUserMedia({
      video: { width: { ideal: 640 }, height: { ideal: 480 }, facingMode: "user" },
    });
    const video = make("video", { playsinline: true });
    video.muted = true;
    video.srcObject = stream;
    await video.play();
    return video;
  } catch (error) {
    const { name, message } = /** @type {Error} */ (error);
    throw new Error(`the camera cannot be used: ${REASONS[name] ?? message}`, { cause: error });
  }
}

/**
 * Switch the camera off.
 * @param {HTMLVideoElement} video
 */
export function closeCamera(video) {
  const stream = /** @type {MediaStream} */ (video.srcObject);
  for (const track of stream.getTracks()) track.stop();
  video.srcObject = null;
}

/**
 * Wait for the next frame.
 * @param {HTMLVideoElement} video
 * @returns {Promise<void>}
 */
export function nextFrame(video) {
  return new Promise((resolve) => {
    if ("requestVideoFrameCallback" in video) video.requestVideoFrameCallback(() => resolve());
    else requestAnimationFrame(() => resolve());
  });
}
