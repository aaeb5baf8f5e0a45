/** Puts the panel's state on the page. */

import { renderButtons } from "../buttons.js";
import { byId, createElement, setText, setTextOrHide } from "../dom.js";
import { renderChoices } from "./choices.js";
import { getFreedom, getLargestZoom, parseRatio } from "./crop.js";
import * as view from "./view.js";

const WHOLE = "whole";
let announced = "";

/**
 * @param {import("./panel.js").PicturePanel} panel
 * @param {import("./stage.js").Stage} stage
 */
export function renderPanel(panel, stage) {
  const { state } = panel;
  const { phase } = state;
  const root = byId("panel");
  const hadFocus = document.hasFocus() && root.contains(document.activeElement);
  const isNew = root.dataset.phase !== phase;
  root.dataset.phase = phase;
  // Only while there is nothing to operate: assistive technology may leave out what is busy.
  root.setAttribute("aria-busy", String(phase === "opening"));
  renderPick(state);
  renderView(state, stage);
  byId("side").hidden = byId("pick").hidden === false;
  renderStatus(state);
  byId("settings").hidden = phase !== "editing";
  if (phase === "editing") renderSettings(panel);
  const actions = panel.listActions();
  byId("buttons").hidden = !actions.length;
  renderButtons(byId("buttons"), actions);
  const text = view.announcement(state);
  // Only what is new: else it would replace what the keyboard has just moved.
  if (text && text !== announced) setText("announcement", text);
  announced = text;
  if (isNew && hadFocus && !isFocusVisible()) focusStart();
}

/** Whether the focused element is still shown. */
function isFocusVisible() {
  const focused = document.activeElement;
  return Boolean(focused && focused !== document.body && focused.getClientRects().length);
}

/** Puts the focus where the new phase begins, if its element has gone: else the keyboard would start over. */
function focusStart() {
  (byId("pick").hidden ? byId("headline") : byId("choose")).focus();
}

/** @param {view.Panel} state */
function renderPick(state) {
  const isShown = state.phase === "opening" || state.phase === "empty";
  byId("pick").hidden = !isShown;
  byId("pick").inert = state.phase === "opening";
  setTextOrHide("problem", state.problem);
  setText("terms", view.terms(state));
}

/** @param {view.Panel} state @param {import("./stage.js").Stage} stage */
function renderView(state, stage) {
  const { phase, picture, result } = state;
  const uploaded = byId("uploaded");
  const thumbnail = phase === "done" ? (result?.picture ?? null) : null;
  uploaded.hidden = !thumbnail;
  if (thumbnail && uploaded.src !== thumbnail) uploaded.src = thumbnail;
  const hasStage = Boolean(picture) && !thumbnail && ["editing", "uploading", "failed", "done"].includes(phase);
  byId("stage").hidden = !hasStage;
  byId("stage").inert = phase !== "editing";
  // Without a part to choose, there is nothing to operate.
  byId("stage").tabIndex = state.crop ? 0 : -1;
  byId("view").hidden = !hasStage && !thumbnail;
  stage.render(picture, state.crop);
}

/** @param {view.Panel} state */
function renderStatus(state) {
  const { phase, share } = state;
  const isFailed = phase === "failed" || (phase === "unavailable" && Boolean(state.error || state.text));
  byId("status").classList.toggle("error", isFailed);
  setText("headline", view.headline(state));
  byId("progress").hidden = phase !== "uploading" && phase !== "reading";
  byId("bar").classList.toggle("unknown", share === null);
  if (share !== null) {
    byId("filled").style.inlineSize = `${(share * 100).toFixed(1)}%`;
    byId("bar").setAttribute("aria-valuenow", String(Math.round(share * 100)));
  } else {
    byId("filled").style.inlineSize = "";
    byId("bar").removeAttribute("aria-valuenow");
  }
  setText("progress-note", view.uploadNote(state));
  const isOver = isFailed || phase === "unavailable";
  const problems = isOver ? view.problems(state) : [];
  byId("problems").replaceChildren(...problems.map((problem) => createElement("li", problem)));
  byId("problems").hidden = !problems.length;
  setTextOrHide("reason", isOver ? view.reason(state) : phase === "done" ? view.doneNote(state) : "");
  setTextOrHide("hint", isFailed ? view.hint(state) : phase === "done" ? view.afterNote(state) : "");
}

/** @param {import("./panel.js").PicturePanel} panel */
function renderSettings(panel) {
  const { state } = panel;
  const { settings, picture, crop } = state;
  if (!settings || !picture) return;
  const uses = settings.uses.map(({ parameter, title }) => ({ value: parameter, label: title }));
  renderChoices(byId("uses"), uses, state.use, (use) => panel.chooseUse(use));
  byId("uses").hidden = uses.length < 2;
  const shapes = settings.ratios.map((name) => ({ value: name, label: name, ratio: parseRatio(name) }));
  const choices = [...shapes, { value: WHOLE, label: "Whole picture" }];
  renderChoices(byId("shapes"), choices, state.shape ?? WHOLE, (name) => panel.chooseShape(name === WHOLE ? null : name));
  byId("shapes").hidden = !shapes.length;
  const largest = crop ? getLargestZoom(picture, crop.ratio) : 1;
  byId("zoom").disabled = largest <= 1;
  if (!crop || largest <= 1) {
    byId("zoom").value = "0";
  } else {
    byId("zoom").value = String(Math.round((Math.log(crop.zoom) / Math.log(largest)) * 100));
    byId("zoom").setAttribute("aria-valuetext", `${Math.round(crop.zoom * 100)}%`);
    byId("zoom").oninput = () => panel.setZoom(largest ** (Number(byId("zoom").value) / 100));
  }
  setText("size-note", view.sizeNote(state));
  setTextOrHide("picture-note", picture.note);
  const freedom = crop ? getFreedom(picture, crop) : { across: false, down: false };
  byId("stage-hint").hidden = !freedom.across && !freedom.down;
}
