/** What the panel shows: pure functions from its state, computed again whenever something changes. */

import { describeUse } from "../chat.js";
import * as errors from "../errors.js";
import { getPart, toPixels } from "./crop.js";
import { formatBytes } from "./files.js";

/**
 * @typedef {object} Picture
 * @property {Blob} blob what is uploaded
 * @property {number} width upright, in pixels
 * @property {number} height
 * @property {HTMLCanvasElement} shown a copy for the eye
 * @property {string} note how `blob` differs from what the person chose; empty if it does not
 */

/**
 * @typedef {object} Panel
 * @property {"opening" | "unavailable" | "empty" | "reading" | "editing" | "uploading" | "done" | "failed"} phase
 * @property {import("./settings.js").Settings | null} settings
 * @property {string} problem why the last file was not taken
 * @property {Picture | null} picture
 * @property {string} use
 * @property {string | null} shape null: the whole picture
 * @property {import("./crop.js").Crop | null} crop
 * @property {number | null} share of the picture that the server has; null: not known, or it has everything
 * @property {boolean} isDisturbed whether the connection fails at the moment
 * @property {Record<string, any> | null} error of the server; null: the host did not pass a call on
 * @property {string} text of an error result without an error
 * @property {import("../result.js").ToolResult | null} result of the upload
 * @property {string} message for the chat, if the host did not take it; empty if it did
 */

const SMALL_SIDE = 480;
const SIZE = ({ width, height }) => `${width}\u00a0×\u00a0${height} pixels`;
const OWN_HEADLINES = { invalid_arguments: "This picture cannot be used", moderated: "Content moderation rejected this picture" };
const HEADLINES_BY_CODE = { too_many_uploads: "Too many uploads at once", unknown_account: "This account is not known" };

/** @param {Panel} panel @returns {import("./settings.js").Use} */
export function getUse({ settings, use }) {
  return /** @type {any} */ (settings?.uses.find(({ parameter }) => parameter === use));
}

/** The part that is used; null for the whole picture. @param {Panel} panel */
export function part({ picture, crop }) {
  if (!picture || !crop) return null;
  const wanted = getPart(picture, crop);
  return wanted.width > 0.999 && wanted.height > 0.999 ? null : wanted;
}

/** @param {Panel} panel */
export function headline(panel) {
  switch (panel.phase) {
    case "reading":
      return "Reading the picture…";
    case "editing":
      return "Adjust your picture";
    case "uploading":
      return panel.share === null ? "Checking and saving it…" : "Uploading…";
    case "done":
      return "Your picture is ready";
    case "failed":
      return failedHeadline(panel);
    case "unavailable":
      return panel.error || panel.text ? failedHeadline(panel) : "This chat cannot upload pictures";
    default:
      return "";
  }
}

/** @param {Panel} panel */
function failedHeadline({ phase, error }) {
  if (!error) return phase === "failed" ? "The picture could not be sent" : errors.headline(null);
  return HEADLINES_BY_CODE[error.problems?.[0]?.code] ?? OWN_HEADLINES[error.kind] ?? errors.headline(error);
}

/** What went wrong, and what it cost. @param {Panel} panel */
export function reason({ phase, error, text, picture }) {
  if (error) return errors.describeError(error, text);
  if (text) return text;
  if (phase === "failed") return `The connection was lost. Nothing was charged. Try again${picture ? ": it continues where it stopped" : ""}.`;
  return "It does not let the panel reach the server. Instead, give a link to the picture in the chat, or its path if the server runs on this computer.";
}

/** @param {Panel} panel @returns {string[]} */
export function problems({ error }) {
  return errors.listProblems(error);
}

/** @param {Panel} panel */
export function hint(panel) {
  const { error } = panel;
  if (!error) return "";
  if (error.problems?.[0]?.code === "unknown_account") return "Tell the chat which account to use, and ask for this panel again.";
  if (!canRetry(panel)) return "Choose another picture, or change this one.";
  // An upload is never charged.
  return errors.hint({ ...error, charged: "no" });
}

/** Whether the same upload may succeed later: not if the picture itself is the problem. @param {Panel} panel */
export function canRetry({ error }) {
  return !error || error.retry === "later" || !(error.kind in OWN_HEADLINES);
}

/** The line below the drop zone. @param {Panel} panel */
export function terms({ settings }) {
  if (!settings) return "";
  const account = settings.account ? ` It goes to the Luma account ${settings.account}.` : "";
  return `JPEG, PNG, WebP, HEIC and others, up to ${formatBytes(settings.largestBytes)}. Uploading is free and orders nothing.${account}`;
}

/** The size of the part that is used, and whether it is enough. @param {Panel} panel */
export function sizeNote(panel) {
  if (!panel.picture) return "";
  const size = toPixels(panel.picture, part(panel) ?? { left: 0, top: 0, width: 1, height: 1 });
  const isSmall = Math.min(size.width, size.height) < SMALL_SIDE;
  return isSmall ? `Only ${SIZE(size)}: the clip may look blurred.` : `${SIZE(size)}.`;
}

/** For assistive technology, after the keyboard has moved the part. @param {Panel} panel */
export function describeCrop({ picture, crop }) {
  if (!picture || !crop) return "";
  const { left, top } = getPart(picture, crop);
  const [across, down] = [left, top].map((share) => Math.round(Math.max(0, share) * 100));
  return `Zoom ${Math.round(crop.zoom * 100)}%. Cut off at the left: ${across}%, at the top: ${down}%.`;
}

/** @param {Panel} panel */
export function uploadNote({ isDisturbed, share, picture }) {
  if (isDisturbed) return "Reconnecting…";
  return share === null || !picture ? "" : `${Math.floor(share * 100)}% of ${formatBytes(picture.blob.size)}`;
}

/** @param {Panel} panel */
export function doneNote(panel) {
  const { job } = panel.result ?? { job: {} };
  const size = job.width > 0 && job.height > 0 ? `, ${SIZE(job)}` : "";
  return `Uploaded as ${describeUse(getUse(panel).title)}${size}.`;
}

/** How the server has changed the picture, and how long it can be used. @param {Panel} panel */
export function afterNote({ result }) {
  const { changes, expires_at: end } = result?.job ?? {};
  const date = end ? new Date(end) : null;
  const until = date && !Number.isNaN(date.getTime()) ? date.toLocaleDateString("en", { dateStyle: "medium" }) : "";
  return [changes ? `Changed for the upload: ${changes}.` : "", until ? `It can be used until ${until}.` : ""].filter(Boolean).join(" ");
}

/** @param {Panel} panel */
export function announcement(panel) {
  if (panel.phase === "empty") return panel.problem;
  if (panel.phase === "done") return `${headline(panel)}. ${doneNote(panel)}`;
  return ["failed", "unavailable"].includes(panel.phase) ? `${headline(panel)}. ${reason(panel)}` : headline(panel);
}
