/** The buttons that a card offers, and what they do. */

import { copyText } from "./buttons.js";
import * as chat from "./chat.js";
import * as errors from "./errors.js";
import { fileName, safeUrl } from "./links.js";
import { showNotice } from "./notice.js";
import * as view from "./view.js";

/**
 * @param {view.Card} card
 * @param {import("./card.js").VideoCard} video whose state the card is
 * @returns {import("./buttons.js").Action[]}
 */
export function listActions(card, video) {
  const { host } = video;
  const phase = view.phase(card);
  const [jobid, args] = [view.jobid(card), view.request(card)];
  const ask = (text) => sendMessage(host, text);
  if (phase === "running" && !card.canPoll) {
    return [{ id: "ask", label: "Ask for this video", primary: true, run: () => ask(chat.showVideo(jobid)) }];
  }
  if (phase === "cancelled") return [{ id: "ask", label: "Find the order", run: () => ask(chat.FIND_ORDER) }];
  if (phase === "text") return [];
  if (phase === "failed") {
    const open = view.openJob(card);
    if (open && card.canPoll) return [{ id: "poll", label: "Look again", primary: true, run: () => video.pollOnce() }];
    const step = errors.nextStep(card.result?.error ?? null, view.order(card), open);
    return step ? [{ id: "next-step", label: step.label, primary: true, run: () => ask(step.text) }] : [];
  }
  const files = listFileActions(card, host);
  if (phase === "finished" && !jobid) return files;
  return [
    ...listPreviewActions(card, video),
    ...files,
    { id: "continue", label: "Continue from the last frame", run: () => ask(chat.continueVideo(jobid, args)) },
    { id: "new-take", label: "Another take", run: () => ask(chat.newTake(jobid, args)) },
    { id: "picture", label: "Start from my own picture", run: () => ask(chat.startFromPicture(args)) },
  ];
}

/** @param {view.Card} card @param {import("./card.js").VideoCard} video @returns {import("./buttons.js").Action[]} */
export function listPreviewActions(card, video) {
  if (!view.hasPreview(card)) return [];
  if (card.preview !== "playing") return [{ id: "preview", label: "Show SDR preview", isToggle: true, run: () => video.showPreview() }];
  return [{ id: "preview", label: "Hide SDR preview", isToggle: true, run: () => video.hidePreview() }];
}

/** @param {view.Card} card @param {import("./host.js").Host} host @returns {import("./buttons.js").Action[]} */
export function listFileActions(card, host) {
  const { prompt, dynamic_range: dynamicRange } = view.request(card);
  const job = card.result?.job ?? {};
  const [url, framesUrl] = [safeUrl(job.video?.url), safeUrl(job.exr_zip_url)];
  if (!url && view.phase(card) === "finished") return [];
  const isBlocked = card.mediaProblem === "blocked";
  const actions = [
    { id: "download", label: "Download", primary: !isBlocked, run: () => download(host, url, fileName(prompt, "mp4"), "video/mp4") },
  ];
  // While the job runs, the button takes its place already, so that nothing moves later.
  if (framesUrl || (!job.video && dynamicRange === "hdr_exr")) {
    const name = fileName(prompt, "exr.zip");
    actions.push({ id: "frames", label: "EXR frames", primary: false, run: () => download(host, framesUrl, name, "application/zip") });
  }
  actions.push(
    { id: "open", label: "Open in browser", primary: isBlocked, run: () => openLink(host, url) },
    { id: "copy", label: "Copy link", primary: false, run: () => copyLink(url) },
  );
  return actions;
}

/** Sends a message in the user's name, or lets the person copy it. @param {import("./host.js").Host} host @param {string} text */
export async function sendMessage(host, text) {
  if (await host.sendMessage(text)) showNotice("Sent to the chat.");
  else showNotice("This chat takes no messages from the player. Copy this into it:", text);
}

async function download(host, url, name, type) {
  if (await host.download(url, name, type)) showNotice("The chat downloads the file.");
  else await openLink(host, url);
}

async function openLink(host, url) {
  if (await host.openLink(url)) showNotice("");
  else showNotice("This chat opens no links. Copy this one:", url);
}

async function copyLink(url) {
  if (await copyText(url)) showNotice("Link copied.");
  else showNotice("Copy the link:", url);
}
