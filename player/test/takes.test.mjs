import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { TestBed, distribute } from "./chat.mjs";

const PROMPT = "A red fox walks through fresh snow at dawn, breath in the cold air, the camera low and close, slow push in";
const FOX = { prompt: PROMPT, takes: 3, wait_seconds: 0 };
/** @type {TestBed} */
let bed;
before(async () => (bed = await TestBed.start()));
after(() => bed.stop());

/** The result of an order of several takes, all of them running. @param {number} [credits] for how many orders there are credits */
async function orderTakes(count = 3, args = {}, credits = null) {
  await bed.api.command("limit_orders", { orders: credits });
  const result = await bed.server.call("generate_video", { ...FOX, takes: count, new_take: true, ...args });
  await bed.api.command("limit_orders", { orders: null });
  return result;
}

/** The structured content of a running job. */
async function orderOne(args = {}) {
  const { structuredContent } = await bed.server.call("generate_video", { prompt: PROMPT, wait_seconds: 0, new_take: true, ...args });
  return structuredContent;
}

const jobids = ({ structuredContent }) => structuredContent.jobs.map(({ jobid }) => jobid);

/** A chat in which the model has called generate_video with takes. */
async function showTakes(result, { args = {}, ...options } = {}) {
  const chat = await bed.chat(options);
  await chat.send("sendToolInput", { arguments: { ...FOX, ...args } });
  await chat.send("sendToolResult", result);
  return chat;
}

const tile = (chat, number) => chat.frame.locator(".tile").nth(number - 1);
const phases = (chat) => chat.frame.locator(".tile").evaluateAll((tiles) => tiles.map(({ dataset }) => dataset.phase));
const waitForPhases = (chat, ...expected) =>
  chat.until((wanted) => [...document.querySelectorAll(".tile")].map(({ dataset }) => dataset.phase).join() === wanted, expected.join());
const waitForVideos = (chat, count) =>
  chat.until((wanted) => [...document.querySelectorAll(".tile video")].filter((video) => video.readyState > 0 && video.poster).length === wanted, count);

async function showFinished(options = {}) {
  const result = await orderTakes(options.count, options.order);
  for (const jobid of jobids(result)) await bed.api.finish(jobid);
  const chat = await showTakes(result, options);
  await chat.waitForPhase("finished");
  return { chat, ids: jobids(result) };
}

/** How a card gets into each state; each one is also saved as a picture. */
const STATES = {
  "takes-ordering": async (chat) => {
    await chat.send("sendToolInput", { arguments: FOX });
    await waitForPhases(chat, "ordering", "ordering", "ordering");
  },
  "takes-running": async (chat) => {
    const result = await orderTakes();
    for (const [index, jobid] of jobids(result).entries()) await bed.api.command("age", { jobid, seconds: 25 + 7 * index });
    await chat.send("sendToolInput", { arguments: FOX });
    await chat.send("sendToolResult", result);
    await chat.until(() => [...document.querySelectorAll(".tile .times")].every(({ textContent }) => /^0:[234]/.test(textContent)));
  },
  "takes-mixed": async (chat) => {
    const result = await orderTakes(4, {}, 2);
    await chat.send("sendToolInput", { arguments: FOX });
    await chat.send("sendToolResult", result);
    await bed.api.finish(jobids(result)[0]);
    await waitForPhases(chat, "finished", "running", "failed", "failed");
    await waitForVideos(chat, 1);
  },
  "takes-finished": async (chat) => {
    const result = await orderTakes();
    for (const jobid of jobids(result)) await bed.api.finish(jobid);
    await chat.send("sendToolInput", { arguments: FOX });
    await chat.send("sendToolResult", result);
    await waitForVideos(chat, 3);
  },
  "takes-failed": async (chat) => {
    const result = await orderTakes();
    const [first, second, third] = jobids(result);
    await bed.api.command("fail", { jobid: second });
    for (const jobid of [first, third]) await bed.api.finish(jobid);
    await chat.send("sendToolInput", { arguments: FOX });
    await chat.send("sendToolResult", result);
    await waitForPhases(chat, "finished", "failed", "finished");
    await waitForVideos(chat, 2);
  },
  "takes-tall": async (chat) => {
    const result = await orderTakes(4, { aspect_ratio: "9:16" });
    for (const jobid of jobids(result)) await bed.api.finish(jobid);
    await chat.send("sendToolInput", { arguments: { ...FOX, takes: 4, aspect_ratio: "9:16" } });
    await chat.send("sendToolResult", result);
    await waitForVideos(chat, 4);
  },
  "takes-kept": async (chat) => {
    await STATES["takes-finished"](chat);
    await tile(chat, 2).getByRole("button", { name: "Keep this one", exact: true }).click();
    await chat.frame.getByText("Sent to the chat.").waitFor();
  },
  "takes-unfolded": async (chat) => {
    await STATES["takes-kept"](chat);
    await chat.button("Show all 3 takes").click();
    await tile(chat, 2).getByRole("button", { name: "Show only this one" }).waitFor();
  },
  "takes-hdr": async (chat) => {
    const result = await orderTakes(2, { dynamic_range: "hdr" });
    for (const jobid of jobids(result)) await bed.api.finish(jobid);
    await chat.send("sendToolInput", { arguments: { ...FOX, takes: 2, dynamic_range: "hdr" } });
    await chat.send("sendToolResult", result);
    await chat.until(() => [...document.querySelectorAll(".tile .still")].every(({ naturalWidth }) => naturalWidth > 0));
  },
  "takes-several-jobs": async (chat) => {
    const jobs = [await orderOne(), await orderOne({ prompt: "Waves at night", aspect_ratio: "1:1" })];
    await chat.call("get_job", { jobids: jobs.map(({ jobid }) => jobid), wait_seconds: 0 });
    for (const { jobid } of jobs) await bed.api.finish(jobid);
    await waitForVideos(chat, 2);
  },
};

for (const { theme, width, states } of distribute(Object.keys(STATES))) {
  test(`${theme}, ${width} px: takes are accessible and fit`, async () => {
    for (const state of states) {
      const context = { theme, availableDisplayModes: ["inline", "fullscreen"], displayMode: "inline" };
      const chat = await bed.chat({ width, context, browser: { colorScheme: theme } });
      await STATES[state](chat);
      await chat.checkAppearance(`${theme}-${width}-${state}`);
      await chat.close();
    }
  });
}

test("takes appear before the result without layout shifts", async () => {
  const chat = await bed.chat({ width: 700 });
  await chat.send("sendToolInput", { arguments: FOX });
  await waitForPhases(chat, "ordering", "ordering", "ordering");
  const areas = () => chat.frame.locator(".tile .media").evaluateAll((all) => all.map((area) => JSON.stringify(area.getBoundingClientRect())));
  const places = await areas();
  assert.equal(new Set(places).size, 3);
  const result = await orderTakes();
  await chat.send("sendToolResult", result);
  await chat.waitForPhase("running");
  await chat.frame.evaluate(() => (window.shifts.length = 0));
  for (const jobid of jobids(result)) await bed.api.finish(jobid);
  await waitForVideos(chat, 3);
  assert.deepEqual(await areas(), places);
  assert.ok((await chat.frame.evaluate(() => window.shifts.reduce((sum, shift) => sum + shift.value, 0))) < 0.005);
  await chat.close();
});

test("each running take is polled, and the model gets one message when all have ended", async () => {
  const result = await orderTakes(2);
  const [first, second] = jobids(result);
  const chat = await showTakes(result, { args: { takes: 2 } });
  await bed.api.finish(second);
  await waitForPhases(chat, "running", "finished");
  assert.deepEqual(chat.events, []);
  await bed.api.finish(first);
  await waitForPhases(chat, "finished", "finished");
  const { structuredContent, content } = await chat.waitForEvent("context");
  assert.deepEqual(structuredContent.jobs.map(({ jobid, state }) => [jobid, state]), [[first, "completed"], [second, "completed"]]);
  assert.match(content[0].text, /^Take 1: .*\nTake 2: /);
  assert.ok(chat.calls.every(({ name, arguments: args }) => name === "get_job" && [first, second].includes(args.jobid)));
  assert.equal(chat.events.length, 1);
  await chat.close();
});

test("each take can be played", async () => {
  const { chat } = await showFinished({ count: 2, args: { takes: 2 } });
  await waitForVideos(chat, 2);
  for (const number of [1, 2]) await tile(chat, number).locator("video").evaluate((video) => video.play());
  await chat.until(() => [...document.querySelectorAll(".tile video")].every((video) => video.currentTime > 0.2));
  await tile(chat, 1).getByRole("button", { name: "Keep this one", exact: true }).click();
  await chat.until(() => [...document.querySelectorAll(".tile video")].map(({ paused }) => paused).join() === "false,true");
  await chat.close();
});

test("keeping a take sends a message and deletes nothing", async () => {
  const { chat, ids } = await showFinished();
  await tile(chat, 2).getByRole("button", { name: "Keep this one", exact: true }).click();
  const text = await chat.waitForMessage();
  assert.ok(text.includes("take 2") && text.includes(ids[1]), text);
  assert.deepEqual(await chat.frame.locator(".tile:visible > h2").allTextContents(), ["Take 2 · kept"]);
  assert.equal(await chat.byId("announcement").textContent(), "Take 2 is kept.");
  assert.ok(await chat.button("Continue from the last frame").isVisible());
  assert.ok(chat.calls.every(({ name }) => name === "get_job"));

  await chat.button("Show all 3 takes").click();
  await tile(chat, 2).getByRole("button", { name: "Show only this one" }).click();
  assert.equal(chat.events.filter(({ name }) => name === "message").length, 1);
  await chat.button("Show all 3 takes").click();
  await tile(chat, 3).getByRole("button", { name: "Keep this one", exact: true }).click();
  assert.ok((await chat.waitForMessage(2)).includes(ids[2]));
  await chat.close();
});

test("a choice that the chat rejects can be copied", async () => {
  const { chat, ids } = await showFinished({ count: 2, args: { takes: 2 } });
  chat.rejected.message = true;
  await tile(chat, 1).getByRole("button", { name: "Keep this one", exact: true }).click();
  const field = chat.frame.locator("textarea");
  await field.waitFor();
  assert.ok((await field.inputValue()).includes(ids[0]));
  await chat.close();
});

test("the kept take has the buttons of a single video", async () => {
  const { chat, ids } = await showFinished({ count: 2, args: { takes: 2 } });
  await tile(chat, 2).getByRole("button", { name: "Keep this one", exact: true }).click();
  const labels = await chat.byId("buttons").getByRole("button").allTextContents();
  assert.deepEqual(labels, ["Download", "Open in browser", "Copy link", "Continue from the last frame", "Another take", "Start from my own picture", "Show all 2 takes"]);
  await chat.button("Continue from the last frame").click();
  assert.ok((await chat.waitForMessage(2)).includes(`"image_start":"${ids[1]}"`));
  await chat.close();
});

test("takes can be compared and kept with the keyboard", async () => {
  const { chat } = await showFinished({ count: 2, args: { takes: 2 }, width: 640 });
  await waitForVideos(chat, 2);
  const focusOrder = [];
  await chat.page.locator("iframe").focus();
  while (focusOrder.filter((name) => name === "download").length < 2 && focusOrder.length < 60) {
    await chat.page.keyboard.press("Tab");
    const focused = await chat.frame.evaluate(() => document.activeElement?.dataset?.action ?? document.activeElement?.tagName);
    if (focused !== focusOrder.at(-1)) focusOrder.push(focused);
  }
  assert.deepEqual(focusOrder.filter((name) => name !== "BODY"), ["VIDEO", "keep", "download", "VIDEO", "keep", "download"]);
  await chat.page.keyboard.press("Shift+Tab");
  await chat.page.keyboard.press("Enter");
  await chat.waitForMessage();
  const focused = () => chat.frame.evaluate(() => document.activeElement.textContent);
  assert.equal(await focused(), "Take 2 · kept");
  await chat.button("Show all 2 takes").press("Enter");
  assert.equal(await focused(), "Take 2 · kept");
  await chat.close();
});

test("each failed order is shown with its error in its own tile", async () => {
  const result = await orderTakes(3, {}, 1);
  const chat = await showTakes(result);
  await waitForPhases(chat, "running", "failed", "failed");
  assert.match(await tile(chat, 2).textContent(), /^Take 2.*no credits are left/s);
  assert.match(await tile(chat, 3).textContent(), /^Take 3.*This take was not ordered.*a problem with a take before it/s);
  await tile(chat, 3).getByRole("button", { name: "Try again" }).click();
  const args = JSON.parse(/generate_video with (\{.*\})/.exec(await chat.waitForMessage())[1]);
  const [before, again] = [jobids(result), await bed.server.call("generate_video", { ...args, wait_seconds: 0 })];
  // One more take, and not the job of the first one.
  assert.equal(again.structuredContent.state, "running");
  assert.ok(!before.includes(again.structuredContent.jobid));
  await chat.close();
});

test("an order with an unknown outcome can be found but not repeated", async () => {
  const result = await orderTakes(2, {}, 1);
  const error = { kind: "outcome_unknown", message: "It is not known whether take 2 was ordered.", charged: "unknown", retry: "later" };
  result.structuredContent.failed_orders = [{ take: 2, error }];
  const chat = await showTakes(result, { args: { takes: 2 } });
  await tile(chat, 2).getByRole("button", { name: "Find the order" }).click();
  assert.match(await chat.waitForMessage(), /Do not order the video again/);
  await chat.close();
});

test("a rejected order of several takes is shown once", async () => {
  const chat = await bed.chat();
  await chat.send("sendToolInput", { arguments: FOX });
  await waitForPhases(chat, "ordering", "ordering", "ordering");
  const suggestion = { prompt: PROMPT, model: "ray-v3" };
  await chat.send("sendToolResult", { isError: true, content: [], structuredContent: { error: { kind: "invalid_arguments", charged: "no", retry: "after_change", problems: [{ message: "…" }], suggestion } } });
  await chat.waitForPhase("failed");
  assert.equal(await chat.frame.locator(".tile").count(), 0);
  await chat.button("Make this instead").click();
  assert.deepEqual(JSON.parse(/generate_video with (\{.*\})/.exec(await chat.waitForMessage())[1]), { ...suggestion, takes: 3 });
  await chat.close();
});

test("takes of a cancelled order can be found", async () => {
  const chat = await bed.chat();
  await chat.send("sendToolInput", { arguments: FOX });
  await chat.send("sendToolCancelled", {});
  await chat.waitForPhase("cancelled");
  assert.equal(await chat.frame.locator(".tile").count(), 0);
  assert.ok(await chat.button("Find the order").isVisible());
  await chat.close();
});

test("jobs in a call are polled even if its wait was cancelled", async () => {
  const result = await orderTakes(2);
  const chat = await bed.chat();
  await chat.send("sendToolInput", { arguments: { jobids: jobids(result) } });
  await chat.send("sendToolCancelled", {});
  await waitForPhases(chat, "running", "running");
  for (const jobid of jobids(result)) await bed.api.finish(jobid);
  await waitForPhases(chat, "finished", "finished");
  await chat.close();
});

test("jobs of one request that a call looks up are shown as takes", async () => {
  const result = await orderTakes(2);
  for (const jobid of jobids(result)) await bed.api.finish(jobid);
  const chat = await bed.chat();
  await chat.call("get_job", { jobids: jobids(result), wait_seconds: 20 });
  await waitForVideos(chat, 2);
  assert.deepEqual(await chat.frame.locator(".tile > h2").allTextContents(), ["Take 1", "Take 2"]);
  assert.deepEqual([chat.calls, chat.events], [[], []]);
  await chat.close();
});

test("jobs whose look-up failed are looked up again", async () => {
  const result = await orderTakes(2);
  const [first, second] = result.structuredContent.jobs;
  const down = { jobid: second.jobid, error: { kind: "network", message: "The API was not reached.", retry: "later", jobid: second.jobid } };
  const chat = await bed.chat();
  await chat.send("sendToolInput", { arguments: { jobids: jobids(result) } });
  await chat.send("sendToolResult", { content: [], structuredContent: { jobs: [first, down] } });
  await waitForPhases(chat, "running", "running");
  await chat.close();
});

test("only jobs of the same request are takes", async () => {
  const chat = await bed.chat();
  await STATES["takes-several-jobs"](chat);
  assert.deepEqual(await chat.frame.locator(".tile > h2").allTextContents(), ["Video 1", "Video 2"]);
  assert.equal(await chat.frame.getByRole("button", { name: "Keep this one", exact: true }).count(), 0);
  assert.deepEqual(await chat.frame.locator(".tile-prompt").allTextContents(), [PROMPT, "Waves at night"]);
  await chat.close();
});

test("a call about one job shows the single player", async () => {
  const job = await orderOne();
  const chat = await bed.chat();
  await chat.call("get_job", { jobids: [job.jobid], wait_seconds: 0 });
  await chat.waitForPhase("running");
  assert.equal(await chat.frame.locator(".tile").count(), 0);
  assert.ok(await chat.byId("media").isVisible());
  await chat.close();
});

test("a player that cannot poll asks for all takes in the chat", async () => {
  const result = await orderTakes(2);
  const chat = await showTakes(result, { args: { takes: 2 }, capabilities: { serverTools: null } });
  await waitForPhases(chat, "running", "running");
  await chat.button("Ask for these videos").click();
  assert.ok((await chat.waitForMessage()).includes(`get_job with ${JSON.stringify({ jobids: jobids(result) })}`));
  assert.ok(!(await chat.page.evaluate(() => window.methods)).includes("tools/call"));
  await chat.close();
});

test("a page with takes that is closed stops polling", async () => {
  const result = await orderTakes(2);
  const chat = await bed.chat();
  const release = chat.hold();
  await chat.send("sendToolResult", result);
  await chat.waitForCalls(2);
  await chat.send("teardownResource", {});
  release();
  await chat.waitForCalls(2, "results");
  await chat.send("sendHostContextChange", { theme: "dark" });
  await chat.until(() => document.documentElement.dataset.theme === "dark");
  assert.equal(chat.calls.length, 2);
  await chat.close();
});

test("an error in a take is shown as text and never as HTML", async () => {
  const chat = await bed.chat();
  const evil = "<img src=x onerror=\"window.harmed=1\"><b>bold</b>";
  const jobs = [{ jobid: evil, take: 1, state: "completed", request: { prompt: evil }, video: { url: "javascript:alert(1)" }, saved_files: [evil] }];
  await chat.send("sendToolResult", { content: [], structuredContent: { jobs, failed_orders: [{ take: 2, error: { kind: evil, message: evil } }, { take: evil }, null] } });
  await waitForPhases(chat, "finished", "failed", "failed");
  assert.equal(await chat.frame.locator("main b").count(), 0);
  assert.equal(await chat.frame.evaluate(() => window.harmed), undefined);
  assert.equal(await tile(chat, 1).locator("video").getAttribute("src"), null);
  await chat.close();
});
