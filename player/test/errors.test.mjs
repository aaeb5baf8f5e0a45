import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { TestBed } from "./chat.mjs";

/** @type {TestBed} */
let bed;
before(async () => (bed = await TestBed.start()));
after(() => bed.stop());

const visibleText = (chat) => chat.byId("card").innerText();

async function order(args, options) {
  const chat = await bed.chat(options);
  const result = await chat.call("generate_video", { wait_seconds: 0, ...args });
  return { chat, result };
}

test("a rejection shows every problem and offers the suggestion", async () => {
  const { chat, result } = await order({ prompt: "Waves at night", model: "ray-v3-reasoning", resolution: "draft", duration: "10s", dynamic_range: "hdr" });
  await chat.waitForPhase("failed");
  const { problems, suggestion } = result.structuredContent.error;
  assert.equal(problems.length, 2);
  const text = await visibleText(chat);
  for (const { message, allowed } of problems) assert.ok([message, ...allowed].every((part) => text.includes(part)));
  assert.match(text, /Nothing was charged\./);
  assert.match(text, /This would work: ray-v3-reasoning · 720p \(not draft\) · 16:9 · 5s \(not 10s\) · hdr/);
  assert.equal(await chat.byId("media").isVisible(), false);
  await chat.button("Make this instead").click();
  const message = await chat.waitForMessage();
  const args = JSON.parse(message.slice(message.indexOf("{")));
  assert.deepEqual(args, suggestion);
  const accepted = await bed.server.call("generate_video", { ...args, wait_seconds: 0 });
  assert.equal(accepted.structuredContent.state, "running");
  await chat.close();
});

test("a failed job shows the reason instead of the video", async () => {
  const { chat, result } = await order({ prompt: "Waves simulate:fail" });
  await chat.waitForPhase("running");
  const place = await chat.byId("media").boundingBox();
  await bed.api.finish(result.structuredContent.jobid);
  await chat.waitForPhase("failed");
  assert.match(await visibleText(chat), /Generation failed: the model could not make this video/);
  assert.equal((await chat.byId("error").boundingBox()).height, place.height);
  assert.match((await chat.waitForEvent("context")).content[0].text, /ended without a video/);
  await chat.button("Ask for a changed prompt").click();
  assert.match(await chat.waitForMessage(), /when I agree/);
  await chat.close();
});

const REJECTED = {
  moderate: ["Content moderation rejected this", "Ask for a changed prompt"],
  busy: ["All video slots are in use", "Try again"],
  broke: ["There is no subscription, or no credits are left", "Try again"],
  expired: ["The Luma account needs to be renewed", "Try again"],
};
for (const [behavior, [headline, label]] of Object.entries(REJECTED)) {
  test(`${behavior}: the reason is shown, and "${label}" sends a message`, async () => {
    const { chat, result } = await order({ prompt: `Waves simulate:${behavior}` });
    await chat.frame.getByRole("heading", { name: headline }).waitFor();
    assert.ok((await visibleText(chat)).includes(result.structuredContent.error.message));
    await chat.button(label).click();
    await chat.waitForEvent("message");
    assert.deepEqual(chat.calls, []);
    await chat.close();
  });
}

/** A chat in which an order got that error. */
async function showError(error, options) {
  const chat = await bed.chat(options);
  await chat.send("sendToolInput", { arguments: { prompt: "Waves" } });
  await chat.send("sendToolResult", { isError: true, content: [{ type: "text", text: error.message }], structuredContent: { error } });
  await chat.waitForPhase("failed");
  assert.ok((await visibleText(chat)).includes(error.message));
  return { chat, labels: await chat.frame.getByRole("button").allInnerTexts() };
}

const UNCERTAIN = {
  "an order whose response was lost": { kind: "outcome_unknown", message: "The response was lost. A job may be running and charged.", retry: "never", charged: "unknown" },
  "an order that failed without a jobid": { kind: "upstream", message: "The API failed (500). It gave no jobid.", retry: "never", status: 500, charged: "unknown" },
  "a failure of the server itself": { kind: "upstream", message: "This program failed (KeyError).", retry: "later" },
};
for (const [name, error] of Object.entries(UNCERTAIN)) {
  test(`after ${name}, no button orders`, async () => {
    const { chat, labels } = await showError(error);
    assert.match(await visibleText(chat), /do not order it again/);
    assert.doesNotMatch(await visibleText(chat), /Trying again/);
    assert.deepEqual(labels, ["Find the order"]);
    await chat.button("Find the order").click();
    const message = await chat.waitForMessage();
    assert.match(message, /list_jobs/);
    assert.doesNotMatch(message, /generate_video/);
    await chat.close();
  });
}

test("an ordered job that could not be polled is not ordered again", async () => {
  const made = await bed.server.call("generate_video", { prompt: "Waves", wait_seconds: 0 });
  const { jobid } = made.structuredContent;
  await bed.api.finish(jobid);
  const error = { kind: "unauthorized", message: "The video was ordered, but following its job failed.", retry: "after_change", status: 401, charged: "yes", jobid };

  const blind = await showError(error, { capabilities: { serverTools: null } });
  assert.deepEqual(blind.labels, ["Ask for this video"]);
  await blind.chat.button("Ask for this video").click();
  const message = await blind.chat.waitForMessage();
  assert.ok(message.includes("get_job") && message.includes(jobid) && !message.includes("generate_video"));
  await blind.chat.close();

  const { chat, labels } = await showError(error);
  assert.deepEqual(labels, ["Look again"]);
  assert.doesNotMatch(await visibleText(chat), /Trying again/);
  await chat.button("Look again").click();
  await chat.waitForPhase("finished");
  assert.deepEqual(chat.events.filter(({ name }) => name === "message"), []);
  await chat.close();
});

test("a running job that can no longer be polled is not ordered again", async () => {
  const made = await bed.server.call("generate_video", { prompt: "Waves in the dark", wait_seconds: 0 });
  const error = { kind: "unauthorized", message: "The API does not know the token.", retry: "after_change", status: 401 };
  const chat = await bed.chat({ capabilities: { serverTools: null } });
  await chat.send("sendToolInput", { arguments: { prompt: "Waves in the dark" } });
  await chat.send("sendToolResult", made);
  await chat.waitForPhase("running");
  await chat.send("sendToolResult", { isError: true, content: [], structuredContent: { error } });
  await chat.waitForPhase("failed");
  assert.deepEqual(await chat.frame.getByRole("button").allInnerTexts(), ["Ask for this video"]);
  await chat.close();
});

test("no button orders after the hourly limit", async () => {
  const message = "The hourly limit has been reached. The next one can be ordered at 14:05 UTC.";
  const { chat, labels } = await showError({ kind: "limit_reached", message, retry: "later", charged: "no" });
  await chat.frame.getByRole("heading", { name: "The hourly limit is reached" }).waitFor();
  assert.deepEqual(labels, []);
  assert.doesNotMatch(await visibleText(chat), /Trying again/);
  await chat.close();
});

test("a job that could not be polled can be polled again", async () => {
  const made = await bed.server.call("generate_video", { prompt: "Waves in the sun", wait_seconds: 0 });
  const { jobid } = made.structuredContent;
  await bed.api.finish(jobid);
  const chat = await bed.chat();
  const error = { kind: "unauthorized", message: "The API does not know the token.", retry: "after_change", jobid };
  await chat.send("sendToolInput", { arguments: { jobid } });
  await chat.send("sendToolResult", { isError: true, content: [], structuredContent: { error } });
  await chat.waitForPhase("failed");
  await chat.button("Look again").click();
  await chat.waitForPhase("finished");
  await chat.close();
});

test("a result without structured content is shown as text", async () => {
  const chat = await bed.chat();
  await chat.send("sendToolInput", { arguments: { prompt: "Waves" } });
  await chat.send("sendToolResult", { content: [{ type: "text", text: "The video is ready.\nOrdered: ray-v3" }] });
  await chat.waitForPhase("text");
  assert.equal(await chat.byId("reason").textContent(), "The video is ready.\nOrdered: ray-v3");
  assert.deepEqual(await chat.frame.getByRole("button").allInnerTexts(), []);
  await chat.send("sendToolResult", { isError: true, content: [{ type: "text", text: "It broke." }] });
  await chat.waitForPhase("failed");
  await chat.frame.getByText("It broke.").waitFor();
  await chat.close();
});

test("the player polls a known job whose result is only text", async () => {
  const made = await bed.server.call("generate_video", { prompt: "Waves in the fog", wait_seconds: 0 });
  const { jobid } = made.structuredContent;
  await bed.api.finish(jobid);
  const chat = await bed.chat();
  await chat.send("sendToolInput", { arguments: { jobid } });
  await chat.send("sendToolResult", { content: [{ type: "text", text: "The video is ready." }] });
  await chat.waitForPhase("finished");
  await chat.close();
});
