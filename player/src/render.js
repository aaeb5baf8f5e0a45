/** Puts a card's state on the page. */

import { byId, createElement, setText, setTextOrHide } from "./dom.js";
import * as errors from "./errors.js";
import * as view from "./view.js";

const ANNOUNCEMENTS = { running: "The video is being made.", finished: "The video is ready.", cancelled: "The wait was cancelled." };
/** Seconds between two updates of the progress for assistive technology. */
const ANNOUNCE_INTERVAL = 15;

let furthest = 0;
let announcedAt = -Infinity;

/** Renders what changes with time. @param {view.Card} card @param {number} now */
export function renderProgress(card, now) {
  setText("headline", view.headline(card, now));
  setText("times", view.times(card, now));
  const percent = view.progress(card, now);
  const bar = byId("bar");
  bar.classList.toggle("unknown", percent === null);
  if (percent === null) return;
  furthest = Math.max(furthest, percent);
  byId("filled").style.inlineSize = `${furthest.toFixed(2)}%`;
  if (now - announcedAt < ANNOUNCE_INTERVAL * 1000) return;
  announcedAt = now;
  bar.setAttribute("aria-valuenow", String(Math.round(furthest)));
  bar.setAttribute("aria-valuetext", view.times(card, now));
}

/** Renders everything but the buttons. @param {view.Card} card @param {number} now */
export function renderCard(card, now) {
  const phase = view.phase(card);
  const root = byId("card");
  if (phase === "failed" && root.dataset.phase === "running") keepHeight();
  root.dataset.phase = phase;
  root.setAttribute("aria-busy", String(phase === "ordering"));
  root.classList.toggle("tall", view.aspectRatio(card) <= 1);
  root.style.setProperty("--ratio", view.aspectRatio(card).toFixed(4));
  byId("media").hidden = phase === "failed" || (phase === "text" && !card.result?.picture);
  byId("overlay").hidden = !["ordering", "running", "cancelled"].includes(phase);
  byId("bar").hidden = phase === "cancelled" || (phase === "running" && !card.canPoll);
  renderProgress(card, now);
  setTextOrHide("subheadline", view.subheadline(card));
  renderPrompt(String(view.request(card).prompt ?? ""));
  setText("options", view.options(card));
  setTextOrHide("hdr-note", view.hdrNote(card));
  setTextOrHide("status-note", view.statusNote(card));
  setText("facts", view.facts(card));
  byId("hdr").hidden = !view.isHdr(card);
  byId("simulated").hidden = !view.isSimulated(card);
  byId("simulated").title = card.result?.job.note ?? "";
  renderSavedFiles(card);
  renderError(card);
  const announcement = phase === "failed" ? errors.headline(card.result?.error ?? null) : ANNOUNCEMENTS[phase];
  if (announcement) setText("announcement", announcement);
}

/** An error takes the height of the video that will not come, so that the chat does not jump. */
function keepHeight() {
  byId("error").style.minBlockSize = `${byId("media").getBoundingClientRect().height}px`;
  byId("error").classList.add("instead");
}

/** @param {string} text */
function renderPrompt(text) {
  const more = byId("more");
  setText("prompt", text);
  // Whether it fits is only known once it is drawn.
  if (more.ariaExpanded !== "true") more.hidden = byId("prompt").scrollHeight <= byId("prompt").clientHeight + 1;
}

/** Lets the person expand a long prompt. */
export function makePromptExpandable() {
  const more = byId("more");
  more.onclick = () => {
    const isExpanded = more.ariaExpanded !== "true";
    more.ariaExpanded = String(isExpanded);
    more.textContent = isExpanded ? "less" : "more";
    byId("prompt").classList.toggle("expanded", isExpanded);
  };
  new ResizeObserver(() => renderPrompt(byId("prompt").textContent)).observe(byId("card"));
}

/** @param {view.Card} card */
function renderSavedFiles({ result }) {
  const files = Array.isArray(result?.job.saved_files) ? result.job.saved_files : [];
  // A path is read from the left even where the text around it is not.
  const path = (file) => Object.assign(createElement("bdi", String(file)), { dir: "ltr" });
  const lines = files.map((file) => createElement("li", "Saved: ", path(file)));
  if (result?.job.save_problem) lines.push(createElement("li", `Not saved: ${result.job.save_problem}`));
  byId("saved").replaceChildren(...lines);
  byId("saved").hidden = !lines.length;
}

/** Renders an error, or the text of a result that has nothing else. @param {view.Card} card */
function renderError(card) {
  const { result } = card;
  const isText = result?.phase === "text";
  const isShown = isText || result?.phase === "failed";
  byId("error").hidden = !isShown;
  if (!isShown) return;
  const { error } = result;
  byId("error").classList.toggle("plain", isText);
  setTextOrHide("error-title", isText ? "" : errors.headline(error));
  setTextOrHide("reason", errors.describeError(error, result.text));
  const problems = errors.listProblems(error);
  byId("problems").replaceChildren(...problems.map((problem) => createElement("li", problem)));
  byId("problems").hidden = !problems.length;
  const values = error?.suggestion ? errors.compareSuggestion(error.suggestion, view.request(card)) : [];
  const marked = values.flatMap(({ text, isChanged }, index) => [index ? " · " : " ", isChanged ? createElement("strong", text) : text]);
  byId("suggestion").replaceChildren("This would work:", ...marked);
  byId("suggestion").hidden = !values.length;
  setTextOrHide("hint", errors.hint(error, view.openJob(card)));
}

/** Renders why a video does not play, and a way to try again. @param {view.Card} card @param {() => unknown} retry */
export function renderMediaProblem(card, retry) {
  const text = view.mediaProblem(card);
  const banner = byId("media-problem");
  banner.hidden = !text;
  if (banner.dataset.text === text) return;
  banner.dataset.text = text;
  banner.replaceChildren(text);
  if (card.mediaProblem === "lost" && card.canPoll) {
    banner.append(" ", Object.assign(createElement("button", "Load again"), { type: "button", onclick: retry }));
  }
}
