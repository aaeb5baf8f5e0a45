import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { Theatre } from "./chat.mjs";

/** @type {Theatre} */
let theatre;
before(async () => (theatre = await Theatre.open()));
after(() => theatre.close());

const orders = async () => (await theatre.stage.do("told")).orders;
/** The words of the call that a message asks for, as an agent would take them. */
const call = (text) => JSON.parse(/generate_video with (\{.*?\})(?= and a prompt|$)/.exec(text)[1]);

async function finished(words) {
  const chat = await theatre.chat();
  const { structuredContent } = await chat.call("generate_video", { wait_seconds: 0, ...words });
  await theatre.stage.do("finish", { jobid: structuredContent.jobid });
  await chat.becomes("finished");
  return { chat, jobid: structuredContent.jobid };
}

test("going on from the last frame is asked in words that the server takes", async () => {
  const { chat, jobid } = await finished({ prompt: "A fox", resolution: "540p", aspect_ratio: "1:1" });
  await chat.button("Continue from the last frame").click();
  const { role, content } = await chat.asked("message");
  assert.equal(role, "user");
  const words = call(content[0].text);
  assert.deepEqual(words, { image_start: jobid, model: "ray-v3-flash", resolution: "540p", aspect_ratio: "1:1", duration: "5s", dynamic_range: "sdr" });
  await chat.frame.getByText("Asked in the chat.").waitFor();

  const result = await theatre.server.call("generate_video", { ...words, prompt: "The fox looks up", wait_seconds: 0 });
  assert.equal(result.structuredContent.state, "running", JSON.stringify(result.structuredContent));
  assert.match(JSON.stringify((await orders()).at(-1)), /-image:/);
  await chat.close();
});

test("another take is asked in words that order a second job, also while the first one runs", async () => {
  const { chat } = await finished({ prompt: 'A fox, "quick" and {brown}\nin the snow', dynamic_range: "hdr" });
  const before = (await orders()).length;
  await chat.button("Another take").click();
  const words = call((await chat.asked("message")).content[0].text);
  assert.equal(words.new_take, true);
  const takes = [await theatre.server.call("generate_video", { ...words, wait_seconds: 0 }), await theatre.server.call("generate_video", { ...words, wait_seconds: 0 })];
  assert.deepEqual(takes.map((take) => take.structuredContent.state), ["running", "running"]);
  assert.notEqual(takes[0].structuredContent.jobid, takes[1].structuredContent.jobid);
  const [first, second, third] = (await orders()).slice(before - 1);
  assert.deepEqual([second, third], [first, first]);
  await chat.close();
});

test("a second click right after the first asks nothing twice, and the page itself orders nothing", async () => {
  const { chat } = await finished({ prompt: "A fox in the rain" });
  const before = (await orders()).length;
  await chat.button("Another take").dblclick();
  await chat.frame.getByText("Asked in the chat.").waitFor();
  assert.equal(chat.events.filter(({ name }) => name === "message").length, 1);
  assert.equal((await orders()).length, before);
  assert.ok(chat.calls.every(({ name }) => name === "get_job"));
  await chat.close();
});

test("where the chat takes no message, its words are shown to be copied", async () => {
  const { chat, jobid } = await finished({ prompt: "A fox at night" });
  chat.refuse.message = true;
  await chat.button("Continue from the last frame").click();
  const text = await chat.frame.locator("textarea").inputValue();
  assert.equal(call(text).image_start, jobid);
  await chat.frame.getByText("This chat takes no message from the player. Copy this into it:").waitFor();
  await chat.close();
});

test("a video of which only the jobid is known can be gone on with, too", async () => {
  const chat = await theatre.chat();
  const job = { jobid: "j:1@x", state: "completed", status: "completed", video: { url: "https://example.com/a.mp4", plays_in_browser: false } };
  await chat.send("sendToolResult", { content: [], structuredContent: job });
  await chat.button("Continue from the last frame").click();
  assert.deepEqual(call((await chat.asked("message")).content[0].text), { image_start: "j:1@x" });
  await chat.button("Another take").click();
  assert.match((await chat.asked("message", 2)).content[0].text, /j:1@x.*"new_take": true/);
  await chat.close();
});
