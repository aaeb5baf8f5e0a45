/** What is to be seen of a card: pure words, worked out anew whenever something changes. */

import { clock, percent, range, UNKNOWN_TYPICAL } from "./progress.js";
import { CHEAPEST, DEFAULTS, TYPICAL } from "./table.js";

/**
 * @typedef {object} Card
 * @property {Record<string, any>} args what the tool was called with, as far as it is here
 * @property {import("./told.js").Told | null} told
 * @property {string} [jobid] of the job that a failed call was about
 * @property {boolean} cancelled the wait of the model's call
 * @property {boolean} trouble looking does not work just now
 * @property {string} why of the trouble
 * @property {boolean} canLook
 * @property {"blocked" | "lost" | null} problem of the video on the stage
 * @property {number} since when elapsed time counts, in milliseconds of `performance.now()`
 */

const OPTIONS = ["model", "resolution", "aspect_ratio", "duration", "dynamic_range"];
const IMAGES = { image_start: "first frame given", image_end: "last frame given", image_character: "character given" };
const CALL_ONLY = new Set(["wait_seconds", "save", "new_take"]);
/** Seconds in which an order is surely placed, or refused. */
const ORDERED_IN = 5;

/** @param {Card} card @returns {"ordering" | "running" | "finished" | "failed" | "told" | "cancelled"} */
export function phase({ told, cancelled, trouble }) {
  return told ? told.phase : cancelled && !trouble ? "cancelled" : "ordering";
}

/** @param {Card} card */
export function jobid({ told, args, jobid: named }) {
  return told?.job.jobid ?? told?.error?.jobid ?? named ?? args.jobid;
}

/** The job that may still run or be finished, and be paid; undefined if there is none, or it has failed. @param {Card} card */
export function openJob(card) {
  const { job, error } = card.told ?? {};
  return job?.state === "failed" || error?.kind === "job_failed" ? undefined : jobid(card);
}

/** What was ordered, by the tool's own parameters. @param {Card} card @returns {Record<string, any>} */
export function words({ told, args }) {
  if (told?.job.request) return told.job.request;
  return args.jobid ? {} : Object.fromEntries(Object.entries(args).filter(([name]) => !CALL_ONLY.has(name)));
}

/** @param {Card} card */
export function options(card) {
  const said = words(card);
  const images = Object.keys(IMAGES).filter((name) => said[name]).map((name) => IMAGES[name]);
  return [...OPTIONS.map((name) => said[name]).filter((value) => typeof value === "string"), ...images].join(" · ");
}

/** Width to height. @param {Card} card */
export function ratio(card) {
  const asked = /^(\d{1,2}):(\d{1,2})$/.exec(String(words(card).aspect_ratio ?? ""));
  const { width, height } = card.told?.job.video ?? {};
  const [wide, high] = asked ? [Number(asked[1]), Number(asked[2])] : [Number(width), Number(height)];
  return wide > 0 && high > 0 ? wide / high : 16 / 9;
}

/** Whether browsers cannot show it. @param {Card} card */
export function hdr(card) {
  const plays = card.told?.job.video?.plays_in_browser;
  return plays === undefined ? String(words(card).dynamic_range ?? "").startsWith("hdr") : !plays;
}

/** @param {Card} card */
export function explains(card) {
  if (!hdr(card) || phase(card) === "failed") return "";
  const frames = words(card).dynamic_range === "hdr_exr" || card.told?.job.exr_zip_url;
  return (
    "HDR video (HEVC Main 10, HDR10/PQ): no browser can show it. Download it and open it in VLC, mpv or an HDR " +
    `player.${frames ? " The EXR frames for grading come as a ZIP." : ""}`
  );
}

/** Whether the order may still be on its way. @param {Card} card @param {number} now */
function placing(card, now) {
  return phase(card) === "ordering" && !card.args.jobid && (now - card.since) / 1000 < ORDERED_IN;
}

/** @param {Card} card @param {number} now */
export function headline(card, now) {
  const states = {
    ordering: card.args.jobid ? "Looking for the video…" : placing(card, now) ? "Ordering…" : "Waiting for the video…",
    running: card.told?.job.state === "completed" ? "Made. Fetching the video…" : "Your video is being made",
    cancelled: "The wait was cancelled",
  };
  return states[phase(card)] ?? "";
}

/** @param {Card} card */
export function under(card) {
  if (phase(card) === "running" && !card.canLook) return "Ask for this video again to see it.";
  if (phase(card) !== "cancelled") return "";
  return "If the order had already gone out, the video is still being made.";
}

/** From when until when it usually ends: as the job tells it, or before there is one, as such orders do. @param {Card} card */
export function usual(card) {
  if (phase(card) !== "ordering") return range(card.told?.job.typical_seconds);
  const { model, dynamic_range: dynamicRange, resolution } = { ...DEFAULTS, ...words(card) };
  return card.args.jobid ? null : range(TYPICAL[resolution ?? CHEAPEST[`${model} ${dynamicRange}`]]);
}

/** @param {Card} card @param {number} now */
export function times(card, now) {
  if (!["ordering", "running"].includes(phase(card)) || (phase(card) === "running" && !card.canLook)) return "";
  const passed = clock((now - card.since) / 1000);
  if (card.trouble) return `${passed} · Reconnecting…`;
  const span = placing(card, now) ? null : usual(card);
  return span ? `${passed} · usually ${clock(span[0])} to ${clock(span[1])}` : passed;
}

/** Per cent of the way; null while nobody knows. @param {Card} card @param {number} now */
export function done(card, now) {
  if (placing(card, now) || (phase(card) === "ordering" && !usual(card))) return null;
  if (!["ordering", "running"].includes(phase(card))) return null;
  const [low, high] = usual(card) ?? UNKNOWN_TYPICAL;
  return percent((now - card.since) / 1000, (low + high) / 2);
}

/** @param {Card} card */
export function meanwhile(card) {
  if (card.trouble && card.why) return card.why;
  if (phase(card) === "running" && !card.canLook) return `This chat does not let the player look. Job ${jobid(card)}`;
  if (phase(card) !== "running") return "";
  const first = card.cancelled ? "The wait was cancelled, but not the video." : "You can go on chatting.";
  return `${first} The video appears here when it is ready.`;
}

/** @param {Card} card */
export function facts(card) {
  const { elapsed_seconds: took, credits_used: credits } = card.told?.job ?? {};
  if (phase(card) !== "finished") return "";
  const used = Number.isFinite(credits) ? `${credits} ${credits === 1 ? "credit" : "credits"}` : "";
  return [Number.isFinite(took) ? `Made in ${clock(took)}` : "", used].filter(Boolean).join(" · ");
}

/** @param {Card} card */
export function strip(card) {
  if (card.problem === "blocked") return "This chat does not show videos from outside.";
  if (card.problem !== "lost") return "";
  const end = card.canLook ? "" : " Ask for this video again to get a fresh link.";
  return `The video could not be loaded: its link may have expired.${end}`;
}

/** @param {Card} card */
export function simulated({ told }) {
  return /\bSimulated:/.test(String(told?.job.note ?? ""));
}
