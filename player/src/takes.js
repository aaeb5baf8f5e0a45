/** Several videos side by side: the takes of one order, or the jobs of one call. The person can keep one of the takes. */

import { listFileActions, listPreviewActions, sendMessage } from "./actions.js";
import { createAreaElement } from "./area.js";
import { renderButtons } from "./buttons.js";
import { VideoCard } from "./card.js";
import * as chat from "./chat.js";
import { byId, createElement, setText, setTextOrHide } from "./dom.js";
import { announce, renderDetails, renderError, renderLayout, renderRequest, renderSavedFiles } from "./render.js";
import * as view from "./view.js";

/** Most places that are laid out before there is a result. */
const MOST_PLACES = 12;

/** One of the videos, with its heading and its buttons. */
class Tile {
  /** @param {number} index @param {Takes} takes */
  constructor(index, takes) {
    this.takes = takes;
    this.number = index + 1;
    const id = `take-${this.number}`;
    this.heading = Object.assign(createElement("h2"), { id, tabIndex: -1 });
    this.facts = Object.assign(createElement("p"), { className: "muted facts" });
    this.prompt = Object.assign(createElement("p"), { className: "tile-prompt", dir: "auto" });
    const area = createAreaElement();
    area.removeAttribute("aria-label");
    area.setAttribute("aria-labelledby", id);
    this.error = createErrorElement();
    this.buttons = Object.assign(createElement("div"), { className: "buttons", role: "group" });
    this.buttons.setAttribute("aria-labelledby", id);
    const parts = [this.heading, area, this.error, this.prompt, this.buttons, this.facts];
    this.root = Object.assign(createElement("li", ...parts), { className: "tile" });
    this.video = new VideoCard(takes.host, area, takes.signal, () => takes.onChange(), () => takes.describeEnds());
    this.card.isTake = true;
    area.querySelector(".corner").addEventListener("click", () => takes.host.toggleFullscreen());
  }

  get card() {
    return this.video.state;
  }

  get phase() {
    return view.phase(this.card);
  }

  get title() {
    return `${this.takes.areTakes ? "Take" : "Video"} ${this.number}`;
  }

  render() {
    const { card, phase, takes } = this;
    const isAlone = takes.isFolded;
    this.root.hidden = isAlone && takes.kept !== this;
    this.root.dataset.phase = phase;
    this.root.style.setProperty("--ratio", view.aspectRatio(card).toFixed(4));
    setText(this.heading, takes.kept === this ? `${this.title} · kept` : this.title);
    setText(this.facts, view.facts(card));
    // In the details below, there is the same.
    this.facts.hidden = isAlone || phase === "failed";
    this.video.area.root.hidden = phase === "failed";
    this.video.renderArea();
    const corner = /** @type {HTMLElement} */ (this.video.area.root.querySelector(".corner"));
    takes.host.renderFullscreen(corner, isAlone && !["blocked", "lost"].includes(card.mediaProblem ?? ""));
    this.error.hidden = phase !== "failed";
    if (phase === "failed") renderError(this.error, card);
    setTextOrHide(this.prompt, takes.haveSameRequest ? "" : String(view.request(card).prompt ?? ""));
    const actions = isAlone ? [] : this.#listActions();
    this.buttons.hidden = !actions.length;
    // As in the card of a single video, the buttons take their place before the video comes.
    this.buttons.inert = ["ordering", "running"].includes(phase);
    renderButtons(this.buttons, actions);
  }

  /** What the person can do with this video while all are shown. */
  #listActions() {
    const { card, takes } = this;
    if (this.phase === "failed") return this.video.listActions();
    if (!["ordering", "running", "finished"].includes(this.phase) || !card.canPoll && this.phase === "running") return [];
    const isKept = takes.kept === this;
    const keep = { id: "keep", label: isKept ? "Show only this one" : "Keep this one", primary: true, isToggle: true, run: () => takes.keep(this) };
    const files = listFileActions(card, takes.host).filter(({ id }) => ["download", "frames"].includes(id));
    const others = files.map((action) => ({ ...action, primary: false }));
    return [...(takes.areTakes ? [keep] : []), ...listPreviewActions(card, this.video), ...others];
  }
}

/** A copy of the page's own element for errors. */
function createErrorElement() {
  const root = byId("error").cloneNode(true);
  for (const element of [root, ...root.querySelectorAll("[id]")]) element.removeAttribute("id");
  root.removeAttribute("aria-labelledby");
  return root;
}

export class Takes {
  /** @type {Tile[]} */
  tiles = [];
  /** @type {Tile | null} the take that the person keeps */
  kept = null;
  isFolded = false;
  areTakes = true;
  haveSameRequest = true;
  /** @type {Record<string, any>} the arguments of the call */
  #args = {};
  #isModelUpdated = false;

  /**
   * @param {import("./host.js").Host} host
   * @param {AbortSignal} signal stops everything
   * @param {() => void} onChange called after each change
   */
  constructor(host, signal, onChange) {
    Object.assign(this, { host, signal, onChange });
  }

  get isShown() {
    return this.tiles.length > 0;
  }

  /** Lays out a place for each video of a call that has no result yet. @param {Record<string, any>} args of the call */
  expect(args) {
    this.#args = args;
    const jobids = Array.isArray(args.jobids) ? args.jobids : [];
    const count = Math.min(jobids.length || Number(args.takes) || 0, MOST_PLACES);
    this.#resize(count > 1 ? count : 0);
    this.areTakes = !jobids.length;
    this.tiles.forEach(({ video }, index) => {
      Object.assign(video.state, { args: jobids.length ? { jobid: jobids[index] } : args, canPreview: this.host.canPreview });
    });
  }

  /** @param {ReturnType<typeof import("./result.js").parseItems>} items */
  receive(items) {
    this.#resize(items.length);
    const requests = items.map(({ result }) => JSON.stringify(result.job.request)).filter(Boolean);
    this.haveSameRequest = new Set(requests).size <= 1;
    // Several jobs of the same request are takes too, although the call that looked for them does not know it.
    this.areTakes = items.some(({ isTake }) => isTake) || (requests.length > 0 && this.haveSameRequest);
    const request = items.map(({ result }) => result.job.request).find(Boolean);
    items.forEach(({ number, result }, index) => {
      const tile = this.tiles[index];
      tile.number = number;
      // Of a take that was not ordered, the others say most exactly what it was to be.
      if (!result.job.jobid) tile.card.args = request ?? this.#args;
      tile.video.receive(result);
    });
  }

  /** Polls the jobs that are known from the call, and returns whether there are any. */
  startPolling() {
    const known = this.tiles.filter(({ card }) => view.jobid(card));
    for (const { video } of known) {
      video.updateHost();
      video.startPolling();
    }
    return known.length > 0 && this.host.canPoll;
  }

  clear() {
    this.#resize(0);
  }

  /** @param {number} count */
  #resize(count) {
    while (this.tiles.length > count) this.tiles.pop();
    while (this.tiles.length < count) this.tiles.push(new Tile(this.tiles.length, this));
    byId("takes").replaceChildren(...this.tiles.map(({ root }) => root));
  }

  /** Folds the others away, and tells the model which one the person keeps. @param {Tile} tile */
  async keep(tile) {
    const isNew = this.kept !== tile;
    Object.assign(this, { kept: tile, isFolded: true });
    for (const other of this.tiles) if (other !== tile) other.video.media.stop();
    this.onChange();
    tile.heading.focus();
    if (!isNew) return;
    announce(`${tile.title} is kept.`);
    await sendMessage(this.host, chat.keepTake(tile.number, view.jobid(tile.card)));
  }

  /** Shows all again. */
  unfold() {
    this.isFolded = false;
    this.onChange();
    this.kept?.heading.focus();
  }

  /** Tells the model once when the last job that the player has polled ends. */
  describeEnds() {
    const isRunning = this.tiles.some(({ phase }) => ["ordering", "running"].includes(phase));
    if (isRunning || this.#isModelUpdated) return;
    this.#isModelUpdated = true;
    const jobs = this.tiles.filter(({ card }) => view.jobid(card));
    const ends = jobs.map(({ title, card }) => /** @type {const} */ ([title, view.jobid(card), card.result]));
    void this.host.updateModel(...chat.describeEnds(/** @type {any} */ (ends)));
  }

  renderProgress() {
    for (const { video } of this.tiles) video.area.renderProgress(video.state, performance.now());
  }

  render() {
    const first = this.tiles.find(({ card }) => card.result?.job.request) ?? this.tiles[0];
    const phase = view.phaseOfSeveral(this.tiles.map(({ card }) => card));
    renderLayout(phase, view.aspectRatio((this.isFolded && this.kept ? this.kept : first).card));
    byId("card").classList.toggle("comparing", !this.isFolded);
    for (const tile of this.tiles) tile.render();
    if (this.isFolded && this.kept) renderDetails(this.kept.card);
    else this.#renderDetails(first.card);
    const actions = this.#listActions();
    byId("buttons").inert = false;
    byId("buttons").hidden = !actions.length;
    renderButtons(byId("buttons"), actions);
  }

  /** @param {view.Card} first stands for all where they are the same */
  #renderDetails(first) {
    byId("error").hidden = true;
    renderRequest(this.haveSameRequest ? first : { ...first, args: {}, result: null });
    const finished = this.tiles.find(({ phase }) => phase === "finished");
    setTextOrHide("hdr-note", view.hdrNote((finished ?? this.tiles[0]).card));
    const cards = this.tiles.map(({ card }) => card);
    setTextOrHide("status-note", view.statusNoteOfSeveral(cards, this.areTakes && !this.kept));
    setText("facts", "");
    renderSavedFiles(this.tiles.map(({ title, card }) => [title, card]));
    if (!this.kept) announce(view.announcementOfSeveral(cards));
  }

  /** @returns {import("./buttons.js").Action[]} */
  #listActions() {
    if (this.isFolded && this.kept) {
      const label = `Show all ${this.tiles.length} takes`;
      return [...this.kept.video.listActions(), { id: "unfold", label, isToggle: true, run: () => this.unfold() }];
    }
    const running = this.tiles.filter(({ phase, card }) => phase === "running" && !card.canPoll);
    if (!running.length) return [];
    const jobids = running.map(({ card }) => view.jobid(card));
    const run = () => sendMessage(this.host, chat.showVideos(jobids));
    return [{ id: "ask", label: "Ask for these videos", primary: true, run }];
  }
}
