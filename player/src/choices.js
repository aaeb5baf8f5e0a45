/** The buttons that a card offers, and what they do. */

import * as asking from "./asking.js";
import { copied, field } from "./buttons.js";
import * as failing from "./failing.js";
import { fileName, safe } from "./links.js";
import { at } from "./page.js";
import * as view from "./view.js";

/** @param {string} text @param {string} [copy] what to copy by hand */
export function notice(text, copy) {
  at("notice").replaceChildren(text);
  if (copy === undefined) return;
  const area = field(copy, text);
  at("notice").append(area);
  area.focus();
}

/**
 * @param {view.Card} card
 * @param {import("./host.js").Host} host
 * @param {() => unknown} lookAgain
 * @returns {import("./buttons.js").Wanted[]}
 */
export function choices(card, host, lookAgain) {
  const phase = view.phase(card);
  const [jobid, words] = [view.jobid(card), view.words(card)];
  const ask = (text) => say(host, text);
  if (phase === "running" && !card.canLook) {
    return [{ id: "ask", label: "Ask for this video", primary: true, act: () => ask(asking.show(jobid)) }];
  }
  if (phase === "cancelled") return [{ id: "ask", label: "Look for it", act: () => ask(asking.LOOK_FOR_IT) }];
  if (phase === "told") return [];
  if (phase === "failed") {
    const open = view.openJob(card);
    if (open && card.canLook) return [{ id: "look", label: "Look again", primary: true, act: lookAgain }];
    const help = failing.help(card.told?.error ?? null, words, open);
    return help ? [{ id: "help", label: help.label, primary: true, act: () => ask(help.text) }] : [];
  }
  return [...files(card, host), ...(phase === "finished" && !jobid ? [] : [
    { id: "go-on", label: "Continue from the last frame", act: () => ask(asking.goOn(jobid, words)) },
    { id: "another", label: "Another take", act: () => ask(asking.anotherTake(jobid, words)) },
  ])];
}

/** @param {view.Card} card @param {import("./host.js").Host} host @returns {import("./buttons.js").Wanted[]} */
function files(card, host) {
  const { prompt, dynamic_range: range } = view.words(card);
  const job = card.told?.job ?? {};
  const [url, frames] = [safe(job.video?.url), safe(job.exr_zip_url)];
  if (!url && view.phase(card) === "finished") return [];
  const blocked = card.problem === "blocked";
  const zip = { id: "frames", label: "EXR frames", act: () => fetched(host, frames, fileName(prompt, "exr.zip"), "application/zip") };
  return [
    { id: "download", label: "Download", primary: !blocked, act: () => fetched(host, url, fileName(prompt, "mp4"), "video/mp4") },
    ...(frames || (!card.told?.job.video && range === "hdr_exr") ? [zip] : []),
    { id: "open", label: "Open in browser", primary: blocked, act: () => opened(host, url) },
    { id: "copy", label: "Copy link", act: () => linked(url) },
  ];
}

async function say(host, text) {
  if (await host.say(text)) notice("Asked in the chat.");
  else notice("This chat takes no message from the player. Copy this into it:", text);
}

async function fetched(host, url, name, type) {
  if (await host.download(url, name, type)) notice("Download handed to the chat.");
  else await opened(host, url);
}

async function opened(host, url) {
  if (await host.open(url)) notice("");
  else notice("This chat opens no links. Copy this one:", url);
}

async function linked(url) {
  if (await copied(url)) notice("Link copied.");
  else notice("Copy the link:", url);
}
