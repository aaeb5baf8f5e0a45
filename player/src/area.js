/** The area that shows one video: its progress, then its picture or the video. */

import { byId, createElement, setText, setTextOrHide } from "./dom.js";
import * as view from "./view.js";

/** Seconds between two updates of the progress for assistive technology. */
const ANNOUNCE_INTERVAL = 15;

/** A copy of the page's own area, as it is before anything is shown in it. Call it before that. */
export function createAreaElement() {
  const root = /** @type {HTMLElement} */ (byId("media").cloneNode(true));
  for (const element of [root, ...root.querySelectorAll("[id]")]) element.removeAttribute("id");
  return root;
}

export class VideoArea {
  #furthest = 0;
  #announcedAt = -Infinity;

  /** @param {HTMLElement} root */
  constructor(root) {
    this.root = root;
    this.video = /** @type {HTMLVideoElement} */ (root.querySelector("video"));
    this.still = /** @type {HTMLImageElement} */ (root.querySelector(".still"));
  }

  /** @param {string} className @returns {any} */
  #part(className) {
    return this.root.querySelector(`.${className}`);
  }

  /**
   * @param {view.Card} card
   * @param {number} now
   * @param {() => unknown} retry what the person can do about a video that does not play
   */
  render(card, now, retry) {
    const phase = view.phase(card);
    this.#part("overlay").hidden = !["ordering", "running", "cancelled"].includes(phase);
    this.#part("bar").hidden = phase === "cancelled" || (phase === "running" && !card.canPoll);
    this.renderProgress(card, now);
    setTextOrHide(this.#part("subheadline"), view.subheadline(card));
    this.#part("hdr").hidden = !view.isHdr(card) || card.preview === "playing";
    this.#part("preview-note").hidden = card.preview !== "playing";
    this.#part("simulated").hidden = !view.isSimulated(card);
    this.#part("simulated").title = card.result?.job.note ?? "";
    this.#renderBanner(card, retry);
  }

  /** Renders what changes with time. @param {view.Card} card @param {number} now */
  renderProgress(card, now) {
    if (!["ordering", "running", "cancelled"].includes(view.phase(card))) return;
    setText(this.#part("headline"), view.headline(card, now));
    setText(this.#part("times"), view.times(card, now));
    const percent = view.progress(card, now);
    const bar = this.#part("bar");
    bar.classList.toggle("unknown", percent === null);
    if (percent === null) return;
    this.#furthest = Math.max(this.#furthest, percent);
    bar.firstElementChild.style.inlineSize = `${this.#furthest.toFixed(2)}%`;
    if (now - this.#announcedAt < ANNOUNCE_INTERVAL * 1000) return;
    this.#announcedAt = now;
    bar.setAttribute("aria-valuenow", String(Math.round(this.#furthest)));
    bar.setAttribute("aria-valuetext", view.times(card, now));
  }

  /** Renders why nothing plays, and a way to try again. @param {view.Card} card @param {() => unknown} retry */
  #renderBanner(card, retry) {
    const { text, action } = view.banner(card);
    const banner = this.#part("media-problem");
    banner.hidden = !text;
    if (banner.dataset.text === text) return;
    banner.dataset.text = text;
    banner.replaceChildren(text);
    if (action) banner.append(" ", Object.assign(createElement("button", action), { type: "button", onclick: retry }));
  }
}
