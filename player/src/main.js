/** The player: shows what the host passes on, and polls running jobs until their videos are ready. */

import { App, PostMessageTransport } from "@modelcontextprotocol/ext-apps";
import { renderButtons } from "./buttons.js";
import { VideoCard } from "./card.js";
import { describeEnd } from "./chat.js";
import { byId } from "./dom.js";
import { Host } from "./host.js";
import { makePromptExpandable, renderCard } from "./render.js";
import { isTransient, parseItems, parseResult } from "./result.js";
import { Takes } from "./takes.js";
import * as view from "./view.js";

const app = new App({ name: "luma-ray-mcp player", version: "1" }, { availableDisplayModes: ["inline", "fullscreen"] });
const host = new Host(app);
const teardown = new AbortController();
const takes = new Takes(host, teardown.signal, render);
const single = new VideoCard(host, byId("media"), teardown.signal, render, describeEndOnce);
let isModelUpdated = false;

/** @param {import("./result.js").ToolResult} result */
function describeEndOnce(result) {
  if (isModelUpdated) return;
  isModelUpdated = true;
  void host.updateModel(...describeEnd(view.jobid(single.state), result));
}

function render() {
  byId("takes").hidden = !takes.isShown;
  if (takes.isShown) {
    byId("media").hidden = true;
    takes.render();
    return;
  }
  byId("card").classList.remove("comparing");
  renderSingle(single.state);
}

/** @param {view.Card} card */
function renderSingle(card) {
  const phase = view.phase(card);
  const actions = single.listActions();
  renderButtons(byId("buttons"), actions);
  byId("buttons").hidden = !actions.length;
  // The buttons of the finished video are laid out from the start, so that nothing moves when it comes.
  byId("buttons").inert = ["ordering", "running"].includes(phase) && card.canPoll;
  renderCard(card);
  single.renderArea();
  host.renderFullscreen(byId("fullscreen"), phase === "finished" && !["blocked", "lost"].includes(card.mediaProblem ?? ""));
}

/** @param {Record<string, any>} args */
function setArguments(args) {
  single.state.args = args;
  takes.expect(args);
  render();
}

app.ontoolinputpartial = (params) => setArguments(params.arguments ?? {});
app.ontoolinput = (params) => {
  setArguments(params.arguments ?? {});
  // The order is sent now; until now the model was still writing it.
  for (const { state } of [single, ...takes.tiles.map(({ video }) => video)]) if (!state.result) state.startedAt = performance.now();
  render();
};
app.ontoolresult = (toolResult) => {
  const next = parseResult(toolResult);
  const items = parseItems(next);
  if (items.length) return takes.receive(items);
  // As for a single job: jobs that are known from the call are polled whatever disturbs their result.
  if (takes.isShown && (next.phase === "text" || isTransient(next)) && takes.startPolling()) return;
  takes.clear();
  single.receive(next);
};
app.ontoolcancelled = () => {
  if (takes.isShown && takes.startPolling()) return;
  takes.clear();
  single.state.isCancelled = true;
  single.updateHost();
  if (!single.state.result) single.startPolling();
};
app.onhostcontextchanged = () => {
  host.applyTheme();
  render();
};
app.onteardown = () => {
  teardown.abort();
  for (const { media } of [single, ...takes.tiles.map(({ video }) => video)]) media.stop();
  return {};
};
byId("fullscreen").onclick = () => host.toggleFullscreen();

makePromptExpandable();
render();
setInterval(() => {
  single.area.renderProgress(single.state, performance.now());
  takes.renderProgress();
}, 1000);
app.connect(new PostMessageTransport(window.parent, window.parent)).then(
  () => {
    host.applyTheme();
    single.updateHost();
  },
  () => byId("headline").replaceChildren("This page shows videos inside a chat."),
);
