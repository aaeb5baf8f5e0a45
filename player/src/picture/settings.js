/** What the panel starts from: the result of add_picture. */

import { isObject } from "../result.js";

/**
 * @typedef {object} Use
 * @property {string} parameter of generate_video
 * @property {string} title
 * @property {boolean} isFrame whether the picture becomes a frame of the clip, so that the clip's shape matters
 */

/**
 * @typedef {object} Settings
 * @property {Use[]} uses
 * @property {string} use the parameter that is chosen at first
 * @property {string[]} ratios shapes of clips, such as "16:9"
 * @property {string | null} ratio the shape that is chosen at first; null: the one that keeps most of the picture
 * @property {string} [account] that pictures are uploaded to
 * @property {number} largestBytes of a picture
 * @property {number} partBytes most bytes of a part
 */

const LARGEST_BYTES = 20_000_000;
const PART_BYTES = 256 * 1024;

/** @param {unknown} value @param {number} fallback */
const parseSize = (value, fallback) => (Number.isInteger(value) && Number(value) > 0 ? Number(value) : fallback);

/** @param {Record<string, any>} content structured content @returns {Settings | null} */
export function parseSettings(content) {
  const uses = (Array.isArray(content.uses) ? content.uses : []).filter(isObject).map((use) => ({
    parameter: String(use.parameter),
    title: String(use.title ?? use.parameter),
    isFrame: use.is_frame !== false,
  }));
  if (!uses.length) return null;
  const ratios = (Array.isArray(content.aspect_ratios) ? content.aspect_ratios : []).filter((name) => /^\d{1,2}:\d{1,2}$/.test(name));
  return {
    uses,
    use: uses.some(({ parameter }) => parameter === content.use_as) ? content.use_as : uses[0].parameter,
    ratios,
    ratio: ratios.includes(content.aspect_ratio) ? content.aspect_ratio : null,
    account: typeof content.account === "string" ? content.account : undefined,
    largestBytes: parseSize(content.largest_bytes, LARGEST_BYTES),
    partBytes: parseSize(content.part_bytes, PART_BYTES),
  };
}
