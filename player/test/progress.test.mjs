import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { TestBed } from "./chat.mjs";

const FOX = { prompt: "A red fox walks through fresh snow at dawn", wait_seconds: 0, new_take: true };
/** @type {TestBed} */
let bed;
before(async () => (bed = await TestBed.start()));
after(() => bed.stop());

const countOrders = async () => (await bed.api.orders()).length;
const jobid = (result) => result.structuredContent.jobid;
const mediaBox = (chat) => chat.byId("media").boundingBox();

test("an order becomes a job and a video without layout shifts", async () => {
  const [chat, ordered] = [await bed.chat(), await countOrders()];
  await chat.send("sendToolInput", { arguments: FOX });
  await chat.waitForPhase("ordering");
  assert.equal(await chat.byId("headline").textContent(), "Ordering…");
  const place = await mediaBox(chat);
  assert.ok(Math.abs(place.width / place.height - 16 / 9) < 0.01);

  const result = await bed.server.call("generate_video", FOX);
  await chat.send("sendToolResult", result);
  await chat.waitForPhase("running");
  assert.equal(await chat.byId("options").textContent(), "ray-v3-flash · draft · 16:9 · 5s · sdr");
  assert.match(await chat.byId("times").textContent(), /^0:0\d · usually 0:\d\d to \d:\d\d$/);
  const height = await chat.frame.evaluate(() => document.body.scrollHeight);
  await chat.frame.evaluate(() => (window.shifts.length = 0));

  await bed.api.finish(jobid(result));
  await chat.waitForPhase("finished");
  await chat.until(() => document.querySelector("video").readyState > 0 && document.querySelector("video").poster);
  assert.match(await chat.byId("facts").textContent(), /^Made in 0:\d\d · 20 credits$/);
  assert.deepEqual(await mediaBox(chat), place);
  assert.equal(await chat.frame.evaluate(() => document.body.scrollHeight), height);
  assert.ok((await chat.frame.evaluate(() => window.shifts.reduce((sum, shift) => sum + shift.value, 0))) < 0.005);
  assert.deepEqual(await chat.frame.evaluate(() => [document.querySelector("video").paused, document.querySelector("video").muted, document.querySelector("video").loop]), [true, true, true]);
  assert.equal(await countOrders(), ordered + 1);
  assert.deepEqual(new Set(chat.calls.map(({ name }) => name)), new Set(["get_job"]));
  await chat.close();
});

test("the usual time is shown while the call waits", async () => {
  const [plain, reasoning] = [await bed.chat(), await bed.chat()];
  await plain.send("sendToolInput", { arguments: { prompt: "A fox" } });
  await reasoning.send("sendToolInput", { arguments: { prompt: "A fox", model: "ray-v3-reasoning" } });
  assert.equal(await plain.byId("times").textContent(), "0:00");
  const timesEndWith = (usual) => [(text) => document.querySelector("#times").textContent.endsWith(text), usual];
  await plain.until(...timesEndWith("usually 0:30 to 1:00"));
  await reasoning.until(...timesEndWith("usually 1:30 to 2:30"));
  assert.equal(await plain.byId("headline").textContent(), "Waiting for the video…");
  assert.ok(!(await plain.byId("bar").evaluate((bar) => bar.classList.contains("unknown"))));
  await plain.close();
  await reasoning.close();
});

test("the prompt and the aspect ratio appear while the model writes", async () => {
  const chat = await bed.chat();
  await chat.send("sendToolInputPartial", { arguments: { prompt: "A red" } });
  await chat.until(() => document.querySelector("#prompt").textContent === "A red");
  await chat.send("sendToolInputPartial", { arguments: { prompt: "A red fox", aspect_ratio: "9:16" } });
  await chat.until(() => document.querySelector("#prompt").textContent === "A red fox");
  const { width, height } = await mediaBox(chat);
  assert.ok(width < height && height <= 420);
  await chat.close();
});

test("the first poll is immediate, and later ones wait on the server", async () => {
  const chat = await bed.chat();
  const result = await chat.call("generate_video", FOX);
  await chat.waitForCalls(2);
  await bed.api.finish(jobid(result));
  await chat.waitForPhase("finished");
  assert.deepEqual(chat.calls.map((call) => call.arguments.wait_seconds).slice(0, 2), [0, 20]);
  assert.ok(chat.calls.every((call) => call.arguments.jobid === jobid(result) && !("save" in call.arguments)));
  await chat.close();
});

test("the bar never moves back", async () => {
  const chat = await bed.chat();
  const running = (elapsed_seconds) => ({ content: [], structuredContent: { jobid: "j:1", state: "running", status: "processing", elapsed_seconds, typical_seconds: [30, 60] } });
  const release = chat.hold();
  await chat.send("sendToolInput", { arguments: FOX });
  await chat.send("sendToolResult", running(40));
  await chat.waitForPhase("running");
  const filled = () => chat.frame.evaluate(() => Number.parseFloat(document.querySelector("#filled").style.inlineSize));
  const first = await filled();
  assert.ok(first >= 80 && first < 82, `${first}`);
  await chat.send("sendToolResult", running(5));
  await chat.until(() => document.querySelector("#times").textContent.startsWith("0:05"));
  assert.ok((await filled()) >= first);
  assert.match(await chat.byId("bar").getAttribute("aria-valuetext"), /^0:4\d · usually 0:30 to 1:00$/);
  await chat.send("sendToolResult", running(4000));
  await chat.until(() => Number.parseFloat(document.querySelector("#filled").style.inlineSize) > 98);
  assert.ok((await filled()) < 100);
  release();
  await chat.close();
});

test("the model gets one message that the video is ready", async () => {
  const chat = await bed.chat();
  const result = await chat.call("generate_video", FOX);
  await chat.waitForPhase("running");
  await bed.api.finish(jobid(result));
  const context = await chat.waitForEvent("context");
  const url = await chat.frame.evaluate(() => document.querySelector("video").src);
  assert.deepEqual(context.structuredContent, { jobid: jobid(result), state: "completed", video_url: url });
  assert.ok(context.content[0].text.includes(jobid(result)) && context.content[0].text.includes(url));
  await chat.until(() => document.querySelector("video").readyState > 0);
  assert.equal(chat.events.filter(({ name }) => name === "context").length, 1);
  await chat.close();
});

test("a finished job is shown without a call from the player", async () => {
  const made = await bed.server.call("generate_video", FOX);
  await bed.api.finish(jobid(made));
  const chat = await bed.chat();
  await chat.call("get_job", { jobid: jobid(made), wait_seconds: 20 });
  await chat.waitForPhase("finished");
  await chat.until(() => document.querySelector("video").readyState > 0);
  assert.deepEqual([chat.calls, chat.events], [[], []]);
  await chat.close();
});

test("a reopened chat shows the current state of its job", async () => {
  const old = await bed.server.call("generate_video", FOX);
  await bed.api.finish(jobid(old));
  const chat = await bed.chat();
  await chat.send("sendToolInput", { arguments: FOX });
  await chat.send("sendToolResult", old);
  await chat.waitForPhase("finished");
  assert.equal(chat.calls.length, 1);
  await chat.close();
});

test("two players of one job both show its video and order nothing", async () => {
  const [one, two, ordered] = [await bed.chat(), await bed.chat({ width: 320 }), await countOrders()];
  const result = await one.call("generate_video", FOX);
  await two.call("get_job", { jobid: jobid(result), wait_seconds: 0 });
  await Promise.all([one.waitForPhase("running"), two.waitForPhase("running")]);
  await bed.api.finish(jobid(result));
  await Promise.all([one.waitForPhase("finished"), two.waitForPhase("finished")]);
  assert.equal(await countOrders(), ordered + 1);
  await Promise.all([one.close(), two.close()]);
});

test("polling continues after the host loses its connection", async () => {
  const chat = await bed.chat();
  const result = await bed.server.call("generate_video", FOX);
  chat.failures = 2;
  await chat.send("sendToolInput", { arguments: FOX });
  await chat.send("sendToolResult", result);
  await chat.frame.getByText("Reconnecting…").waitFor();
  assert.equal(await chat.byId("card").getAttribute("data-phase"), "running");
  await bed.api.finish(jobid(result));
  await chat.waitForPhase("finished");
  assert.equal(chat.calls.length, 3);
  await chat.close();
});

test("the player continues after a transient error of get_job", async () => {
  const made = await bed.server.call("generate_video", FOX);
  const chat = await bed.chat();
  const down = { isError: true, content: [], structuredContent: { error: { kind: "network", message: "The API was not reached.", retry: "later", jobid: jobid(made) } } };
  await chat.send("sendToolInput", { arguments: { jobid: jobid(made) } });
  await chat.send("sendToolResult", down);
  await chat.waitForPhase("running");
  await chat.close();
});

test("a player that cannot poll asks for the video in the chat", async () => {
  const chat = await bed.chat({ capabilities: { serverTools: null } });
  const result = await chat.call("generate_video", FOX);
  await chat.waitForPhase("running");
  await chat.frame.getByText("Ask for this video again to see it.").waitFor();
  assert.ok((await chat.byId("status-note").textContent()).includes(jobid(result)));
  await chat.button("Ask for this video").click();
  const message = await chat.waitForMessage();
  assert.ok(message.includes(`get_job with {"jobid":"${jobid(result)}"}`));
  assert.ok(!(await chat.page.evaluate(() => window.methods)).includes("tools/call"));
  await chat.close();
});

test("a cancelled order can be found", async () => {
  const chat = await bed.chat();
  await chat.send("sendToolInput", { arguments: FOX });
  await chat.send("sendToolCancelled", { reason: "user" });
  await chat.waitForPhase("cancelled");
  await chat.button("Find the order").click();
  assert.match(await chat.waitForMessage(), /list_jobs/);
  await chat.frame.getByText("Sent to the chat.").waitFor();
  await chat.close();
});

test("a known job is polled even if its wait was cancelled", async () => {
  const made = await bed.server.call("generate_video", FOX);
  const chat = await bed.chat();
  await chat.send("sendToolInput", { arguments: { jobid: jobid(made), wait_seconds: 45 } });
  await chat.send("sendToolCancelled", {});
  await chat.waitForPhase("running");
  await chat.frame.getByText("The wait was cancelled, but not the video.").waitFor();
  await bed.api.finish(jobid(made));
  await chat.waitForPhase("finished");
  await chat.close();
});

test("a page that is closed stops polling", async () => {
  const chat = await bed.chat();
  const release = chat.hold();
  const result = await chat.call("generate_video", FOX);
  await chat.waitForPhase("running");
  await chat.waitForCalls(1);
  await chat.send("teardownResource", {});
  await bed.api.finish(jobid(result));
  release();
  await chat.waitForCalls(1, "results");
  // What is sent later arrives later, so the player has had its chance.
  await chat.send("sendToolInput", { arguments: { prompt: "Later" } });
  await chat.send("sendHostContextChange", { theme: "dark" });
  await chat.until(() => document.documentElement.dataset.theme === "dark");
  assert.equal(await chat.byId("card").getAttribute("data-phase"), "running");
  assert.equal(chat.calls.length, 1);
  await chat.close();
});

test("the console has no errors or warnings, and no other site is contacted", async () => {
  const chat = await bed.chat();
  const origins = [];
  chat.page.on("request", (request) => origins.push(new URL(request.url()).origin));
  const result = await chat.call("generate_video", FOX);
  await bed.api.finish(jobid(result));
  await chat.waitForPhase("finished");
  await chat.until(() => document.querySelector("video").readyState > 0);
  assert.deepEqual(chat.console.filter((line) => /^(error|pageerror|warning)/.test(line)), []);
  assert.deepEqual(new Set(origins), new Set([bed.api.origin]));
  await chat.close();
});
