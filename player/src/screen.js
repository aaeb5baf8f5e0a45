/** Puts words on the page, as text and as nothing else. */

import * as failing from "./failing.js";
import { saved, trouble } from "./details.js";
import { at, element, maybe, put } from "./page.js";
import * as view from "./view.js";

const ANNOUNCED = { running: "The video is being made.", finished: "The video is ready.", cancelled: "The wait was cancelled." };
/** Seconds between two tellings of the progress to assistive technology. */
const TOLD_EVERY = 15;

let furthest = 0;
let toldAt = -Infinity;

/** What changes with the seconds. @param {view.Card} card @param {number} now */
export function tick(card, now) {
  put("headline", view.headline(card, now));
  put("times", view.times(card, now));
  const done = view.done(card, now);
  const bar = at("bar");
  bar.classList.toggle("unknown", done === null);
  if (done === null) return;
  furthest = Math.max(furthest, done);
  at("filled").style.inlineSize = `${furthest.toFixed(2)}%`;
  if (now - toldAt < TOLD_EVERY * 1000) return;
  toldAt = now;
  bar.setAttribute("aria-valuenow", String(Math.round(furthest)));
  bar.setAttribute("aria-valuetext", view.times(card, now));
}

/** All of it. @param {view.Card} card @param {number} now */
export function show(card, now) {
  const phase = view.phase(card);
  const root = at("card");
  if (phase === "failed" && root.dataset.phase === "running") keepRoom();
  root.dataset.phase = phase;
  root.setAttribute("aria-busy", String(phase === "ordering"));
  root.classList.toggle("tall", view.ratio(card) <= 1);
  root.style.setProperty("--ratio", view.ratio(card).toFixed(4));
  at("stage").hidden = phase === "failed" || (phase === "told" && !card.told?.picture);
  at("veil").hidden = !["ordering", "running", "cancelled"].includes(phase);
  at("bar").hidden = phase === "cancelled" || (phase === "running" && !card.canLook);
  tick(card, now);
  maybe("under", view.under(card));
  prompt(String(view.words(card).prompt ?? ""));
  put("options", view.options(card));
  maybe("explains", view.explains(card));
  maybe("meanwhile", view.meanwhile(card));
  put("facts", view.facts(card));
  at("hdr").hidden = !view.hdr(card);
  at("simulated").hidden = !view.simulated(card);
  at("simulated").title = card.told?.job.note ?? "";
  saved(card);
  trouble(card);
  if (ANNOUNCED[phase] || phase === "failed") put("announced", ANNOUNCED[phase] ?? failing.headline(card.told?.error ?? null));
}

/** What went wrong takes the place where the video would have been, so that the chat does not jump. */
function keepRoom() {
  at("trouble").style.minBlockSize = `${at("stage").getBoundingClientRect().height}px`;
  at("trouble").classList.add("instead");
}

/** @param {string} text */
function prompt(text) {
  const more = at("more");
  put("prompt", text);
  // The room that it has is only known when it is drawn.
  if (more.ariaExpanded !== "true") more.hidden = at("prompt").scrollHeight <= at("prompt").clientHeight + 1;
}

/** Lets a long prompt be read whole. */
export function unfolding() {
  const more = at("more");
  more.onclick = () => {
    const open = more.ariaExpanded !== "true";
    more.ariaExpanded = String(open);
    more.textContent = open ? "less" : "more";
    at("prompt").classList.toggle("whole", open);
  };
  new ResizeObserver(() => prompt(at("prompt").textContent)).observe(at("card"));
}

/** What became of a video that does not play. @param {view.Card} card @param {() => unknown} again */
export function strip(card, again) {
  const text = view.strip(card);
  at("strip").hidden = !text;
  if (at("strip").dataset.text === text) return;
  at("strip").dataset.text = text;
  const button = Object.assign(element("button", "Load again"), { type: "button", onclick: again });
  at("strip").replaceChildren(text, ...(card.problem === "lost" && card.canLook ? [" ", button] : []));
}
