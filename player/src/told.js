/** What a tool's result tells of a video. Nothing is read out of text: that is shown as it is. */

/**
 * @typedef {object} Told
 * @property {"running" | "finished" | "failed" | "told"} phase `told`: only text came.
 * @property {Record<string, any>} job the structured content; empty if there is none.
 * @property {Record<string, any> | null} error
 * @property {string} text
 * @property {string | null} picture the result's JPEG, as a data: URI.
 */

const PICTURES = new Set(["image/jpeg", "image/png", "image/webp"]);
const BASE64 = /^[A-Za-z0-9+/]+=*$/;

/**
 * @param {any} result of a tool call
 * @returns {Told}
 */
export function read(result) {
  const blocks = Array.isArray(result?.content) ? result.content : [];
  const job = isObject(result?.structuredContent) ? result.structuredContent : {};
  const error = isObject(job.error) ? job.error : null;
  const text = blocks.filter((block) => block?.type === "text").map((block) => String(block.text)).join("\n\n");
  const image = blocks.find((b) => b?.type === "image" && PICTURES.has(b.mimeType) && BASE64.test(b.data));
  const picture = image ? `data:${image.mimeType};base64,${image.data}` : null;
  return { phase: phase(job, error, Boolean(result?.isError)), job, error, text, picture };
}

/** @returns {Told["phase"]} */
function phase(job, error, isError) {
  if (error || job.state === "failed") return "failed";
  // Completed without a link: the API is late with it, and get_job is to be asked again.
  if (job.state === "running" || job.state === "completed") return job.video?.url ? "finished" : "running";
  return isError ? "failed" : "told";
}

/**
 * What is known after another result of the same job: a later one need not repeat what was ordered.
 *
 * @param {Told | null} before
 * @param {Told} now
 * @returns {Told}
 */
export function joined(before, now) {
  if (!before || (before.job.jobid && now.job.jobid && before.job.jobid !== now.job.jobid)) return now;
  const kept = {};
  for (const name of ["jobid", "request", "typical_seconds", "created"]) {
    if (before.job[name] !== undefined) kept[name] = before.job[name];
  }
  return { ...now, job: { ...kept, ...now.job }, picture: now.picture ?? before.picture };
}

/**
 * Whether looking again may help: the way to the job is disturbed, not the job.
 *
 * @param {Told} told
 */
export function passing(told) {
  return told.phase === "failed" && told.job.state !== "failed" && (!told.error || told.error.retry === "later");
}

/** @param {unknown} value */
export function isObject(value) {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
