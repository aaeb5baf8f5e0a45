/** The upload panel in a chat, and pictures to put into it. */

import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { PYTHON, ROOT } from "./api.mjs";
import { TestBed } from "./chat.mjs";

/** The colors of the quarters of some pictures: top left, top right, bottom left, bottom right. */
export const QUARTERS = [[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 0]];
export const CORNERS = [[0.02, 0.02], [0.98, 0.02], [0.02, 0.98], [0.98, 0.98]];

export class PanelBed {
  /** @param {"useapi" | "agents"} [api] */
  static async start(api) {
    const bed = new PanelBed();
    bed.folder = mkdtempSync(join(tmpdir(), "pictures-"));
    execFileSync(PYTHON, [`${ROOT}tests/player/pictures.py`, bed.folder]);
    bed.chats = await TestBed.start("add_picture", api);
    return bed;
  }

  async stop() {
    rmSync(this.folder, { recursive: true });
    await this.chats.stop();
  }

  get api() {
    return this.chats.api;
  }

  get server() {
    return this.chats.server;
  }

  /** @param {string} name */
  path(name) {
    return join(this.folder, name);
  }

  /** @param {string} name */
  read(name) {
    return readFileSync(this.path(name));
  }

  /** A chat in which the agent has opened the panel. @param {Record<string, unknown>} [args] of add_picture @param {object} [options] of the chat */
  async open(args = {}, options = {}) {
    const chat = await this.chats.chat(options);
    // The browser asks Playwright for files only once somebody listens.
    chat.page.on("filechooser", () => {});
    await chat.call("add_picture", args);
    await waitForPhase(chat, "empty");
    return chat;
  }

  /** The panel with a picture in it. @param {string} name @param {Record<string, unknown>} [args] @param {object} [options] */
  async choose(name, args, options) {
    const chat = await this.open(args, options);
    await choose(chat, this.path(name));
    await waitForPhase(chat, "editing");
    return chat;
  }

  /** What the API has received. @param {string} asset @param {number[][]} [points] */
  picture(asset, points = CORNERS) {
    return this.api.command("picture", { asset, points });
  }

  /** How many bytes the server keeps of the upload that the panel has sent last. */
  async countKept(chat) {
    const { upload } = chat.calls.findLast(({ name }) => name === "upload_picture").arguments;
    const { structuredContent } = await this.server.call("upload_picture", { upload, offset: 0, data: "" });
    return structuredContent.received;
  }
}

/** @param {string} phase */
export function waitForPhase(chat, phase) {
  return chat.frame.locator(`#panel[data-phase="${phase}"]`).waitFor();
}

/** Chooses a file by the system's picker. @param {string | { name: string, mimeType: string, buffer: Buffer }} file */
export async function choose(chat, file) {
  const picker = chat.page.waitForEvent("filechooser");
  await chat.frame.getByRole("button", { name: /^(Choose a picture|Change picture)$/ }).click();
  await (await picker).setFiles(file);
}

/** Drags files or a link onto the panel, as from outside of the browser. @param {{ files?: string[], link?: string }} dragged @param {boolean} [isDropped] */
export async function drag(chat, { files = [], link = "" }, isDropped = true) {
  const session = await chat.page.context().newCDPSession(chat.page);
  const { x, y } = await chat.byId("panel").boundingBox();
  const items = link ? [{ mimeType: "text/uri-list", data: link }] : [];
  for (const type of ["dragEnter", "dragOver", ...(isDropped ? ["drop"] : [])]) {
    await session.send("Input.dispatchDragEvent", { type, x: x + 30, y: y + 30, data: { items, files, dragOperationsMask: 1 } });
  }
}

/** Uploads what is in the panel. @returns the result of the last call */
export async function upload(chat) {
  await chat.button("Upload").click();
  await waitForPhase(chat, "done");
  return chat.results.at(-1).structuredContent;
}

/** Waits until the panel says why it does not take a file. @param {string | RegExp} text */
export function waitForProblem(chat, text) {
  return chat.byId("problem").getByText(text).waitFor();
}

/** The parts that the panel has sent: offset and bytes of each. */
export function listParts(chat) {
  const parts = chat.calls.map((call) => call.arguments).filter(({ data }) => data);
  return parts.map(({ offset, data }) => [offset, Buffer.from(data, "base64").length]);
}

export const radio = (chat, name) => chat.frame.getByRole("radio", { name, exact: true });
