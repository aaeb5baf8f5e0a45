/** The player: shows what the host passes on as a card, and polls a running job until its video is ready. */

import { App, PostMessageTransport } from "@modelcontextprotocol/ext-apps";
import { listActions, showNotice } from "./actions.js";
import { renderButtons } from "./buttons.js";
import { describeEnd } from "./chat.js";
import { byId } from "./dom.js";
import { Host } from "./host.js";
import { safeUrl } from "./links.js";
import { MediaArea } from "./media.js";
import { pollUntilFinished } from "./polling.js";
import { makePromptExpandable, renderCard, renderMediaProblem, renderProgress } from "./render.js";
import { isTransient, mergeResults, parseResult } from "./result.js";
import * as view from "./view.js";

const app = new App({ name: "luma-ray-mcp player", version: "1" }, { availableDisplayModes: ["inline", "fullscreen"] });
const host = new Host(app);
const teardown = new AbortController();
const media = new MediaArea(byId("video"), byId("still"), fetchVideoUrl, (mediaProblem) => update({ mediaProblem }));

/** @type {view.Card} */
const card = {
  args: {},
  result: null,
  isCancelled: false,
  isDisturbed: false,
  disturbance: "",
  canPoll: true,
  mediaProblem: null,
  startedAt: performance.now(),
};
let isPolling = false;
let isModelUpdated = false;

/** Changes the card and renders it. @param {Partial<view.Card>} [changes] */
function update(changes = {}) {
  Object.assign(card, changes);
  const phase = view.phase(card);
  const actions = listActions(card, host, pollOnce);
  renderButtons(byId("buttons"), actions);
  byId("buttons").hidden = !actions.length;
  // The buttons of the finished video are laid out from the start, so that nothing moves when it comes.
  byId("buttons").inert = ["ordering", "running"].includes(phase) && card.canPoll;
  renderCard(card, performance.now());
  renderMediaProblem(card, () => media.retry());
  const { availableDisplayModes: modes = [], displayMode } = host.context;
  byId("fullscreen").hidden = phase !== "finished" || Boolean(card.mediaProblem) || !modes.includes("fullscreen");
  byId("fullscreen").ariaLabel = displayMode === "fullscreen" ? "Back to the chat" : "Full screen";
}

/** @param {import("./result.js").ToolResult} next */
function applyResult(next) {
  const wasRunning = card.result?.phase === "running";
  const result = mergeResults(card.result, next);
  const { job, phase } = result;
  if (Number.isFinite(job.elapsed_seconds)) card.startedAt = performance.now() - job.elapsed_seconds * 1000;
  update({ result });
  if (phase === "finished" || phase === "text") {
    void media.showPoster([safeUrl(job.thumbnail_url), result.picture, safeUrl(job.last_frame_url)]);
  }
  const url = safeUrl(job.video?.url);
  if (phase === "finished" && url && !view.isHdr(card)) media.load(url);
  if (!wasRunning || phase === "running" || isModelUpdated) return;
  isModelUpdated = true;
  void host.updateModel(...describeEnd(view.jobid(card), result));
}

/** Polls the card's job, if it is known and the host allows it. */
function startPolling() {
  const jobid = view.jobid(card);
  if (!card.canPoll || typeof jobid !== "string" || isPolling) return;
  isPolling = true;
  const poll = async (seconds) => {
    const next = await host.getJob(jobid, seconds, teardown.signal);
    card.disturbance = isTransient(next) ? (next.error?.message ?? "") : "";
    return next;
  };
  const onConnection = (isDisturbed) => isDisturbed !== card.isDisturbed && update({ isDisturbed });
  void pollUntilFinished({ poll, onResult: applyResult, onConnection, signal: teardown.signal }).finally(() => (isPolling = false));
}

/** Polls once more when the person asks for it: a job that could not be polled is not lost. */
async function pollOnce() {
  const next = await host.getJob(view.jobid(card), 0, teardown.signal).catch(() => null);
  if (!next) return showNotice("The chat did not let the player check the job. Try again in a while.");
  showNotice("");
  applyResult(next);
  if (next.phase === "running") startPolling();
}

/** A new link to the same video, in place of one that no longer works. */
async function fetchVideoUrl() {
  const jobid = view.jobid(card);
  if (!card.canPoll || !jobid) return null;
  const next = await host.getJob(jobid, 0, teardown.signal).catch(() => null);
  if (next?.phase !== "finished") return null;
  card.result = mergeResults(card.result, next);
  return safeUrl(next.job.video.url);
}

app.ontoolinputpartial = (params) => update({ args: params.arguments ?? {} });
app.ontoolinput = (params) => {
  // The order is sent now; until now the model was still writing it.
  if (!card.result) card.startedAt = performance.now();
  update({ args: params.arguments ?? {} });
};
app.ontoolresult = (toolResult) => {
  card.canPoll = host.canPoll;
  const next = parseResult(toolResult);
  card.jobid ??= next.job.jobid ?? next.error?.jobid;
  // If only the connection to a known job is disturbed, the player polls it itself.
  if (isTransient(next) && card.canPoll && view.jobid(card)) update({ isDisturbed: true, disturbance: next.error?.message ?? "" });
  else applyResult(next);
  if (["ordering", "running", "text"].includes(view.phase(card))) startPolling();
};
app.ontoolcancelled = () => {
  update({ isCancelled: true, canPoll: host.canPoll });
  if (!card.result) startPolling();
};
app.onhostcontextchanged = () => {
  host.applyTheme();
  update();
};
app.onteardown = () => {
  teardown.abort();
  media.stop();
  return {};
};
byId("fullscreen").onclick = () => host.setDisplayMode(host.context.displayMode === "fullscreen" ? "inline" : "fullscreen");

makePromptExpandable();
update();
setInterval(() => {
  if (["ordering", "running"].includes(view.phase(card))) renderProgress(card, performance.now());
}, 1000);
app.connect(new PostMessageTransport(window.parent, window.parent)).then(
  () => {
    host.applyTheme();
    update({ canPoll: host.canPoll });
  },
  () => byId("headline").replaceChildren("This page shows videos inside a chat."),
);
