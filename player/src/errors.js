/** What went wrong, for people: a headline for each kind of error, and what the person can do about it. */

import { API, describeInput } from "./api.js";
import * as chat from "./chat.js";
import { CHOICES } from "./table.js";

const HEADLINES = {
  invalid_arguments: "This video cannot be made like that",
  not_configured: "luma-ray-mcp is not set up yet",
  unauthorized: `The ${API.noun} was not accepted`,
  payment_required: "There is no subscription, or no credits are left",
  forbidden: "This video belongs to another account",
  access_denied: "The account may not do this",
  not_found: "This was not found",
  conflict: "This is not possible right now",
  moderated: "Content moderation rejected this",
  capacity: "All video slots are in use",
  limit_reached: "The hourly limit is reached",
  budget_reached: "The budget is used up",
  journal_unavailable: "Orders cannot be recorded right now",
  account_session: "The Luma account needs to be renewed",
  upstream: "The video service has a problem",
  network: "The video service could not be reached",
  outcome_unknown: "It is not known whether this was ordered",
  job_failed: "The video was not made",
  download_failed: "The file could not be saved",
};

/** Limits of the owner. Their message says when the next order is possible. */
export const LIMITS = ["limit_reached", "budget_reached"];

/** Where nothing was charged. */
const RETRY_HINTS = {
  later: "Trying again a little later may help.",
  after_change: "Trying again only helps after a change.",
};

/** Where there is a job. */
const POLL_HINTS = {
  later: "Looking again a little later may help. It orders nothing.",
  after_change: "Looking again only helps after a change. It orders nothing.",
};

/** What has to change first. */
const SETUP_HINTS = {
  not_configured: `Set ${API.variable} in this server's settings.`,
  unauthorized: `Check that ${API.variable} is complete and current.`,
  payment_required: "Renew the subscription or add credits.",
  journal_unavailable: "The command luma-ray-mcp doctor shows how to fix this.",
  account_session: `The owner of the account can renew it at ${API.console}. Waiting does not help.`,
};

const CHARGED = {
  no: "Nothing was charged.",
  unknown: "It is not known whether this was charged.",
};

/** @param {Record<string, any> | null} error @param {boolean} [isTake] whether it is about one of several takes */
export function headline(error, isTake = false) {
  // After an order that failed, the takes after it are not ordered.
  if (isTake && error?.kind === "conflict") return "This take was not ordered";
  return HEADLINES[error?.kind] ?? "That did not work";
}

/**
 * Whether ordering again could be charged twice. Only the server's own "no" rules that out.
 *
 * @param {Record<string, any>} error
 */
function mayBeCharged({ kind, charged }) {
  return charged !== "no" || kind === "outcome_unknown";
}

/**
 * What the error says happened. Problems are listed one by one elsewhere; then only the money is left to mention.
 *
 * @param {Record<string, any> | null} error
 * @param {string} text of the result, for one without an error object
 */
export function describeError(error, text) {
  if (!error) return text;
  if (listProblems(error).length) return CHARGED[error.charged] ?? "";
  return String(error.message ?? "");
}

/** The sentences about what is wrong with each argument. @param {Record<string, any> | null} error @returns {string[]} */
export function listProblems(error) {
  const problems = Array.isArray(error?.problems) ? error.problems : [];
  return problems.map(({ message }) => String(message ?? ""));
}

/**
 * @param {Record<string, any> | null} error
 * @param {string} [jobid] of the job that it is about
 */
export function hint(error, jobid) {
  if (!error || error.kind === "forbidden" || (LIMITS.includes(error.kind) && !jobid)) return "";
  const setup = SETUP_HINTS[error.kind];
  if (jobid) return [setup, POLL_HINTS[error.retry]].filter(Boolean).join(" ");
  if (error.kind === "job_failed") return RETRY_HINTS.after_change;
  if (mayBeCharged(error)) return "Please do not order it again until that is clear: it could be charged twice.";
  return setup ?? RETRY_HINTS[error.retry] ?? "";
}

/**
 * The one thing that the person can ask for in the chat; null if nothing would help. What may have been charged is never
 * ordered again.
 *
 * @param {Record<string, any> | null} error
 * @param {Record<string, any>} args what was ordered, as far as known
 * @param {string} [jobid] of the job that it is about
 * @returns {{ label: string, text: string } | null}
 */
export function nextStep(error, args, jobid) {
  if (!error || error.kind === "forbidden") return null;
  if (jobid) return { label: "Ask for this video", text: chat.showVideo(jobid) };
  const fits = error.kind === "budget_reached" && error.suggestion && !mayBeCharged(error);
  if (LIMITS.includes(error.kind) && !fits) return null;
  const isOver = error.kind === "job_failed" || (error.kind === "moderated" && !mayBeCharged(error));
  if (isOver) return { label: "Ask for a changed prompt", text: chat.changePrompt(error.reason ?? error.message) };
  if (mayBeCharged(error) || !RETRY_HINTS[error.retry]) return { label: "Find the order", text: chat.FIND_ORDER };
  if (error.suggestion) return { label: "Make this instead", text: chat.useSuggestion({ ...error.suggestion, ...pickTakes(args) }) };
  return args.prompt ? { label: "Try again", text: chat.tryAgain(args) } : null;
}

/** @param {Record<string, any>} args */
const pickTakes = ({ takes }) => (takes ? { takes } : {});

/**
 * A suggestion's values, and for each that differs from what was requested, from which value.
 *
 * @param {Record<string, any>} suggestion
 * @param {Record<string, any>} args
 * @returns {{ text: string, isChanged: boolean }[]}
 */
export function compareSuggestion(suggestion, args) {
  return [...CHOICES, ...API.inputs].filter((name) => suggestion[name] !== undefined).map((name) => {
    const [value, before] = [shorten(name, suggestion[name]), args[name]];
    if (before === undefined || shorten(name, before) === value) return { text: value, isChanged: false };
    return { text: `${value} (not ${shorten(name, before)})`, isChanged: true };
  });
}

/** @param {string} name @param {unknown} value */
function shorten(name, value) {
  const text = typeof value === "object" || value === true ? describeInput(name, value) : String(value);
  return text.length > 40 ? `${text.slice(0, 39)}…` : text;
}
