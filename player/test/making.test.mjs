import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { Theatre } from "./chat.mjs";

const FOX = { prompt: "A red fox walks through fresh snow at dawn", wait_seconds: 0, new_take: true };
/** @type {Theatre} */
let theatre;
before(async () => (theatre = await Theatre.open()));
after(() => theatre.close());

const orders = async () => (await theatre.stage.do("told")).orders.length;
const jobid = (result) => result.structuredContent.jobid;
const box = (chat) => chat.at("stage").boundingBox();

test("an order becomes a running job and then a video, all in one place, and nothing moves", async () => {
  const [chat, ordered] = [await theatre.chat(), await orders()];
  await chat.send("sendToolInput", { arguments: FOX });
  await chat.becomes("ordering");
  assert.equal(await chat.at("headline").textContent(), "Ordering…");
  const place = await box(chat);
  assert.ok(Math.abs(place.width / place.height - 16 / 9) < 0.01);

  const result = await theatre.server.call("generate_video", FOX);
  await chat.send("sendToolResult", result);
  await chat.becomes("running");
  assert.equal(await chat.at("options").textContent(), "ray-v3-flash · draft · 16:9 · 5s · sdr");
  assert.match(await chat.at("times").textContent(), /^0:0\d · usually 0:\d\d to \d:\d\d$/);
  const height = await chat.frame.evaluate(() => document.body.scrollHeight);
  await chat.frame.evaluate(() => (window.shifts.length = 0));

  await theatre.stage.do("finish", { jobid: jobid(result) });
  await chat.becomes("finished");
  await chat.until(() => document.querySelector("video").readyState > 0 && document.querySelector("video").poster);
  assert.match(await chat.at("facts").textContent(), /^Made in 0:\d\d · 20 credits$/);
  assert.deepEqual(await box(chat), place);
  assert.equal(await chat.frame.evaluate(() => document.body.scrollHeight), height);
  assert.ok((await chat.frame.evaluate(() => window.shifts.reduce((sum, shift) => sum + shift.value, 0))) < 0.005);
  assert.deepEqual(await chat.frame.evaluate(() => [document.querySelector("video").paused, document.querySelector("video").muted, document.querySelector("video").loop]), [true, true, true]);
  assert.equal(await orders(), ordered + 1);
  assert.deepEqual(new Set(chat.calls.map(({ name }) => name)), new Set(["get_job"]));
  await chat.close();
});

test("while the call waits, the time is told that such a video usually takes, and the bar moves", async () => {
  const [plain, reasoning] = [await theatre.chat(), await theatre.chat()];
  await plain.send("sendToolInput", { arguments: { prompt: "A fox" } });
  await reasoning.send("sendToolInput", { arguments: { prompt: "A fox", model: "ray-v3-reasoning" } });
  assert.equal(await plain.at("times").textContent(), "0:00");
  const told = (usual) => [(text) => document.querySelector("#times").textContent.endsWith(text), usual];
  await plain.until(...told("usually 0:30 to 1:00"));
  await reasoning.until(...told("usually 1:30 to 2:30"));
  assert.equal(await plain.at("headline").textContent(), "Waiting for the video…");
  assert.ok(!(await plain.at("bar").evaluate((bar) => bar.classList.contains("unknown"))));
  await plain.close();
  await reasoning.close();
});

test("the prompt grows while the model still writes it, and an upright video has an upright place from then on", async () => {
  const chat = await theatre.chat();
  await chat.send("sendToolInputPartial", { arguments: { prompt: "A red" } });
  await chat.until(() => document.querySelector("#prompt").textContent === "A red");
  await chat.send("sendToolInputPartial", { arguments: { prompt: "A red fox", aspect_ratio: "9:16" } });
  await chat.until(() => document.querySelector("#prompt").textContent === "A red fox");
  const { width, height } = await box(chat);
  assert.ok(width < height && height <= 420);
  await chat.close();
});

test("the first look is at once, the others wait on the server", async () => {
  const chat = await theatre.chat();
  const result = await chat.call("generate_video", FOX);
  await chat.looked(2);
  await theatre.stage.do("finish", { jobid: jobid(result) });
  await chat.becomes("finished");
  assert.deepEqual(chat.calls.map((call) => call.arguments.wait_seconds).slice(0, 2), [0, 20]);
  assert.ok(chat.calls.every((call) => call.arguments.jobid === jobid(result) && !("save" in call.arguments)));
  await chat.close();
});

test("the bar goes on and never back, whatever the server says of the time", async () => {
  const chat = await theatre.chat();
  const running = (elapsed_seconds) => ({ content: [], structuredContent: { jobid: "j:1", state: "running", status: "processing", elapsed_seconds, typical_seconds: [30, 60] } });
  const release = chat.hold();
  await chat.send("sendToolInput", { arguments: FOX });
  await chat.send("sendToolResult", running(40));
  await chat.becomes("running");
  const filled = () => chat.frame.evaluate(() => Number.parseFloat(document.querySelector("#filled").style.inlineSize));
  const first = await filled();
  assert.ok(first >= 80 && first < 82, `${first}`);
  await chat.send("sendToolResult", running(5));
  await chat.until(() => document.querySelector("#times").textContent.startsWith("0:05"));
  assert.ok((await filled()) >= first);
  assert.match(await chat.at("bar").getAttribute("aria-valuetext"), /^0:4\d · usually 0:30 to 1:00$/);
  await chat.send("sendToolResult", running(4000));
  await chat.until(() => Number.parseFloat(document.querySelector("#filled").style.inlineSize) > 99);
  assert.ok((await filled()) < 100);
  release();
  await chat.close();
});

test("the model is told once when the video is ready, and what it is told is enough", async () => {
  const chat = await theatre.chat();
  const result = await chat.call("generate_video", FOX);
  await chat.becomes("running");
  await theatre.stage.do("finish", { jobid: jobid(result) });
  const told = await chat.asked("context");
  const url = await chat.frame.evaluate(() => document.querySelector("video").src);
  assert.deepEqual(told.structuredContent, { jobid: jobid(result), state: "completed", video_url: url });
  assert.ok(told.content[0].text.includes(jobid(result)) && told.content[0].text.includes(url));
  await chat.until(() => document.querySelector("video").readyState > 0);
  assert.equal(chat.events.filter(({ name }) => name === "context").length, 1);
  await chat.close();
});

test("a finished job that the model asks for goes straight to its video, and needs no call of the page", async () => {
  const made = await theatre.server.call("generate_video", FOX);
  await theatre.stage.do("finish", { jobid: jobid(made) });
  const chat = await theatre.chat();
  await chat.call("get_job", { jobid: jobid(made), wait_seconds: 20 });
  await chat.becomes("finished");
  await chat.until(() => document.querySelector("video").readyState > 0);
  assert.deepEqual([chat.calls, chat.events], [[], []]);
  await chat.close();
});

test("an old chat that is opened again shows at once what became of its job", async () => {
  const old = await theatre.server.call("generate_video", FOX);
  await theatre.stage.do("finish", { jobid: jobid(old) });
  const chat = await theatre.chat();
  await chat.send("sendToolInput", { arguments: FOX });
  await chat.send("sendToolResult", old);
  await chat.becomes("finished");
  assert.equal(chat.calls.length, 1);
  await chat.close();
});

test("two players of one job both come to its video, and nothing is ordered by them", async () => {
  const [one, two, ordered] = [await theatre.chat(), await theatre.chat({ width: 320 }), await orders()];
  const result = await one.call("generate_video", FOX);
  await two.call("get_job", { jobid: jobid(result), wait_seconds: 0 });
  await Promise.all([one.becomes("running"), two.becomes("running")]);
  await theatre.stage.do("finish", { jobid: jobid(result) });
  await Promise.all([one.becomes("finished"), two.becomes("finished")]);
  assert.equal(await orders(), ordered + 1);
  await Promise.all([one.close(), two.close()]);
});

test("a job is not lost while the host reaches nobody, and the page says so quietly", async () => {
  const chat = await theatre.chat();
  const result = await theatre.server.call("generate_video", FOX);
  chat.cut = 2;
  await chat.send("sendToolInput", { arguments: FOX });
  await chat.send("sendToolResult", result);
  await chat.frame.getByText("Reconnecting…").waitFor();
  assert.equal(await chat.at("card").getAttribute("data-phase"), "running");
  await theatre.stage.do("finish", { jobid: jobid(result) });
  await chat.becomes("finished");
  assert.equal(chat.calls.length, 3);
  await chat.close();
});

test("a look that fails for now is no end of the job, also if the model asked", async () => {
  const made = await theatre.server.call("generate_video", FOX);
  const chat = await theatre.chat();
  const down = { isError: true, content: [], structuredContent: { error: { kind: "network", message: "The API was not reached.", retry: "later", jobid: jobid(made) } } };
  await chat.send("sendToolInput", { arguments: { jobid: jobid(made) } });
  await chat.send("sendToolResult", down);
  await chat.becomes("running");
  await chat.close();
});

test("without a way to the server's tools the page says how to see the video, and asks for it in the chat", async () => {
  const chat = await theatre.chat({ capabilities: { serverTools: null } });
  const result = await chat.call("generate_video", FOX);
  await chat.becomes("running");
  await chat.frame.getByText("Ask for this video again to see it.").waitFor();
  assert.ok((await chat.at("meanwhile").textContent()).includes(jobid(result)));
  await chat.button("Ask for this video").click();
  const said = await chat.asked("message");
  assert.ok(said.content[0].text.includes(`get_job with {"jobid":"${jobid(result)}"}`));
  assert.ok(!(await chat.page.evaluate(() => window.methods)).includes("tools/call"));
  await chat.close();
});

test("a cancelled order says so, and points to where the video may be", async () => {
  const chat = await theatre.chat();
  await chat.send("sendToolInput", { arguments: FOX });
  await chat.send("sendToolCancelled", { reason: "user" });
  await chat.becomes("cancelled");
  await chat.button("Look for it").click();
  assert.match((await chat.asked("message")).content[0].text, /list_jobs/);
  await chat.frame.getByText("Asked in the chat.").waitFor();
  await chat.close();
});

test("a cancelled wait for a known job is followed all the same", async () => {
  const made = await theatre.server.call("generate_video", FOX);
  const chat = await theatre.chat();
  await chat.send("sendToolInput", { arguments: { jobid: jobid(made), wait_seconds: 45 } });
  await chat.send("sendToolCancelled", {});
  await chat.becomes("running");
  await chat.frame.getByText("The wait was cancelled, but not the video.").waitFor();
  await theatre.stage.do("finish", { jobid: jobid(made) });
  await chat.becomes("finished");
  await chat.close();
});

test("a page that is taken down looks no more, and what still comes is not shown", async () => {
  const chat = await theatre.chat();
  const release = chat.hold();
  const result = await chat.call("generate_video", FOX);
  await chat.becomes("running");
  await chat.looked(1);
  await chat.send("teardownResource", {});
  await theatre.stage.do("finish", { jobid: jobid(result) });
  release();
  await chat.looked(1, "answered");
  // What is sent later arrives later.
  await chat.send("sendToolInput", { arguments: { prompt: "Later" } });
  await chat.send("sendHostContextChange", { theme: "dark" });
  await chat.until(() => document.documentElement.dataset.theme === "dark");
  assert.equal(await chat.at("card").getAttribute("data-phase"), "running");
  assert.equal(chat.calls.length, 1);
  await chat.close();
});

test("nothing is written to the console as an error, and nothing is asked of any other place", async () => {
  const chat = await theatre.chat();
  const asked = [];
  chat.page.on("request", (request) => asked.push(new URL(request.url()).origin));
  const result = await chat.call("generate_video", FOX);
  await theatre.stage.do("finish", { jobid: jobid(result) });
  await chat.becomes("finished");
  await chat.until(() => document.querySelector("video").readyState > 0);
  assert.deepEqual(chat.console.filter((line) => /^(error|pageerror|warning)/.test(line)), []);
  assert.deepEqual(new Set(asked), new Set([theatre.stage.origin]));
  await chat.close();
});
