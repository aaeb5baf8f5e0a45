/** The player: what the host brings becomes a card, and a running job is followed until its video is here. */

import { App, PostMessageTransport } from "@modelcontextprotocol/ext-apps";
import { ended } from "./asking.js";
import { show as showButtons } from "./buttons.js";
import { choices, notice } from "./choices.js";
import { follow } from "./following.js";
import { Host } from "./host.js";
import { safe } from "./links.js";
import { at } from "./page.js";
import { show, strip, tick, unfolding } from "./screen.js";
import { Stage } from "./stage.js";
import { joined, passing, read } from "./told.js";
import * as view from "./view.js";

const app = new App({ name: "luma-ray-mcp player", version: "1" }, { availableDisplayModes: ["inline", "fullscreen"] });
const host = new Host(app);
const ending = new AbortController();
const stage = new Stage(at("video"), at("still"), fresh, (problem) => change({ problem }));

/** @type {view.Card} */
const card = { args: {}, told: null, cancelled: false, trouble: false, why: "", canLook: true, problem: null, since: performance.now() };
let following = false;
let modelKnows = false;

/** @param {Partial<view.Card>} [news] */
function change(news = {}) {
  Object.assign(card, news);
  const phase = view.phase(card);
  const buttons = choices(card, host, lookAgain);
  showButtons(at("buttons"), buttons);
  at("buttons").hidden = !buttons.length;
  // What will be there is already laid out, so that nothing moves when it comes.
  at("buttons").inert = ["ordering", "running"].includes(phase) && card.canLook;
  show(card, performance.now());
  strip(card, () => stage.again());
  const { availableDisplayModes: modes = [], displayMode } = host.context;
  at("full").hidden = phase !== "finished" || Boolean(card.problem) || !modes.includes("fullscreen");
  at("full").ariaLabel = displayMode === "fullscreen" ? "Back to the chat" : "Full screen";
}

/** @param {import("./told.js").Told} next */
function received(next) {
  const watched = card.told?.phase === "running";
  const told = joined(card.told, next);
  const { job, phase } = told;
  const elapsed = Number.isFinite(job.elapsed_seconds);
  change({ told, ...(elapsed ? { since: performance.now() - job.elapsed_seconds * 1000 } : {}) });
  if (phase === "finished" || phase === "told") {
    void stage.poster([safe(job.thumbnail_url), told.picture, safe(job.last_frame_url)]);
  }
  const url = safe(job.video?.url);
  if (phase === "finished" && url && !view.hdr(card)) stage.play(url);
  if (!watched || phase === "running" || modelKnows) return;
  modelKnows = true;
  void host.tell(...ended(view.jobid(card), told));
}

/** Follows the job of the card, if it is known and the host lets the page look. */
function followJob() {
  const jobid = view.jobid(card);
  if (!card.canLook || typeof jobid !== "string" || following) return;
  following = true;
  const look = async (seconds) => {
    const next = await host.look(jobid, seconds, ending.signal);
    card.why = passing(next) ? (next.error?.message ?? "") : "";
    return next;
  };
  const onTrouble = (trouble) => trouble !== card.trouble && change({ trouble });
  void follow({ look, onTold: received, onTrouble, signal: ending.signal }).finally(() => (following = false));
}

/** A job that could not be looked at is not lost: once more, as the person asks for it. */
async function lookAgain() {
  const next = await host.look(view.jobid(card), 0, ending.signal).catch(() => null);
  if (!next) return notice("The chat did not let the player look. Try again in a while.");
  notice("");
  received(next);
  if (next.phase === "running") followJob();
}

/** A new link to the same video, for one that no longer works. */
async function fresh() {
  const jobid = view.jobid(card);
  if (!card.canLook || !jobid) return null;
  const next = await host.look(jobid, 0, ending.signal).catch(() => null);
  if (next?.phase !== "finished") return null;
  card.told = joined(card.told, next);
  return safe(next.job.video.url);
}

app.ontoolinputpartial = (params) => change({ args: params.arguments ?? {} });
// The order goes out now; before, the model was still writing it.
app.ontoolinput = (params) => change({ args: params.arguments ?? {}, ...(card.told ? {} : { since: performance.now() }) });
app.ontoolresult = (result) => {
  card.canLook = host.canLook;
  const next = read(result);
  card.jobid ??= next.job.jobid ?? next.error?.jobid;
  // Where only the way to a known job is disturbed, it is looked for from here.
  if (passing(next) && card.canLook && view.jobid(card)) change({ trouble: true, why: next.error?.message ?? "" });
  else received(next);
  if (["ordering", "running", "told"].includes(view.phase(card))) followJob();
};
app.ontoolcancelled = () => {
  change({ cancelled: true, canLook: host.canLook });
  if (!card.told) followJob();
};
app.onhostcontextchanged = () => {
  host.dress();
  change();
};
app.onteardown = () => {
  ending.abort();
  stage.stop();
  return {};
};
at("full").onclick = () => host.display(host.context.displayMode === "fullscreen" ? "inline" : "fullscreen");

unfolding();
change();
setInterval(() => {
  if (["ordering", "running"].includes(view.phase(card))) tick(card, performance.now());
}, 1000);
app.connect(new PostMessageTransport(window.parent, window.parent)).then(
  () => {
    host.dress();
    change({ canLook: host.canLook });
  },
  () => at("headline").replaceChildren("This page shows videos inside a chat."),
);
