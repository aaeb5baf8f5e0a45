import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { TestBed } from "./chat.mjs";

const FOX = { prompt: "A red fox walks through fresh snow at dawn", wait_seconds: 0, new_take: true };
/** @type {TestBed} */
let bed;
before(async () => (bed = await TestBed.start()));
after(() => bed.stop());

/** A finished job that the model fetches with get_job. */
async function showFinished(options = {}, args = {}) {
  const made = await bed.server.call("generate_video", { ...FOX, ...args });
  const { jobid } = made.structuredContent;
  await bed.api.finish(jobid);
  const chat = await bed.chat(options);
  const { structuredContent: job } = await chat.call("get_job", { jobid, wait_seconds: 20 });
  await chat.waitForPhase("finished");
  return { chat, job, jobid };
}
const waitForVideo = (chat) => chat.until(() => document.querySelector("video").readyState > 0);

test("the video plays from the link in the result", async () => {
  const { chat, job } = await showFinished();
  await waitForVideo(chat);
  assert.equal(await chat.byId("video").evaluate((video) => video.currentSrc), job.video.url);
  assert.equal(await chat.byId("video").evaluate((video) => video.poster), job.thumbnail_url);
  await chat.byId("video").evaluate((video) => video.play());
  await chat.until(() => document.querySelector("video").currentTime > 0.2);
  await chat.close();
});

test("an HDR video is not loaded, and alternatives are shown", async () => {
  const { chat, job } = await showFinished({}, { dynamic_range: "hdr" });
  await chat.until(() => document.querySelector("#still").naturalWidth > 0);
  assert.match(await chat.byId("hdr-note").textContent(), /HEVC Main 10.*no browser can play it.*VLC, mpv/);
  assert.equal(await chat.byId("video").isVisible(), false);
  assert.ok(await chat.byId("hdr").isVisible());
  await chat.button("Download").click();
  const { contents } = await chat.waitForEvent("download");
  assert.deepEqual(contents, [{ type: "resource_link", uri: job.video.url, name: "A-red-fox-walks-through-fresh.mp4", mimeType: "video/mp4" }]);
  assert.equal(await chat.button("EXR frames").count(), 0);
  assert.equal(await chat.byId("video").getAttribute("src"), null);
  await chat.close();
});

test("EXR frames can be downloaded", async () => {
  const { chat, job } = await showFinished({}, { dynamic_range: "hdr_exr" });
  assert.match(await chat.byId("hdr-note").textContent(), /EXR frames/);
  await chat.button("EXR frames").click();
  const { contents } = await chat.waitForEvent("download");
  assert.deepEqual([contents[0].uri, contents[0].mimeType], [job.exr_zip_url, "application/zip"]);
  await chat.close();
});

test("an expired link is replaced by a new one", async () => {
  const made = await showFinished();
  await bed.api.command("expire");
  const chat = await bed.chat();
  const old = { content: [], structuredContent: made.job };
  await chat.send("sendToolInput", { arguments: { jobid: made.jobid } });
  await chat.send("sendToolResult", old);
  await waitForVideo(chat);
  assert.deepEqual(chat.calls.map(({ name, arguments: args }) => [name, args]), [["get_job", { jobid: made.jobid, wait_seconds: 0 }]]);
  assert.notEqual(await chat.byId("video").evaluate((video) => video.currentSrc), made.job.video.url);
  assert.equal(await chat.byId("media-problem").isVisible(), false);
  await chat.button("Open in browser").click();
  assert.equal((await chat.waitForEvent("open")).url, await chat.byId("video").evaluate((video) => video.currentSrc));
  await made.chat.close();
  await chat.close();
});

test("a video whose link expires continues where it was", async () => {
  const { chat, job } = await showFinished();
  await waitForVideo(chat);
  await chat.byId("video").evaluate((video) => (video.currentTime = 3));
  await chat.until(() => document.querySelector("video").currentTime === 3 && !document.querySelector("video").seeking);
  await bed.api.command("expire");
  // The clips are so small that the browser has loaded them completely, and does not notice by itself.
  await chat.byId("video").evaluate((video) => video.dispatchEvent(new Event("error")));
  await chat.until((old) => document.querySelector("video").currentSrc !== old && document.querySelector("video").readyState > 0, job.video.url);
  await chat.until(() => document.querySelector("video").currentTime === 3);
  assert.equal(chat.calls.length, 1);
  await chat.close();
});

test("a video that does not load can be reloaded with a button", async () => {
  await bed.api.command("break_links", { broken: true });
  const { chat } = await showFinished();
  await chat.frame.getByText("The video could not be loaded: its link may have expired.").waitFor();
  assert.equal(chat.calls.length, 1);
  assert.ok(await chat.byId("still").isVisible());
  await bed.api.command("break_links", { broken: false });
  await chat.button("Load again").click();
  await waitForVideo(chat);
  assert.equal(await chat.byId("media-problem").isVisible(), false);
  assert.ok(await chat.byId("video").isVisible());
  await chat.close();
});

test("a player that cannot poll explains how to renew an expired link", async () => {
  await bed.api.command("break_links", { broken: true });
  const { chat } = await showFinished({ capabilities: { serverTools: null } });
  await chat.frame.getByText("Ask for this video again to get a new link.").waitFor();
  assert.equal(await chat.button("Load again").count(), 0);
  await bed.api.command("break_links", { broken: false });
  await chat.close();
});

test("a chat that blocks media shows the picture and offers the browser", async () => {
  const { chat, job } = await showFinished({ csp: {} });
  await chat.frame.getByText("This chat does not show videos from other sites.").waitFor();
  await chat.until(() => document.querySelector("#still").naturalWidth > 0);
  assert.match(await chat.byId("still").getAttribute("src"), /^data:image\/jpeg;base64,/);
  assert.match(await chat.button("Open in browser").getAttribute("class"), /primary/);
  assert.doesNotMatch((await chat.button("Download").getAttribute("class")) ?? "", /primary/);
  await chat.button("Open in browser").click();
  assert.equal((await chat.waitForEvent("open")).url, job.video.url);
  assert.deepEqual(chat.calls, []);
  await chat.close();
});

test("the picture in the result replaces a thumbnail that does not load", async () => {
  const { chat: other, job } = await showFinished();
  const chat = await bed.chat();
  const picture = (await bed.server.call("get_job", { jobid: job.jobid })).content.find(({ type }) => type === "image");
  const structuredContent = { ...job, thumbnail_url: `${bed.api.origin}/media/none/none.jpg` };
  await chat.send("sendToolResult", { content: [picture], structuredContent });
  await chat.until(() => document.querySelector("video").poster.startsWith("data:image/jpeg"));
  await other.close();
  await chat.close();
});

test("a link is opened or shown where the host cannot download", async () => {
  const { chat, job } = await showFinished({ capabilities: { downloadFile: null } });
  await chat.button("Download").click();
  assert.equal((await chat.waitForEvent("open")).url, job.video.url);
  await chat.close();
  const { chat: other, job: second } = await showFinished({ capabilities: { downloadFile: null, openLinks: null } });
  await other.button("Open in browser").click();
  const field = other.frame.locator("textarea");
  await field.waitFor();
  assert.equal(await field.inputValue(), second.video.url);
  assert.equal(await field.evaluate((area) => area.value.slice(area.selectionStart, area.selectionEnd)), second.video.url);
  await other.close();
});

test("the link is copied, or shown where there is no clipboard", async () => {
  const { chat, job } = await showFinished({ browser: { permissions: ["clipboard-read", "clipboard-write"] } });
  await chat.button("Copy link").click();
  await chat.frame.getByText("Link copied.").or(chat.frame.getByText("Copy the link:")).waitFor();
  await chat.close();
  const { chat: without, job: second } = await showFinished();
  await without.frame.evaluate(() => Object.defineProperty(navigator, "clipboard", { value: { writeText: () => Promise.reject(new Error("no")) } }));
  await without.button("Copy link").click();
  assert.equal(await without.frame.locator("textarea").inputValue(), second.video.url);
  assert.notEqual(job.video.url, second.video.url);
  await without.close();
});

test("an unsafe address is used neither as a link nor as a source", async () => {
  const chat = await bed.chat();
  const job = { jobid: "j:1", state: "completed", status: "completed", video: { url: "javascript:alert(1)" }, thumbnail_url: "file:///etc/passwd" };
  await chat.send("sendToolResult", { content: [], structuredContent: job });
  await chat.waitForPhase("finished");
  assert.equal(await chat.button("Open in browser").count(), 0);
  assert.equal(await chat.byId("video").getAttribute("src"), null);
  assert.equal(await chat.byId("still").getAttribute("src"), null);
  await chat.close();
});

test("a result is shown as text and never as HTML", async () => {
  const chat = await bed.chat();
  const evil = "<img src=x onerror=\"window.harmed=1\"><b>bold</b>";
  const job = { jobid: evil, state: "completed", status: "completed", request: { prompt: evil, model: evil }, video: { url: "https://example.com/a.mp4" }, saved_files: [evil], save_problem: evil, note: evil };
  await chat.send("sendToolResult", { content: [], structuredContent: job });
  await chat.waitForPhase("finished");
  assert.equal(await chat.byId("prompt").textContent(), evil);
  assert.equal(await chat.frame.locator("main b").count(), 0);
  assert.equal(await chat.frame.evaluate(() => window.harmed), undefined);
  await chat.close();
});

test("saved files and a failure to save are shown", async () => {
  const chat = await bed.chat();
  const job = { jobid: "j:1", state: "completed", status: "completed", video: { url: "https://example.com/a.mp4", plays_in_browser: false }, saved_files: ["/media/ada/Videos/Luma/fox.mp4"], save_problem: "the disk is full" };
  await chat.send("sendToolResult", { content: [], structuredContent: job });
  await chat.frame.getByText("Saved: /media/ada/Videos/Luma/fox.mp4").waitFor();
  await chat.frame.getByText("Not saved: the disk is full").waitFor();
  await chat.close();
});

test("a simulated video is marked by its field only", async () => {
  const chat = await bed.chat();
  chat.hold();
  const job = { jobid: "j:1", state: "running", status: "created", note: "Simulated: a note." };
  await chat.send("sendToolResult", { content: [], structuredContent: job });
  await chat.waitForPhase("running");
  assert.equal(await chat.byId("simulated").isVisible(), false);
  await chat.send("sendToolResult", { content: [], structuredContent: { ...job, simulated: true } });
  await chat.byId("simulated").waitFor();
  await chat.close();
});

test("full screen is offered where the host supports it", async () => {
  const { chat } = await showFinished({ context: { availableDisplayModes: ["inline", "fullscreen"], displayMode: "inline" } });
  await chat.button("Full screen").click();
  await chat.button("Back to the chat").click();
  assert.deepEqual([(await chat.waitForEvent("display")).mode, (await chat.waitForEvent("display", 2)).mode], ["fullscreen", "inline"]);
  await chat.close();
  const { chat: without } = await showFinished();
  assert.equal(await without.button("Full screen").count(), 0);
  await without.close();
});
