/** Decode pictures to the pixels that Python reads: upright, and without color management. */

import { canvasOf, contextOf } from "../views/dom.js";

/** Longer side in pixels at which pictures are shown. */
const SHOWN_SIDE = 1280;

/**
 * Decode a picture, turned upright.
 * @param {Blob} file
 * @param {string} name of the file in errors
 * @returns {Promise<ImageBitmap>}
 */
export async function decode(file, name) {
  try {
    return await createImageBitmap(file, {
      imageOrientation: "from-image",
      colorSpaceConversion: "none",
      premultiplyAlpha: "none",
    });
  } catch {
    throw new Error(`${name}: cannot be read as a picture by this browser`);
  }
}

/**
 * Return the pixels of a picture.
 * @param {ImageBitmap | HTMLVideoElement | HTMLCanvasElement} picture
 * @param {string} name of the file in errors
 * @returns {ImageData}
 */
export function pixelsOf(picture, name) {
  const { width, height } = sizeOf(picture);
  const context = contextOf(canvasOf(width, height));
  context.drawImage(picture, 0, 0);
  try {
    return context.getImageData(0, 0, width, height);
  } catch {
    throw new Error(`${name}: ${width}x${height} pixels are too many for this browser`);
  }
}

/**
 * Reduce a picture to the size in which it is shown, at most `side` pixels.
 * @param {ImageBitmap | HTMLVideoElement | HTMLCanvasElement} picture
 * @param {number} [side]
 * @returns {import("../views/viewer.js").ShownPicture}
 */
export function shown(picture, side = SHOWN_SIDE) {
  const { width, height } = sizeOf(picture);
  const scale = Math.min(1, side / Math.max(width, height));
  const canvas = canvasOf(Math.max(1, Math.round(width * scale)), Math.max(1, Math.round(height * scale)));
  const context = contextOf(canvas);
  context.imageSmoothingQuality = "high";
  context.drawImage(picture, 0, 0, canvas.width, canvas.height);
  return { canvas, scale };
}

/** @param {ImageBitmap | HTMLVideoElement | HTMLCanvasElement} picture */
function sizeOf(picture) {
  if (picture instanceof HTMLVideoElement) return { width: picture.videoWidth, height: picture.videoHeight };
  return picture;
}
