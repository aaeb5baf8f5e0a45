/** What the buttons say in the chat, as the person: texts that an agent can act on at once. */

import { safe } from "./links.js";

const CHOICES = ["model", "resolution", "aspect_ratio", "duration", "dynamic_range"];

/** @param {Record<string, any>} words */
const json = (words) => JSON.stringify(words);

/** @param {Record<string, any>} words @param {string[]} names */
function only(words, names) {
  return Object.fromEntries(names.filter((name) => words[name] !== undefined).map((name) => [name, words[name]]));
}

/** @param {string} jobid @param {Record<string, any>} request */
export function goOn(jobid, request) {
  const words = { image_start: jobid, ...only(request, [...CHOICES, "email"]) };
  return (
    `Continue from the last frame of this video: call generate_video with ${json(words)} and a prompt for what ` +
    "happens next (the jobid stands for its last frame). If I have not said what happens next, ask me first."
  );
}

/** @param {string | undefined} jobid @param {Record<string, any>} request */
export function anotherTake(jobid, request) {
  if (!request.prompt) {
    return `Make another take of the video ${jobid}: call generate_video with the same words, and "new_take": true.`;
  }
  return `Make another take of this video: call generate_video with ${json({ ...request, new_take: true })}`;
}

/** @param {string} jobid */
export function show(jobid) {
  return `Show me this video: call get_job with ${json({ jobid })}`;
}

/** @param {Record<string, any>} suggestion */
export function instead(suggestion) {
  return `Make this instead: call generate_video with ${json(suggestion)}`;
}

/** @param {Record<string, any>} words */
export function again(words) {
  return `Please try this order again, once: call generate_video with ${json(words)}`;
}

/** @param {string} reason */
export function change(reason) {
  return (
    `The video was not made (${json(reason)}). Propose a changed prompt that avoids this, and order it with ` +
    "generate_video when I agree."
  );
}

export const LOOK_FOR_IT =
  "Do not order the video again. Call list_jobs to see whether the order arrived, and show me its job with get_job.";

/**
 * What the model is told when a job that the page watched has ended.
 *
 * @param {string} jobid
 * @param {import("./told.js").Told} told
 * @returns {[string, Record<string, unknown>]} in words, and as facts
 */
export function ended(jobid, { job, error, phase }) {
  const url = safe(job.video?.url);
  if (phase !== "finished" || !url) {
    return [`Job ${jobid} ended without a video: ${error?.message ?? job.status ?? "no reason given"}`, { jobid, state: "failed" }];
  }
  const text = `The video of job ${jobid} is ready, and the user sees it in the player: ${url} No get_job is needed to wait for it.`;
  return [text, { jobid, state: "completed", video_url: url }];
}
