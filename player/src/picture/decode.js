/** What the browser can decode: pictures to look at, and smaller copies of those that are too large to upload. */

import { readDataUri } from "./files.js";

/** @typedef {{ image: CanvasImageSource, width: number, height: number }} Decoded upright */

/** Bytes above which a data: URI is too long for some browsers. */
const LONGEST_URI = 20_000_000;
/** Pixels of the copy that is shown: more would only take memory. */
const SHOWN_SIDE = 1600;
const SHRUNK_SIDES = [4096, 3072, 2048];
const QUALITY = 0.92;

/** Decodes a picture; null if this browser cannot. @param {Blob} blob @returns {Promise<Decoded | null>} */
export async function decode(blob) {
  // An element turns a picture upright in every browser, a bitmap only in newer ones.
  const decoded = blob.size <= LONGEST_URI ? await readDataUri(blob).then(decodeUri, () => null) : await decodeBitmap(blob);
  return decoded?.width && decoded.height ? decoded : null;
}

/** @param {string} uri of a picture @returns {Promise<Decoded | null>} */
export async function decodeUri(uri) {
  const image = new Image();
  image.src = uri;
  return image.decode().then(() => ({ image, width: image.naturalWidth, height: image.naturalHeight }), () => null);
}

/** @param {Blob} blob @returns {Promise<Decoded | null>} */
async function decodeBitmap(blob) {
  const image = await createImageBitmap(blob, { imageOrientation: "from-image" }).catch(() => null);
  return image && { image, width: image.width, height: image.height };
}

/** Draws a picture onto white, with sides of at most so many pixels. @param {Decoded} decoded @param {number} side */
function draw({ image, width, height }, side) {
  const scale = Math.min(1, side / Math.max(width, height));
  const canvas = document.createElement("canvas");
  canvas.width = Math.max(1, Math.round(width * scale));
  canvas.height = Math.max(1, Math.round(height * scale));
  const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
  context.fillStyle = "#fff";
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.imageSmoothingQuality = "high";
  context.drawImage(image, 0, 0, canvas.width, canvas.height);
  return canvas;
}

/** The copy that is shown. @param {Decoded} decoded */
export function drawShown(decoded) {
  return draw(decoded, SHOWN_SIDE);
}

/**
 * A smaller JPEG of a picture that is too large.
 *
 * @param {Decoded} decoded
 * @param {number} largest bytes
 * @returns {Promise<{ blob: Blob, width: number, height: number } | null>} null if the browser has no memory for it
 */
export async function shrink(decoded, largest) {
  for (const side of SHRUNK_SIDES) {
    const canvas = draw(decoded, side);
    const blob = await new Promise((resolve) => canvas.toBlob(resolve, "image/jpeg", QUALITY));
    if (blob && blob.size <= largest) return { blob, width: canvas.width, height: canvas.height };
  }
  return null;
}
