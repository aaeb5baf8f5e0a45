import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { TestBed } from "./chat.mjs";

/** @type {TestBed} */
let bed;
before(async () => (bed = await TestBed.start()));
after(() => bed.stop());

/** The arguments of the call that a message asks for, as an agent would read them. */
const parseCall = (text) => JSON.parse(/generate_video with (\{.*?\})(?= and a prompt|$)/.exec(text)[1]);

async function finishedVideo(args) {
  const chat = await bed.chat();
  const { structuredContent } = await chat.call("generate_video", { wait_seconds: 0, ...args });
  await bed.api.finish(structuredContent.jobid);
  await chat.waitForPhase("finished");
  return { chat, jobid: structuredContent.jobid };
}

test("the server accepts the call to continue from the last frame", async () => {
  const { chat, jobid } = await finishedVideo({ prompt: "A fox", resolution: "540p", aspect_ratio: "1:1" });
  await chat.button("Continue from the last frame").click();
  const { role, content } = await chat.waitForEvent("message");
  assert.equal(role, "user");
  const args = parseCall(content[0].text);
  assert.deepEqual(args, { image_start: jobid, model: "ray-v3-flash", resolution: "540p", aspect_ratio: "1:1", duration: "5s", dynamic_range: "sdr" });
  await chat.frame.getByText("Sent to the chat.").waitFor();

  const result = await bed.server.call("generate_video", { ...args, prompt: "The fox looks up", wait_seconds: 0 });
  assert.equal(result.structuredContent.state, "running", JSON.stringify(result.structuredContent));
  assert.match(JSON.stringify((await bed.api.orders()).at(-1)), /-image:/);
  await chat.close();
});

test("the call for another take orders a second job", async () => {
  const { chat } = await finishedVideo({ prompt: 'A fox, "quick" and {brown}\nin the snow', dynamic_range: "hdr" });
  const before = (await bed.api.orders()).length;
  await chat.button("Another take").click();
  const args = parseCall(await chat.waitForMessage());
  assert.equal(args.new_take, true);
  const takes = [await bed.server.call("generate_video", { ...args, wait_seconds: 0 }), await bed.server.call("generate_video", { ...args, wait_seconds: 0 })];
  assert.deepEqual(takes.map((take) => take.structuredContent.state), ["running", "running"]);
  assert.notEqual(takes[0].structuredContent.jobid, takes[1].structuredContent.jobid);
  const [first, second, third] = (await bed.api.orders()).slice(before - 1);
  assert.deepEqual([second, third], [first, first]);
  await chat.close();
});

test("the server accepts the call to start from the user's own picture", async () => {
  const { chat } = await finishedVideo({ prompt: "A fox by the sea", aspect_ratio: "9:16" });
  await chat.button("Start from my own picture").click();
  const text = await chat.waitForMessage();
  const args = JSON.parse(/call add_picture with (\{.*?\})/.exec(text)[1]);
  assert.deepEqual(args, { use_as: "image_start", aspect_ratio: "9:16" });
  const { structuredContent } = await bed.server.call("add_picture", args);
  assert.deepEqual([structuredContent.use_as, structuredContent.aspect_ratio], ["image_start", "9:16"]);
  await chat.close();
});

test("a double click sends one message and orders nothing", async () => {
  const { chat } = await finishedVideo({ prompt: "A fox in the rain" });
  const before = (await bed.api.orders()).length;
  await chat.button("Another take").dblclick();
  await chat.frame.getByText("Sent to the chat.").waitFor();
  assert.equal(chat.events.filter(({ name }) => name === "message").length, 1);
  assert.equal((await bed.api.orders()).length, before);
  assert.ok(chat.calls.every(({ name }) => name === "get_job"));
  await chat.close();
});

test("a message that the chat rejects can be copied", async () => {
  const { chat, jobid } = await finishedVideo({ prompt: "A fox at night" });
  chat.rejected.message = true;
  await chat.button("Continue from the last frame").click();
  const text = await chat.frame.locator("textarea").inputValue();
  assert.equal(parseCall(text).image_start, jobid);
  await chat.frame.getByText("This chat takes no messages from the player. Copy this into it:").waitFor();
  await chat.close();
});

test("a video with only a jobid can be continued", async () => {
  const chat = await bed.chat();
  const job = { jobid: "j:1@x", state: "completed", status: "completed", video: { url: "https://example.com/a.mp4", plays_in_browser: false } };
  await chat.send("sendToolResult", { content: [], structuredContent: job });
  await chat.button("Continue from the last frame").click();
  assert.deepEqual(parseCall(await chat.waitForMessage()), { image_start: "j:1@x" });
  await chat.button("Another take").click();
  assert.match(await chat.waitForMessage(2), /j:1@x.*"new_take": true/);
  await chat.close();
});
