/** What a file is, from its first bytes: its name and its type may be wrong, and phones send them without either. */

/** @typedef {{ type: string } | { problem: string }} FileKind the media type of a picture, or why it cannot be used */

const HEAD = 512;
/** Brands of the container that MP4 videos use too. */
const BRANDS = {
  heic: "image/heic", heix: "image/heic", heim: "image/heic", heis: "image/heic", hevc: "image/heic", hevx: "image/heic",
  mif1: "image/heif", msf1: "image/heif", avif: "image/avif", avis: "image/avif",
};
const SIGNATURES = [
  [/^\xff\xd8\xff/, "image/jpeg"],
  [/^\x89PNG\r\n/, "image/png"],
  [/^RIFF[^]{4}WEBP/, "image/webp"],
  [/^GIF8/, "image/gif"],
  [/^BM[^]{4}\0\0\0\0/, "image/bmp"],
  [/^(II[*+]\0|MM\0[*+])/, "image/tiff"],
];
const SAVE_AS = "Save it as a JPEG or PNG picture first.";
const OTHERS = [
  [/^%PDF/, `This is a PDF. ${SAVE_AS}`],
  [/^\s*(<\?xml[^]*)?<svg/i, `This is an SVG drawing. ${SAVE_AS}`],
  [/^\s*(<!doctype html|<html)/i, "This is a web page, not a picture. Save the picture itself first."],
  [/^(\x1aE\xdf\xa3|[^]{4}ftyp|RIFF[^]{4}AVI )/, "This is a video. Take a screenshot of it and choose that."],
];
export const ACCEPTED = "image/*,.heic,.heif,.avif";
export const UNKNOWN_KIND = "This is not a picture that can be used. Choose a JPEG, PNG, WebP or HEIC file.";
const EMPTY = "This file is empty.";
export const UNREADABLE = "This file could not be read. If it is only in the cloud, download it to this device first.";

/** @param {Blob} file @returns {Promise<FileKind>} */
export async function identify(file) {
  const head = await readHead(file);
  if (head === null) return { problem: UNREADABLE };
  if (!head) return { problem: EMPTY };
  const brand = head.slice(4, 8) === "ftyp" ? BRANDS[head.slice(8, 12)] : undefined;
  const type = brand ?? SIGNATURES.find(([start]) => start.test(head))?.[1];
  if (type) return { type };
  return { problem: OTHERS.find(([start]) => start.test(head))?.[1] ?? UNKNOWN_KIND };
}

/** How a picture is turned, other than not at all: by XMP, and by Exif. A JPEG's Exif is followed by every browser. */
const TURNED_BY_XMP = /tiff:Orientation\s*(=\s*["']|>)\s*[2-8]/;
const TURNED_BY_EXIF = /\x12\x01\x03\0\x01\0\0\0[\x02-\x08]\0|\x01\x12\0\x03\0\0\0\x01\0[\x02-\x08]|Raw profile type exif/;

/**
 * Reads a picture into memory: what was shown is uploaded, even if the file changes or goes away meanwhile.
 *
 * @param {Blob} file
 * @param {string} type
 * @returns {Promise<{ blob: Blob, isShownAlike: boolean } | null>} `isShownAlike`: whether every browser turns it as the
 * server does; null if it cannot be read
 */
export async function load(file, type) {
  const bytes = await file.arrayBuffer().catch(() => null);
  if (!bytes) return null;
  const text = new TextDecoder("latin1").decode(bytes);
  const isTurned = TURNED_BY_XMP.test(text) || (type !== "image/jpeg" && TURNED_BY_EXIF.test(text));
  return { blob: new Blob([bytes], { type }), isShownAlike: !isTurned };
}

/** The first bytes, one character each; null if the file cannot be read. @param {Blob} file */
async function readHead(file) {
  const bytes = await file.slice(0, HEAD).arrayBuffer().catch(() => null);
  return bytes && String.fromCharCode(...new Uint8Array(bytes));
}

/** @param {Blob} blob @returns {Promise<string>} a data: URI; hosts allow no blob: URIs */
export function readDataUri(blob) {
  const reader = new FileReader();
  return new Promise((resolve, reject) => {
    reader.onload = () => resolve(String(reader.result));
    reader.onerror = () => reject(reader.error);
    reader.readAsDataURL(blob);
  });
}

/** @param {number} bytes */
export function formatBytes(bytes) {
  return bytes < 1_000_000 ? `${Math.max(1, Math.round(bytes / 1000))} kB` : `${(bytes / 1_000_000).toFixed(1).replace(/\.0$/, "")} MB`;
}
