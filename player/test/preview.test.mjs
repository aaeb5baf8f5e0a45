import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { TestBed, distribute } from "./chat.mjs";

const FOX = { prompt: "A red fox walks through fresh snow at dawn, breath in the cold air", dynamic_range: "hdr", wait_seconds: 0, new_take: true };
const NOTE = "SDR preview: colors and brightness are reduced";
/** @type {TestBed} */
let bed;
before(async () => (bed = await TestBed.start()));
after(() => bed.stop());

/** A finished HDR video. */
async function showHdr({ args = {}, ...options } = {}) {
  const made = await bed.server.call("generate_video", { ...FOX, ...args });
  const { jobid } = made.structuredContent;
  await bed.api.finish(jobid);
  const chat = await bed.chat(options);
  await chat.call("get_job", { jobid, wait_seconds: 20 });
  await chat.waitForPhase("finished");
  await chat.until(() => document.querySelector("#still").naturalWidth > 0);
  return { chat, jobid };
}

const waitForPreview = (chat) => chat.until(() => document.querySelector("video").currentTime > 0.1);

/** How a card gets into each state; each one is also saved as a picture. */
const STATES = {
  offered: async (options) => showHdr(options),
  loading: async (options) => {
    const shown = await showHdr(options);
    shown.release = shown.chat.hold();
    await shown.chat.button("Show SDR preview").click();
    await shown.chat.frame.getByText("Loading the SDR preview…").waitFor();
    return shown;
  },
  playing: async (options) => {
    const shown = await showHdr(options);
    await shown.chat.button("Show SDR preview").click();
    await waitForPreview(shown.chat);
    return shown;
  },
  failed: async (options) => {
    const shown = await showHdr(options);
    shown.chat.failures = 1;
    await shown.chat.button("Show SDR preview").click();
    await shown.chat.frame.getByText("The SDR preview could not be loaded.").waitFor();
    return shown;
  },
};

for (const { theme, width, states } of distribute(Object.keys(STATES))) {
  test(`${theme}, ${width} px: previews are accessible and fit`, async () => {
    for (const name of states) {
      const context = { theme, availableDisplayModes: ["inline", "fullscreen"], displayMode: "inline" };
      const { chat, release } = await STATES[name]({ width, context, browser: { colorScheme: theme } });
      await chat.checkAppearance(`${theme}-${width}-preview-${name}`);
      release?.();
      await chat.close();
    }
  });
}

test("the preview of an HDR video plays and can be hidden", async () => {
  const { chat, jobid } = await STATES.playing();
  assert.match(await chat.byId("video").getAttribute("src"), /^data:video\/mp4;base64,/);
  assert.ok(await chat.frame.getByText(NOTE).isVisible());
  assert.equal(await chat.byId("hdr").isVisible(), false);
  assert.deepEqual(chat.reads, [`luma://jobs/${encodeURIComponent(jobid)}/preview`]);
  await chat.button("Hide SDR preview").click();
  assert.equal(await chat.byId("video").isVisible(), false);
  assert.ok(await chat.byId("still").isVisible());
  assert.equal(await chat.frame.getByText(NOTE).isVisible(), false);
  await chat.button("Show SDR preview").click();
  await chat.button("Hide SDR preview").waitFor();
  assert.equal(chat.reads.length, 1);
  await chat.close();
});

test("the note about the preview does not cover the corner button", async () => {
  const context = { availableDisplayModes: ["inline", "fullscreen"], displayMode: "inline" };
  const { chat } = await STATES.playing({ width: 280, context });
  const [note, corner] = [await chat.byId("preview-note").boundingBox(), await chat.byId("fullscreen").boundingBox()];
  assert.ok(note.x + note.width <= corner.x, JSON.stringify([note, corner]));
  await chat.close();
});

test("the buttons do not move while the preview loads and plays", async () => {
  const { chat, release } = await STATES.loading();
  const box = () => chat.byId("buttons").boundingBox();
  const place = await box();
  release();
  await waitForPreview(chat);
  assert.deepEqual(await box(), place);
  await chat.close();
});

test("a preview is requested once, however often the button is clicked", async () => {
  const { chat, release } = await STATES.loading();
  await chat.button("Show SDR preview").click();
  release();
  await waitForPreview(chat);
  assert.equal(chat.reads.length, 1);
  await chat.close();
});

test("a preview that fails can be loaded again", async () => {
  const { chat } = await STATES.failed();
  assert.ok(await chat.byId("still").isVisible());
  await chat.button("Try again").click();
  await waitForPreview(chat);
  assert.equal(await chat.byId("media-problem").isVisible(), false);
  assert.equal(chat.reads.length, 2);
  await chat.close();
});

test("the preview of a deleted video fails with a message", async () => {
  const { chat, jobid } = await showHdr();
  await bed.server.call("delete_job", { jobid });
  await chat.button("Show SDR preview").click();
  await chat.frame.getByText("The SDR preview could not be loaded.").waitFor();
  await chat.close();
});

test("a preview that is not a video fails with a message", async () => {
  for (const contents of [[], [{ uri: "luma://", mimeType: "text/html", blob: "AAAA" }], [{ uri: "luma://", mimeType: "video/mp4", blob: "AAAA" }]]) {
    const { chat } = await showHdr();
    chat.resource = { contents };
    await chat.button("Show SDR preview").click();
    await chat.frame.getByText("The SDR preview could not be loaded.").waitFor();
    assert.ok(await chat.byId("still").isVisible());
    chat.resource = null;
    await chat.button("Try again").click();
    await waitForPreview(chat);
    await chat.close();
  }
});

test("a chat that blocks the preview's address shows the picture", async () => {
  const { chat } = await showHdr({ policy: (csp) => csp.replace("media-src data:", "media-src") });
  await chat.button("Show SDR preview").click();
  await chat.frame.getByText("The SDR preview could not be loaded.").waitFor();
  assert.ok(await chat.byId("still").isVisible());
  await chat.close();
});

test("no preview is offered if the server does not make previews", async () => {
  const { html } = bed.page;
  bed.page.html = html.replace('data-previews="yes"', 'data-previews="no"');
  const { chat } = await showHdr();
  bed.page.html = html;
  assert.equal(await chat.frame.getByText("SDR preview").filter({ visible: true }).count(), 0);
  await chat.close();
});

test("no preview is offered for SDR or without resource reads", async () => {
  const { chat: without } = await showHdr({ capabilities: { serverResources: null } });
  assert.equal(await without.frame.getByText("SDR preview").filter({ visible: true }).count(), 0);
  await without.close();
  const chat = await bed.chat();
  const made = await bed.server.call("generate_video", { ...FOX, dynamic_range: "sdr" });
  await bed.api.finish(made.structuredContent.jobid);
  await chat.call("get_job", { jobid: made.structuredContent.jobid });
  await chat.waitForPhase("finished");
  assert.equal(await chat.frame.getByText("SDR preview").filter({ visible: true }).count(), 0);
  await chat.close();
});

test("an HDR video shows the server's picture, not the API's thumbnail", async () => {
  const { chat } = await showHdr();
  assert.match(await chat.byId("still").getAttribute("src"), /^data:image\/jpeg;base64,/);
  await chat.close();
});

test("a contact sheet is not used as the picture of an HDR video", async () => {
  const made = await bed.server.call("generate_video", FOX);
  const { jobid } = made.structuredContent;
  await bed.api.finish(jobid);
  const { structuredContent, content } = await bed.server.call("get_job", { jobid, wait_seconds: 20 });
  const own = content.find(({ type }) => type === "image");
  const sheet = { ...own, data: "iVBORw0KGgo=" };
  const chat = await bed.chat();
  await chat.send("sendToolResult", { content: [sheet], structuredContent: { ...structuredContent, contact_sheet: { frames: 4, times: [0, 1, 2, 3] } } });
  await chat.until((data) => document.querySelector("#still").src === `data:image/jpeg;base64,${data}`, own.data);
  assert.deepEqual(chat.calls.map(({ name, arguments: args }) => [name, args.jobid]), [["get_job", jobid]]);
  await chat.close();
});

test("each take of an HDR video has a preview", async () => {
  const { structuredContent } = await bed.server.call("generate_video", { ...FOX, takes: 2 });
  const jobids = structuredContent.jobs.map(({ jobid }) => jobid);
  for (const jobid of jobids) await bed.api.finish(jobid);
  const chat = await bed.chat({ width: 640 });
  await chat.call("get_job", { jobids, wait_seconds: 20 });
  const tiles = chat.frame.locator(".tile");
  // The pictures of a call about several jobs may be one sheet of all: each card gets its own.
  await chat.until(() => [...document.querySelectorAll(".tile .still")].every(({ src }) => src.startsWith("data:image/jpeg")));
  for (const index of [0, 1]) await tiles.nth(index).getByRole("button", { name: "Show SDR preview" }).click();
  await chat.until(() => [...document.querySelectorAll(".tile video")].every(({ currentTime }) => currentTime > 0.1));
  assert.deepEqual(chat.reads.toSorted(), jobids.map((jobid) => `luma://jobs/${encodeURIComponent(jobid)}/preview`).toSorted());
  await chat.screenshot("light-640-takes-preview");
  await tiles.nth(1).getByRole("button", { name: "Keep this one" }).click();
  await chat.button("Hide SDR preview").click();
  assert.ok(await tiles.nth(1).locator(".still").isVisible());
  await chat.close();
});
