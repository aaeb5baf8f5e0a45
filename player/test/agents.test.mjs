import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { TestBed } from "./chat.mjs";
import { CREDENTIALS, Server } from "./server.mjs";

const JOBID = "2f6c0c1a-5b7e-4d3c-9a41-0d1f3b6f7c55";
const KEYFRAMES = [{ image: "a.png", seconds: 0 }, { image: "b.png", seconds: 2.5 }, { image: "c.png", seconds: 5 }];
const REQUEST = { prompt: "A fox", model: "ray-3.2", resolution: "720p", aspect_ratio: "1:1", duration: "5s", dynamic_range: "sdr" };
/** @type {TestBed} */
let bed;
/** The page of a server that uses Luma's own Agents API. */
before(async () => {
  bed = await TestBed.start();
  const server = await Server.start(bed.api.baseUrl, CREDENTIALS.agents);
  bed.page = await server.page();
  await server.stop();
});
after(() => bed.stop());

async function showResult(structuredContent, options = {}) {
  const chat = await bed.chat();
  await chat.send("sendToolInput", { arguments: { prompt: "A fox" } });
  await chat.send("sendToolResult", { content: [{ type: "text", text: "…" }], structuredContent, ...options });
  return chat;
}
const finished = (request, video = {}) =>
  showResult({ jobid: JOBID, state: "completed", status: "completed", request: { ...REQUEST, ...request }, video: { url: "https://example.com/a.mp4", ...video }, price: 0.3 });

test("the usual time of the second API is shown while the call waits", async () => {
  const chat = await bed.chat();
  await chat.send("sendToolInput", { arguments: { prompt: "A fox", dynamic_range: "hdr" } });
  await chat.frame.getByText(/usually 0:40 to 2:00/).waitFor();
  await chat.close();
});

test("keyframes, a loop and an extended clip are listed", async () => {
  const options = [];
  for (const inputs of [{ keyframes: KEYFRAMES }, { image_start: "a.png", loop: true }, { extend: JOBID }, { keyframes: KEYFRAMES.slice(1, 2) }]) {
    const chat = await finished(inputs);
    await chat.waitForPhase("finished");
    options.push((await chat.byId("options").textContent()).split(" · ").slice(5).join(", "));
    await chat.close();
  }
  assert.deepEqual(options, ["with 3 keyframes", "with image start, loop", "extends an earlier clip", "with 1 keyframe"]);
});

test("the call for another take contains the keyframes", async () => {
  const chat = await finished({ keyframes: KEYFRAMES });
  assert.match(await chat.byId("facts").textContent(), /price \$0\.30/);
  await chat.button("Another take").click();
  const text = await chat.waitForMessage();
  assert.deepEqual(JSON.parse(/generate_video with (\{.*\})/.exec(text)[1]), { ...REQUEST, keyframes: KEYFRAMES, new_take: true });
  await chat.close();
});

test("the format of an HDR video is shown", async () => {
  const chat = await finished({ dynamic_range: "hdr_exr" }, { plays_in_browser: false });
  assert.match(await chat.byId("hdr-note").textContent(), /^HDR MP4: no browser can play it\..*EXR frames for grading come separately\.$/);
  await chat.close();
});

test("a suggestion shows the number of keyframes", async () => {
  const error = { kind: "invalid_arguments", charged: "no", retry: "after_change", problems: [{ message: "…" }], suggestion: { ...REQUEST, keyframes: KEYFRAMES, loop: true } };
  const chat = await showResult({ error }, { isError: true });
  await chat.waitForPhase("failed");
  assert.match(await chat.byId("suggestion").textContent(), /ray-3\.2 · 720p · 1:1 · 5s · sdr · with 3 keyframes · loop$/);
  await chat.close();
});

test("a missing key is described in the terms of the second API", async () => {
  const chat = await showResult({ error: { kind: "unauthorized", message: "…", charged: "no", retry: "after_change" } }, { isError: true });
  await chat.waitForPhase("failed");
  assert.equal(await chat.byId("error-title").textContent(), "The API key was not accepted");
  assert.match(await chat.byId("hint").textContent(), /LUMA_AGENTS_API_KEY/);
  await chat.close();
});
