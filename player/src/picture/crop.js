/**
 * Which part of a picture is used. Everything is a share of the picture's width or height, except the shape's ratio,
 * which is width divided by height.
 */

/**
 * @typedef {{ width: number, height: number }} Size in pixels
 * @typedef {{ left: number, top: number, width: number, height: number }} Part
 */

/**
 * @typedef {object} Crop
 * @property {number} ratio of the shape
 * @property {number} zoom 1: as much of the picture as the shape allows
 * @property {number} x the part's center
 * @property {number} y
 */

/** Pixels that a part's shorter side keeps: fewer make a blurred clip. */
const SMALLEST_SIDE = 360;
const LARGEST_ZOOM = 8;
/** Ratios that differ by less are the same shape: a camera's 4:3 may lack a few pixels. */
const SAME_RATIO = 0.01;

/** @param {number} value @param {number} low @param {number} high */
const clamp = (value, low, high) => Math.min(high, Math.max(low, value));

/** @param {string} name such as "16:9" */
export function parseRatio(name) {
  const [width, height] = name.split(":").map(Number);
  return width > 0 && height > 0 ? width / height : 1;
}

/** @param {Size} picture @param {number} ratio @returns {Crop} the largest part, from the middle */
export function center(picture, ratio) {
  return limit(picture, { ratio, zoom: 1, x: 0.5, y: 0.5 });
}

/** @param {Size} picture @param {Crop} crop @returns {Part} */
export function getPart({ width, height }, { ratio, zoom, x, y }) {
  const pictureRatio = width / height;
  const part = { width: Math.min(1, ratio / pictureRatio) / zoom, height: Math.min(1, pictureRatio / ratio) / zoom };
  // What floating-point numbers lack is not outside of the picture.
  return { left: Math.max(0, x - part.width / 2), top: Math.max(0, y - part.height / 2), ...part };
}

/** @param {Size} picture @param {number} ratio */
export function getLargestZoom(picture, ratio) {
  const part = getPart(picture, { ratio, zoom: 1, x: 0.5, y: 0.5 });
  const shorter = Math.min(part.width * picture.width, part.height * picture.height);
  return clamp(shorter / SMALLEST_SIDE, 1, LARGEST_ZOOM);
}

/** Keeps a part inside the picture. @param {Size} picture @param {Crop} crop @returns {Crop} */
export function limit(picture, crop) {
  const zoom = clamp(crop.zoom, 1, getLargestZoom(picture, crop.ratio));
  const { width, height } = getPart(picture, { ...crop, zoom });
  return { ...crop, zoom, x: clamp(crop.x, width / 2, 1 - width / 2), y: clamp(crop.y, height / 2, 1 - height / 2) };
}

/**
 * Moves the picture under the frame.
 *
 * @param {Size} picture
 * @param {Crop} crop
 * @param {number} right as a share of the frame
 * @param {number} down
 */
export function move(picture, crop, right, down) {
  const { width, height } = getPart(picture, crop);
  return limit(picture, { ...crop, x: crop.x - right * width, y: crop.y - down * height });
}

/**
 * Zooms around a point that stays where it is.
 *
 * @param {Size} picture
 * @param {Crop} crop
 * @param {number} factor
 * @param {number} [across] of the point, from the frame's left as a share of its width
 * @param {number} [down]
 */
export function zoomBy(picture, crop, factor, across = 0.5, down = 0.5) {
  const { zoom } = limit(picture, { ...crop, zoom: crop.zoom * factor });
  const before = getPart(picture, crop);
  const after = getPart(picture, { ...crop, zoom });
  const x = crop.x + (before.width - after.width) * (across - 0.5);
  const y = crop.y + (before.height - after.height) * (down - 0.5);
  return limit(picture, { ...crop, zoom, x, y });
}

/** Whether there is anything outside of the frame, across or up and down. @param {Size} picture @param {Crop} crop */
export function getFreedom(picture, crop) {
  const { width, height } = getPart(picture, crop);
  return { across: width < 0.999, down: height < 0.999 };
}

/** Whether the shape is the picture's own. @param {Size} picture @param {number} ratio */
export function isSameShape({ width, height }, ratio) {
  return Math.abs(width / height / ratio - 1) < SAME_RATIO;
}

/** The shape that keeps most of a picture. @param {Size} picture @param {string[]} names @returns {string | null} */
export function findNearestShape({ width, height }, names) {
  const distance = (name) => Math.abs(Math.log(parseRatio(name) / (width / height)));
  return names.length ? names.reduce((best, name) => (distance(name) < distance(best) ? name : best)) : null;
}

/** A part's size in pixels: at least one, as on the server. @param {Size} picture @param {Part} part */
export function toPixels(picture, part) {
  return { width: Math.max(1, Math.round(part.width * picture.width)), height: Math.max(1, Math.round(part.height * picture.height)) };
}
