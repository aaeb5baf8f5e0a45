/** What went wrong, for people: a headline per kind of error, and what the person can do about it. */

import * as asking from "./asking.js";

const HEADLINES = {
  invalid_arguments: "This video cannot be made like that",
  not_configured: "luma-ray-mcp is not set up yet",
  unauthorized: "The API token was not accepted",
  payment_required: "There is no subscription, or no credit left",
  forbidden: "This video belongs to another account",
  not_found: "This was not found",
  conflict: "Not possible right now",
  moderated: "Content moderation refused this",
  capacity: "All video slots are in use",
  limit_reached: "The hourly limit is reached",
  account_session: "The Luma account has to be added again",
  upstream: "The video service has a problem",
  network: "The video service could not be reached",
  outcome_unknown: "Nobody knows yet whether this was ordered",
  job_failed: "The video was not made",
};

/** Where nothing was ordered. */
const HINTS = {
  later: "Trying again a little later may help.",
  after_change: "Trying again helps only after a change.",
};

/** Where there is a job. */
const LOOKING = {
  later: "Looking again a little later may help. It orders nothing.",
  after_change: "Looking again helps only after a change. It orders nothing.",
};

/** @param {Record<string, any> | null} error */
export function headline(error) {
  return HEADLINES[error?.kind] ?? "That did not work";
}

/**
 * Whether it was perhaps ordered: only where the server says that an order can be repeated, it surely was not.
 *
 * @param {Record<string, any>} error
 */
function uncertain({ kind, retry, status }) {
  // Without a status it was this server that failed, nobody knows at which step.
  return kind === "outcome_unknown" || !HINTS[retry] || (kind === "upstream" && !status);
}

/**
 * @param {Record<string, any> | null} error
 * @param {string} [jobid] of the job that it is about
 */
export function hint(error, jobid) {
  // The message of a limit says itself from when on an order can be placed.
  if (!error || error.kind === "forbidden" || (error.kind === "limit_reached" && !jobid)) return "";
  if (jobid) return LOOKING[error.retry] ?? "";
  if (uncertain(error)) return "Please do not order it again before that is clear: it could be paid twice.";
  return HINTS[error.retry];
}

/**
 * What the person can ask for in the chat; null if nothing would help. What may be paid is never ordered again.
 *
 * @param {Record<string, any> | null} error
 * @param {Record<string, any>} words what was ordered, as far as known
 * @param {string} [jobid] of the job that it is about
 * @returns {{ label: string, text: string } | null}
 */
export function help(error, words, jobid) {
  if (!error || error.kind === "forbidden") return null;
  if (jobid) return { label: "Ask for this video", text: asking.show(jobid) };
  if (error.kind === "limit_reached") return null;
  if (uncertain(error)) return { label: "Look for it", text: asking.LOOK_FOR_IT };
  if (error.kind === "job_failed" || error.kind === "moderated") {
    return { label: "Ask for a changed prompt", text: asking.change(error.message) };
  }
  if (error.suggestion) return { label: "Make this instead", text: asking.instead(error.suggestion) };
  return words.prompt ? { label: "Try again", text: asking.again(words) } : null;
}

/**
 * A problem, and the values that would do, where its message does not name them all.
 *
 * @param {{ message?: string, allowed?: string[] }} problem
 */
export function told({ message, allowed }) {
  const text = String(message ?? "");
  const values = Array.isArray(allowed) ? allowed.map(String) : [];
  return values.every((value) => text.includes(value)) ? text : `${text} Allowed: ${values.join(", ")}.`;
}

/** What a suggestion's reader cares for; the rest is for the agent. */
const READ = ["model", "resolution", "aspect_ratio", "duration", "dynamic_range", "image_start", "image_end", "image_character"];

/**
 * A suggestion in words: each value, and where it differs from what was asked, from what.
 *
 * @param {Record<string, any>} suggestion
 * @param {Record<string, any>} words
 * @returns {{ text: string, changed: boolean }[]}
 */
export function differences(suggestion, words) {
  return READ.filter((name) => suggestion[name] !== undefined).map((name) => {
    const [value, before] = [shown(suggestion[name]), words[name]];
    if (before === undefined || shown(before) === value) return { text: value, changed: false };
    return { text: `${value} (not ${shown(before)})`, changed: true };
  });
}

/** @param {unknown} value */
function shown(value) {
  const text = String(value);
  return text.length > 40 ? `${text.slice(0, 39)}…` : text;
}
