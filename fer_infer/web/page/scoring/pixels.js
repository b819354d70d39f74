/**
 * Pictures as the detector and the models read them: opaque RGBA pixels, and gray levels.
 *
 * All arithmetic is that of Pillow, so that a picture gives the same face here and in Python.
 */

/**
 * An RGBA picture; an `ImageData` is one. Channels after the third are ignored.
 * @typedef {object} Picture
 * @property {number} width
 * @property {number} height
 * @property {Uint8Array | Uint8ClampedArray} data RGBA, row by row
 */

/**
 * Gray levels, one byte per pixel.
 * @typedef {object} GrayPicture
 * @property {number} width
 * @property {number} height
 * @property {Uint8Array} data
 */

/**
 * Round to the nearest integer, and halves to the even one, as `round` in Python does.
 * @param {number} value
 */
export function roundHalfEven(value) {
  const below = Math.floor(value);
  const rest = value - below;
  if (rest === 0.5) return below + (below & 1);
  return rest < 0.5 ? below : below + 1;
}

/**
 * Return the gray level (luma of ITU-R BT.601) of a color.
 * @param {number} red
 * @param {number} green
 * @param {number} blue
 */
export function luma(red, green, blue) {
  return (19595 * red + 38470 * green + 7471 * blue + 0x8000) >> 16;
}

/**
 * Return the gray levels of a picture.
 * @param {Picture} picture
 * @returns {GrayPicture}
 */
export function grayOf(picture) {
  const { width, height, data } = picture;
  const gray = new Uint8Array(width * height);
  for (let pixel = 0, i = 0; pixel < gray.length; pixel += 1, i += 4) {
    gray[pixel] = luma(data[i], data[i + 1], data[i + 2]);
  }
  return { width, height, data: gray };
}

/**
 * Lay a picture over white; a picture without transparent pixels is returned as it is.
 * @param {Picture} picture
 * @returns {Picture}
 */
export function overWhite(picture) {
  const { width, height, data } = picture;
  let i = 3;
  while (i < data.length && data[i] === 255) i += 4;
  if (i >= data.length) return picture;
  const opaque = new Uint8ClampedArray(data);
  for (i -= 3; i < data.length; i += 4) {
    const alpha = data[i + 3];
    for (let channel = i; channel < i + 3; channel += 1) {
      const sum = 128 * (data[channel] * alpha + 255 * (255 - alpha) + 128);
      opaque[channel] = ((sum >> 8) + sum) >> 15;
    }
    opaque[i + 3] = 255;
  }
  return { width, height, data: opaque };
}
