/** The messages that the buttons send into the chat in the user's name. An agent can act on each at once. */

import { safeUrl } from "./links.js";
import { CHOICES } from "./table.js";

/** @param {Record<string, any>} args */
const toJson = (args) => JSON.stringify(args);

/** @param {Record<string, any>} args @param {string[]} names */
function pick(args, names) {
  return Object.fromEntries(names.filter((name) => args[name] !== undefined).map((name) => [name, args[name]]));
}

/** @param {string} jobid @param {Record<string, any>} request */
export function continueVideo(jobid, request) {
  const args = { image_start: jobid, ...pick(request, [...CHOICES, "email"]) };
  return (
    `Continue from the last frame of this video: call generate_video with ${toJson(args)} and a prompt for what ` +
    "happens next (the jobid stands for its last frame). If I have not told you what happens next, ask me first."
  );
}

/** @param {string | undefined} jobid @param {Record<string, any>} request */
export function newTake(jobid, request) {
  if (!request.prompt) {
    return `Make another take of the video ${jobid}: call generate_video with the same arguments and "new_take": true.`;
  }
  return `Make another take of this video: call generate_video with ${toJson({ ...request, new_take: true })}`;
}

/** @param {Record<string, any>} request of the video that the person has seen */
export function startFromPicture(request) {
  const args = { use_as: "image_start", ...pick(request, ["aspect_ratio", "email"]) };
  return `I want to start a new video from my own picture: call add_picture with ${toJson(args)}, so that I can upload it.`;
}

/** What a picture is for, within a sentence. @param {string} title such as "First frame" or "A character to show" */
export function describeUse(title) {
  return `the ${title.replace(/^an? /i, "").toLowerCase()}`;
}

/**
 * Names an uploaded picture.
 *
 * @param {string} asset its reference
 * @param {string} title of what it is for, such as "First frame"
 * @param {string | null} ratio of the clip that it was cropped for
 */
export function useOwnPicture(asset, title, ratio) {
  return `Use my picture as ${describeUse(title)}${ratio ? ` of a ${ratio} clip` : ""}: ${asset}`;
}

/**
 * Describes an uploaded picture for the model.
 *
 * @param {Record<string, string>} facts what it is for, and the arguments that use it
 * @returns {[string, Record<string, unknown>]} as text and as facts
 */
export function describeOwnPicture({ use_as: use, ...args }) {
  return [`The user has uploaded a picture. To use it, call generate_video with ${toJson(args)} and a prompt.`, { use_as: use, ...args }];
}

/** @param {string} jobid */
export function showVideo(jobid) {
  return `Show me this video: call get_job with ${toJson({ jobid })}`;
}

/** @param {string[]} jobids */
export function showVideos(jobids) {
  return `Show me these videos: call get_job with ${toJson({ jobids })}`;
}

/** @param {number} take @param {string} jobid */
export function keepTake(take, jobid) {
  return `I keep take ${take}: job ${jobid}. Use this one from now on. Do not delete the other takes.`;
}

/** @param {Record<string, any>} suggestion */
export function useSuggestion(suggestion) {
  return `Make this instead: call generate_video with ${toJson(suggestion)}`;
}

/** @param {Record<string, any>} args */
export function tryAgain(args) {
  return `Please try this order again, once: call generate_video with ${toJson(args)}`;
}

/** @param {string} reason */
export function changePrompt(reason) {
  return (
    `The video was not made (${toJson(reason)}). Propose a changed prompt that avoids this, and order it with ` +
    "generate_video when I agree."
  );
}

export const FIND_ORDER =
  "Do not order the video again. Call list_jobs to see whether the order arrived, and show me its job with get_job.";

/**
 * What the model is told when a job that the player has polled ends.
 *
 * @param {string} jobid
 * @param {import("./result.js").ToolResult} result
 * @returns {[string, Record<string, unknown>]} as text and as facts
 */
export function describeEnd(jobid, { job, error, phase }) {
  const url = safeUrl(job.video?.url);
  if (phase !== "finished" || !url) {
    return [`Job ${jobid} ended without a video: ${error?.message ?? job.status ?? "no reason given"}`, { jobid, state: "failed" }];
  }
  const text = `The video of job ${jobid} is ready, and the user sees it in the player: ${url} There is no need to wait for it with get_job.`;
  return [text, { jobid, state: "completed", video_url: url }];
}

/**
 * What the model is told when the last of several jobs has ended.
 *
 * @param {[string, string, import("./result.js").ToolResult][]} ends each with a title and the jobid
 * @returns {[string, Record<string, unknown>]} as text and as facts
 */
export function describeEnds(ends) {
  const descriptions = ends.map(([title, jobid, result]) => ({ title, end: describeEnd(jobid, result) }));
  const text = descriptions.map(({ title, end }) => `${title}: ${end[0]}`).join("\n");
  return [text, { jobs: descriptions.map(({ end }) => end[1]) }];
}
