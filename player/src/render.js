/** Puts a card's state on the page, below the area of the video. */

import { byId, createElement, setText, setTextOrHide } from "./dom.js";
import * as errors from "./errors.js";
import * as view from "./view.js";

const ANNOUNCEMENTS = { running: "The video is being made.", finished: "The video is ready.", cancelled: "The wait was cancelled." };

/** @param {string} text */
export function announce(text) {
  if (text) setText("announcement", text);
}

/** Sets what the page's layout depends on. @param {string} phase @param {number} ratio width divided by height */
export function renderLayout(phase, ratio) {
  const root = byId("card");
  root.dataset.phase = phase;
  root.setAttribute("aria-busy", String(phase === "ordering"));
  root.classList.toggle("tall", ratio <= 1);
  root.style.setProperty("--ratio", ratio.toFixed(4));
}

/** Renders one video's card, without its area and its buttons. @param {view.Card} card */
export function renderCard(card) {
  const phase = view.phase(card);
  if (phase === "failed" && byId("card").dataset.phase === "running") keepHeight();
  renderLayout(phase, view.aspectRatio(card));
  byId("media").hidden = phase === "failed" || (phase === "text" && !card.result?.picture);
  renderDetails(card);
  const isFailed = phase === "failed";
  announce(isFailed ? errors.headline(card.result?.error ?? null) : (ANNOUNCEMENTS[phase] ?? ""));
}

/** @param {view.Card} card */
export function renderDetails(card) {
  renderRequest(card);
  setTextOrHide("hdr-note", view.hdrNote(card));
  setTextOrHide("status-note", view.statusNote(card));
  setText("facts", view.facts(card));
  renderSavedFiles([["", card]]);
  const phase = view.phase(card);
  byId("error").hidden = !["failed", "text"].includes(phase);
  byId("error").classList.toggle("plain", phase === "text");
  if (!byId("error").hidden) renderError(byId("error"), card);
}

/** @param {view.Card} card */
export function renderRequest(card) {
  renderPrompt(String(view.request(card).prompt ?? ""));
  setText("options", view.options(card));
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

/** @param {[title: string, card: view.Card][]} cards each with what tells it from the others */
export function renderSavedFiles(cards) {
  const lines = [];
  for (const [title, { result }] of cards) {
    const prefix = title ? `${title}: ` : "";
    const files = Array.isArray(result?.job.saved_files) ? result.job.saved_files : [];
    // A path is read from the left even where the text around it is not.
    const path = (file) => Object.assign(createElement("bdi", String(file)), { dir: "ltr" });
    lines.push(...files.map((file) => createElement("li", `${prefix}Saved: `, path(file))));
    if (result?.job.save_problem) lines.push(createElement("li", `${prefix}Not saved: ${result.job.save_problem}`));
  }
  byId("saved").replaceChildren(...lines);
  byId("saved").hidden = !lines.length;
}

/**
 * Renders an error, or the text of a result that has nothing else.
 *
 * @param {HTMLElement} root
 * @param {view.Card} card
 */
export function renderError(root, card) {
  const part = (/** @type {string} */ className) => /** @type {HTMLElement} */ (root.querySelector(`.${className}`));
  const { result } = card;
  const { error } = result;
  setTextOrHide(part("error-title"), result.phase === "text" ? "" : errors.headline(error, card.isTake));
  setTextOrHide(part("reason"), errors.describeError(error, result.text));
  const problems = errors.listProblems(error);
  part("problems").replaceChildren(...problems.map((problem) => createElement("li", problem)));
  part("problems").hidden = !problems.length;
  const values = error?.suggestion ? errors.compareSuggestion(error.suggestion, view.request(card)) : [];
  const marked = values.flatMap(({ text, isChanged }, index) => [index ? " · " : " ", isChanged ? createElement("strong", text) : text]);
  part("suggestion").replaceChildren("This would work:", ...marked);
  part("suggestion").hidden = !values.length;
  setTextOrHide(part("hint"), errors.hint(error, view.openJob(card)));
}
