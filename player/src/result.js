/** Parses a tool's result. All facts come from its structured content; its text is only ever shown as it is. */

/**
 * @typedef {object} ToolResult
 * @property {"running" | "finished" | "failed" | "text"} phase `text`: there is nothing but text.
 * @property {Record<string, any>} job the structured content; empty if there is none.
 * @property {Record<string, any> | null} error
 * @property {string} text
 * @property {string | null} picture the result's thumbnail as a data: URI. A contact sheet is none.
 */

const PICTURE_TYPES = new Set(["image/jpeg", "image/png", "image/webp"]);
export const BASE64 = /^[A-Za-z0-9+/]+=*$/;

/**
 * @param {any} result of a tool call
 * @returns {ToolResult}
 */
export function parseResult(result) {
  const blocks = Array.isArray(result?.content) ? result.content : [];
  const job = isObject(result?.structuredContent) ? result.structuredContent : {};
  const error = isObject(job.error) ? job.error : null;
  const text = blocks.filter((block) => block?.type === "text").map((block) => String(block.text)).join("\n\n");
  const image = blocks.find((block) => block?.type === "image" && PICTURE_TYPES.has(block.mimeType) && BASE64.test(block.data));
  const isThumbnail = image && !job.contact_sheet;
  const picture = isThumbnail ? `data:${image.mimeType};base64,${image.data}` : null;
  return { phase: resultPhase(job, error, Boolean(result?.isError)), job, error, text, picture };
}

/** @returns {ToolResult["phase"]} */
function resultPhase(job, error, isError) {
  if (error || job.state === "failed") return "failed";
  // A completed job without a link is still running for the player: the API adds the link a little later.
  if (job.state === "running" || job.state === "completed") return job.video?.url ? "finished" : "running";
  return isError ? "failed" : "text";
}

/**
 * The results of a call about several jobs, in the order of the takes; empty for a call about one. A take that was not
 * ordered has only an error.
 *
 * @param {ToolResult} result
 * @returns {{ number: number, isTake: boolean, result: ToolResult }[]}
 */
export function parseItems({ job }) {
  const jobs = Array.isArray(job.jobs) ? job.jobs.filter(isObject) : [];
  const failedOrders = Array.isArray(job.failed_orders) ? job.failed_orders.filter(isObject) : [];
  const contents = [...jobs, ...failedOrders.map(({ take, error }) => ({ take, error: isObject(error) ? error : {} }))];
  const items = contents.map((content, index) => {
    const isTake = Number.isInteger(content.take);
    return { number: isTake ? content.take : index + 1, isTake, result: parseResult({ structuredContent: content }) };
  });
  return items.sort((one, other) => one.number - other.number);
}

/**
 * Combines two results of the same job: the later one need not repeat what was ordered.
 *
 * @param {ToolResult | null} before
 * @param {ToolResult} now
 * @returns {ToolResult}
 */
export function mergeResults(before, now) {
  if (!before || (before.job.jobid && now.job.jobid && before.job.jobid !== now.job.jobid)) return now;
  const kept = {};
  for (const name of ["jobid", "request", "typical_seconds", "created", "simulated"]) {
    if (before.job[name] !== undefined) kept[name] = before.job[name];
  }
  return { ...now, job: { ...kept, ...now.job }, picture: now.picture ?? before.picture };
}

/**
 * Whether polling again may help: the connection to the job is disturbed, not the job.
 *
 * @param {ToolResult} result
 */
export function isTransient(result) {
  return result.phase === "failed" && result.job.state !== "failed" && (!result.error || result.error.retry === "later");
}

/** @param {unknown} value */
export function isObject(value) {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
