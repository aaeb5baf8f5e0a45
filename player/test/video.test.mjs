import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { Theatre } from "./chat.mjs";

const FOX = { prompt: "A red fox walks through fresh snow at dawn", wait_seconds: 0, new_take: true };
/** @type {Theatre} */
let theatre;
before(async () => (theatre = await Theatre.open()));
after(() => theatre.close());

/** A finished job, shown by the model's own get_job. */
async function shown(how = {}, words = {}) {
  const made = await theatre.server.call("generate_video", { ...FOX, ...words });
  const { jobid } = made.structuredContent;
  await theatre.stage.do("finish", { jobid });
  const chat = await theatre.chat(how);
  const { structuredContent: job } = await chat.call("get_job", { jobid, wait_seconds: 20 });
  await chat.becomes("finished");
  return { chat, job, jobid };
}
const plays = (chat) => chat.until(() => document.querySelector("video").readyState > 0);

test("the video plays when it is asked to, from the place where the result says it is", async () => {
  const { chat, job } = await shown();
  await plays(chat);
  assert.equal(await chat.at("video").evaluate((video) => video.currentSrc), job.video.url);
  assert.equal(await chat.at("video").evaluate((video) => video.poster), job.thumbnail_url);
  await chat.at("video").evaluate((video) => video.play());
  await chat.until(() => document.querySelector("video").currentTime > 0.2);
  await chat.close();
});

test("an HDR video is not tried: its picture, why, and the ways to see it are shown", async () => {
  const { chat, job } = await shown({}, { dynamic_range: "hdr" });
  await chat.until(() => document.querySelector("#still").naturalWidth > 0);
  assert.match(await chat.at("explains").textContent(), /HEVC Main 10.*no browser can show it.*VLC, mpv/);
  assert.equal(await chat.at("video").isVisible(), false);
  assert.ok(await chat.at("hdr").isVisible());
  await chat.button("Download").click();
  const { contents } = await chat.asked("download");
  assert.deepEqual(contents, [{ type: "resource_link", uri: job.video.url, name: "A-red-fox-walks-through-fresh.mp4", mimeType: "video/mp4" }]);
  assert.equal(await chat.button("EXR frames").count(), 0);
  assert.equal(await chat.at("video").getAttribute("src"), null);
  await chat.close();
});

test("EXR frames can be fetched beside the video", async () => {
  const { chat, job } = await shown({}, { dynamic_range: "hdr_exr" });
  assert.match(await chat.at("explains").textContent(), /EXR frames/);
  await chat.button("EXR frames").click();
  const { contents } = await chat.asked("download");
  assert.deepEqual([contents[0].uri, contents[0].mimeType], [job.exr_zip_url, "application/zip"]);
  await chat.close();
});

test("a link that has expired is replaced by a fresh one, unseen", async () => {
  const made = await shown();
  await theatre.stage.do("expire");
  const chat = await theatre.chat();
  const old = { content: [], structuredContent: made.job };
  await chat.send("sendToolInput", { arguments: { jobid: made.jobid } });
  await chat.send("sendToolResult", old);
  await plays(chat);
  assert.deepEqual(chat.calls.map(({ name, arguments: words }) => [name, words]), [["get_job", { jobid: made.jobid, wait_seconds: 0 }]]);
  assert.notEqual(await chat.at("video").evaluate((video) => video.currentSrc), made.job.video.url);
  assert.equal(await chat.at("strip").isVisible(), false);
  await chat.button("Open in browser").click();
  assert.equal((await chat.asked("open")).url, await chat.at("video").evaluate((video) => video.currentSrc));
  await made.chat.close();
  await chat.close();
});

test("a video whose link expires while it is watched goes on where it was", async () => {
  const { chat, job } = await shown();
  await plays(chat);
  await chat.at("video").evaluate((video) => (video.currentTime = 3));
  await chat.until(() => document.querySelector("video").currentTime === 3 && !document.querySelector("video").seeking);
  await theatre.stage.do("expire");
  // The clips are so small that a browser holds them whole: it has no reason of its own to notice.
  await chat.at("video").evaluate((video) => video.dispatchEvent(new Event("error")));
  await chat.until((old) => document.querySelector("video").currentSrc !== old && document.querySelector("video").readyState > 0, job.video.url);
  await chat.until(() => document.querySelector("video").currentTime === 3);
  assert.equal(chat.calls.length, 1);
  await chat.close();
});

test("a video that no link brings back is told so, once tried anew, and again when asked", async () => {
  await theatre.stage.do("dead", { dead: true });
  const { chat } = await shown();
  await chat.frame.getByText("The video could not be loaded: its link may have expired.").waitFor();
  assert.equal(chat.calls.length, 1);
  assert.ok(await chat.at("still").isVisible());
  await theatre.stage.do("dead", { dead: false });
  await chat.button("Load again").click();
  await plays(chat);
  assert.equal(await chat.at("strip").isVisible(), false);
  assert.ok(await chat.at("video").isVisible());
  await chat.close();
});

test("without a way to the server an expired link is told with what to do", async () => {
  await theatre.stage.do("dead", { dead: true });
  const { chat } = await shown({ capabilities: { serverTools: null } });
  await chat.frame.getByText("Ask for this video again to get a fresh link.").waitFor();
  assert.equal(await chat.button("Load again").count(), 0);
  await theatre.stage.do("dead", { dead: false });
  await chat.close();
});

test("where the chat shows no media from outside, the picture of the result stands in, and the browser is one click away", async () => {
  const { chat, job } = await shown({ csp: {} });
  await chat.frame.getByText("This chat does not show videos from outside.").waitFor();
  await chat.until(() => document.querySelector("#still").naturalWidth > 0);
  assert.match(await chat.at("still").getAttribute("src"), /^data:image\/jpeg;base64,/);
  assert.match(await chat.button("Open in browser").getAttribute("class"), /primary/);
  assert.doesNotMatch((await chat.button("Download").getAttribute("class")) ?? "", /primary/);
  await chat.button("Open in browser").click();
  assert.equal((await chat.asked("open")).url, job.video.url);
  assert.deepEqual(chat.calls, []);
  await chat.close();
});

test("a thumbnail that does not load is replaced by the picture in the result", async () => {
  const { chat: other, job } = await shown();
  const chat = await theatre.chat();
  const picture = (await theatre.server.call("get_job", { jobid: job.jobid })).content.find(({ type }) => type === "image");
  const structuredContent = { ...job, thumbnail_url: `${theatre.stage.origin}/media/none/none.jpg` };
  await chat.send("sendToolResult", { content: [picture], structuredContent });
  await chat.until(() => document.querySelector("video").poster.startsWith("data:image/jpeg"));
  await other.close();
  await chat.close();
});

test("a host that downloads nothing opens the link, and one that opens none shows it to be copied", async () => {
  const { chat, job } = await shown({ capabilities: { downloadFile: null } });
  await chat.button("Download").click();
  assert.equal((await chat.asked("open")).url, job.video.url);
  await chat.close();
  const { chat: closed, job: second } = await shown({ capabilities: { downloadFile: null, openLinks: null } });
  await closed.button("Open in browser").click();
  const field = closed.frame.locator("textarea");
  await field.waitFor();
  assert.equal(await field.inputValue(), second.video.url);
  assert.equal(await field.evaluate((area) => area.value.slice(area.selectionStart, area.selectionEnd)), second.video.url);
  await closed.close();
});

test("the link is copied, or shown to be copied where the chat has no clipboard", async () => {
  const { chat, job } = await shown({ browser: { permissions: ["clipboard-read", "clipboard-write"] } });
  await chat.button("Copy link").click();
  await chat.frame.getByText("Link copied.").or(chat.frame.getByText("Copy the link:")).waitFor();
  await chat.close();
  const { chat: without, job: second } = await shown();
  await without.frame.evaluate(() => Object.defineProperty(navigator, "clipboard", { value: { writeText: () => Promise.reject(new Error("no")) } }));
  await without.button("Copy link").click();
  assert.equal(await without.frame.locator("textarea").inputValue(), second.video.url);
  assert.notEqual(job.video.url, second.video.url);
  await without.close();
});

test("an address that is no web address becomes no link and no source", async () => {
  const chat = await theatre.chat();
  const job = { jobid: "j:1", state: "completed", status: "completed", video: { url: "javascript:alert(1)" }, thumbnail_url: "file:///etc/passwd" };
  await chat.send("sendToolResult", { content: [], structuredContent: job });
  await chat.becomes("finished");
  assert.equal(await chat.button("Open in browser").count(), 0);
  assert.equal(await chat.at("video").getAttribute("src"), null);
  assert.equal(await chat.at("still").getAttribute("src"), null);
  await chat.close();
});

test("what a result says is shown as text, never as a page", async () => {
  const chat = await theatre.chat();
  const evil = "<img src=x onerror=\"window.harmed=1\"><b>bold</b>";
  const job = { jobid: evil, state: "completed", status: "completed", request: { prompt: evil, model: evil }, video: { url: "https://example.com/a.mp4" }, saved_files: [evil], save_problem: evil, note: evil };
  await chat.send("sendToolResult", { content: [], structuredContent: job });
  await chat.becomes("finished");
  assert.equal(await chat.at("prompt").textContent(), evil);
  assert.equal(await chat.frame.locator("main b").count(), 0);
  assert.equal(await chat.frame.evaluate(() => window.harmed), undefined);
  await chat.close();
});

test("saved files are named, and what was not saved", async () => {
  const chat = await theatre.chat();
  const job = { jobid: "j:1", state: "completed", status: "completed", video: { url: "https://example.com/a.mp4", plays_in_browser: false }, saved_files: ["/media/ada/Videos/Luma/fox.mp4"], save_problem: "the disk is full" };
  await chat.send("sendToolResult", { content: [], structuredContent: job });
  await chat.frame.getByText("Saved: /media/ada/Videos/Luma/fox.mp4").waitFor();
  await chat.frame.getByText("Not saved: the disk is full").waitFor();
  await chat.close();
});

test("a simulated video says that it is one", async () => {
  const chat = await theatre.chat();
  chat.hold();
  const job = { jobid: "j:1", state: "running", status: "created", note: "Simulated: nothing is generated and nothing was billed." };
  await chat.send("sendToolResult", { content: [], structuredContent: job });
  await chat.at("simulated").waitFor();
  await chat.close();
});

test("full screen is offered where the host has it, and leads back", async () => {
  const { chat } = await shown({ context: { availableDisplayModes: ["inline", "fullscreen"], displayMode: "inline" } });
  await chat.button("Full screen").click();
  await chat.button("Back to the chat").click();
  assert.deepEqual([(await chat.asked("display")).mode, (await chat.asked("display", 2)).mode], ["fullscreen", "inline"]);
  await chat.close();
  const { chat: without } = await shown();
  assert.equal(await without.button("Full screen").count(), 0);
  await without.close();
});
