/** What a card shows: pure functions from the card's state, computed again whenever something changes. */

import { API, describeInput } from "./api.js";
import { formatTime, parseRange, percent, UNKNOWN_TYPICAL } from "./progress.js";
import { CHOICES } from "./table.js";

/**
 * @typedef {object} Card
 * @property {Record<string, any>} args of the tool call, as far as they have arrived
 * @property {import("./result.js").ToolResult | null} result
 * @property {string} [jobid] of the job that a failed call was about
 * @property {boolean} isTake whether it is one of several takes
 * @property {boolean} isCancelled whether the model's call was cancelled
 * @property {boolean} isDisturbed whether polling fails at the moment
 * @property {string} disturbance why it fails
 * @property {boolean} canPoll
 * @property {boolean} canPreview
 * @property {"" | "loading" | "playing"} preview of an HDR video, in SDR
 * @property {"blocked" | "lost" | "preview" | null} mediaProblem
 * @property {number} startedAt when the elapsed time starts, in milliseconds of `performance.now()`
 */

/** Arguments that are about the call and not about the video. */
const CALL_OPTIONS = new Set(["wait_seconds", "save", "new_take", "takes"]);
/** Seconds within which an order is surely accepted or rejected. */
const ORDER_SECONDS = 5;

/** @param {Card} card @returns {"ordering" | "running" | "finished" | "failed" | "text" | "cancelled"} */
export function phase({ result, isCancelled, isDisturbed }) {
  if (result) return result.phase;
  return isCancelled && !isDisturbed ? "cancelled" : "ordering";
}

/** @param {Card} card */
export function jobid({ result, args, jobid: known }) {
  return result?.job.jobid ?? result?.error?.jobid ?? known ?? args.jobid;
}

/** The job that may be running or finished, and charged; undefined if there is none or it has failed. @param {Card} card */
export function openJob(card) {
  const { job, error } = card.result ?? {};
  return job?.state === "failed" || error?.kind === "job_failed" ? undefined : jobid(card);
}

/** What was ordered, by the tool's parameters. @param {Card} card @returns {Record<string, any>} */
export function request({ result, args }) {
  if (result?.job.request) return result.job.request;
  return args.jobid || args.jobids ? {} : Object.fromEntries(Object.entries(args).filter(([name]) => !CALL_OPTIONS.has(name)));
}

/** The order to repeat after a failure: of one take, or of all. @param {Card} card @returns {Record<string, any>} */
export function order(card) {
  const takes = Number(card.args.takes);
  // Without `new_take`, the job of another take would be returned.
  if (card.isTake) return { ...request(card), new_take: true };
  return takes > 1 ? { ...request(card), takes } : request(card);
}

/** @param {Card} card */
export function options(card) {
  const args = request(card);
  const values = CHOICES.map((name) => args[name]).filter((value) => typeof value === "string");
  const inputs = API.inputs.filter((name) => args[name]).map((name) => describeInput(name, args[name]));
  return [...values, ...inputs].join(" · ");
}

/** Width divided by height. @param {Card} card */
export function aspectRatio(card) {
  const requested = /^(\d{1,2}):(\d{1,2})$/.exec(String(request(card).aspect_ratio ?? ""));
  const video = card.result?.job.video ?? {};
  const [width, height] = requested ? [Number(requested[1]), Number(requested[2])] : [Number(video.width), Number(video.height)];
  return width > 0 && height > 0 ? width / height : 16 / 9;
}

/** Whether it is a video that no browser can play. @param {Card} card */
export function isHdr(card) {
  return (card.result?.job.video?.plays_in_browser ?? API.playsInBrowser[request(card).dynamic_range]) === false;
}

/** Whether a preview can be offered, now or once the video is finished. @param {Card} card */
export function hasPreview(card) {
  return card.canPreview && isHdr(card) && ["ordering", "running", "finished"].includes(phase(card));
}

/** @param {Card} card */
export function hdrNote(card) {
  if (!isHdr(card) || phase(card) === "failed") return "";
  const hasFrames = request(card).dynamic_range === "hdr_exr" || card.result?.job.exr_zip_url;
  const frames = API.formats.hdr_exr.includes("ZIP") ? "come as a ZIP" : "come separately";
  return (
    `${API.formats.hdr}: no browser can play it. Download it and open it in VLC, mpv or an HDR player.` +
    (hasFrames ? ` The EXR frames for grading ${frames}.` : "")
  );
}

/** Whether the order may still be on its way. @param {Card} card @param {number} now */
function isOrdering(card, now) {
  return phase(card) === "ordering" && !card.args.jobid && (now - card.startedAt) / 1000 < ORDER_SECONDS;
}

/** @param {Card} card @param {number} now */
export function headline(card, now) {
  switch (phase(card)) {
    case "ordering":
      if (card.args.jobid) return "Looking for the video…";
      return isOrdering(card, now) ? "Ordering…" : "Waiting for the video…";
    case "running":
      return card.result?.job.state === "completed" ? "Done. Fetching the video…" : "Your video is being made";
    case "cancelled":
      return "The wait was cancelled";
    default:
      return "";
  }
}

/** @param {Card} card */
export function subheadline(card) {
  if (phase(card) === "running" && !card.canPoll) return "Ask for this video again to see it.";
  if (phase(card) !== "cancelled") return "";
  return "If the order was already sent, the video is still being made.";
}

/** Seconds in which it usually finishes: from the job, or before there is one from the table. @param {Card} card */
export function typicalSeconds(card) {
  if (phase(card) !== "ordering") return parseRange(card.result?.job.typical_seconds);
  const { model, dynamic_range: dynamicRange, resolution } = { ...API.defaults, ...request(card) };
  const cheapest = API.cheapest[`${model} ${dynamicRange}`];
  return card.args.jobid ? null : parseRange(API.typical[resolution ?? cheapest]);
}

/** @param {Card} card @param {number} now */
export function times(card, now) {
  if (!["ordering", "running"].includes(phase(card)) || (phase(card) === "running" && !card.canPoll)) return "";
  const elapsed = formatTime((now - card.startedAt) / 1000);
  if (card.isDisturbed) return `${elapsed} · Reconnecting…`;
  const typical = isOrdering(card, now) ? null : typicalSeconds(card);
  return typical ? `${elapsed} · usually ${formatTime(typical[0])} to ${formatTime(typical[1])}` : elapsed;
}

/** Percentage of the way; null while it is not known. @param {Card} card @param {number} now */
export function progress(card, now) {
  if (isOrdering(card, now) || (phase(card) === "ordering" && !typicalSeconds(card))) return null;
  if (!["ordering", "running"].includes(phase(card))) return null;
  const [low, high] = typicalSeconds(card) ?? UNKNOWN_TYPICAL;
  return percent((now - card.startedAt) / 1000, (low + high) / 2);
}

/** @param {Card} card */
export function statusNote(card) {
  if (card.isDisturbed && card.disturbance) return card.disturbance;
  if (phase(card) === "running" && !card.canPoll) return `This chat does not let the player check the job. Job ${jobid(card)}`;
  if (phase(card) !== "running") return "";
  const first = card.isCancelled ? "The wait was cancelled, but not the video." : "You can keep chatting.";
  return `${first} The video appears here when it is ready.`;
}

/** @param {Card[]} cards */
export function phaseOfSeveral(cards) {
  const phases = cards.map(phase);
  const order = /** @type {const} */ (["ordering", "running", "finished"]);
  return order.find((each) => phases.includes(each)) ?? "failed";
}

/** @param {Card[]} cards @param {boolean} canKeep */
export function statusNoteOfSeveral(cards, canKeep) {
  const running = cards.filter((card) => phase(card) === "running");
  if (running.some((card) => !card.canPoll)) return "This chat does not let the player check the jobs.";
  if (running.length) return "You can keep chatting. The videos appear here when they are ready.";
  const isOver = phaseOfSeveral(cards) === "finished";
  return canKeep && isOver ? "Keep the take that you like best. The others are not deleted." : "";
}

/** @param {Card[]} cards */
export function announcementOfSeveral(cards) {
  const finished = cards.filter((card) => phase(card) === "finished").length;
  const failed = cards.filter((card) => phase(card) === "failed").length;
  const ended = failed ? `, ${failed} failed` : "";
  return phaseOfSeveral(cards) === "ordering" ? "" : `${finished} of ${cards.length} videos are ready${ended}.`;
}

/** @param {Card} card */
export function facts(card) {
  const { elapsed_seconds: elapsed, credits_used: credits, price } = card.result?.job ?? {};
  if (phase(card) !== "finished") return "";
  const used = Number.isFinite(credits) ? `${credits} ${credits === 1 ? "credit" : "credits"}` : "";
  // A price in dollars, by the price list: what was billed is not known.
  const listed = Number.isFinite(price) ? `price $${price.toFixed(2)}` : "";
  return [Number.isFinite(elapsed) ? `Made in ${formatTime(elapsed)}` : "", used || listed].filter(Boolean).join(" · ");
}

/**
 * Why nothing plays, and the label of a button that tries again.
 *
 * @param {Card} card
 * @returns {{ text: string, action?: string }}
 */
export function banner(card) {
  if (card.preview === "loading") return { text: "Loading the SDR preview…" };
  switch (card.mediaProblem) {
    case "preview":
      return { text: "The SDR preview could not be loaded.", action: "Try again" };
    case "blocked":
      return { text: "This chat does not show videos from other sites." };
    case "lost": {
      const text = "The video could not be loaded: its link may have expired.";
      return card.canPoll ? { text, action: "Load again" } : { text: `${text} Ask for this video again to get a new link.` };
    }
    default:
      return { text: "" };
  }
}

/** @param {Card} card */
export function isSimulated({ result }) {
  return result?.job.simulated === true;
}
