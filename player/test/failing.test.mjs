import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { Theatre } from "./chat.mjs";

/** @type {Theatre} */
let theatre;
before(async () => (theatre = await Theatre.open()));
after(() => theatre.close());

const text = (chat) => chat.at("card").innerText();

async function ordered(words, how) {
  const chat = await theatre.chat(how);
  const result = await chat.call("generate_video", { wait_seconds: 0, ...words });
  return { chat, result };
}

test("a refusal says every reason, what is possible, and asks for the suggestion in words that the server takes", async () => {
  const { chat, result } = await ordered({ prompt: "Waves at night", model: "ray-v3-reasoning", resolution: "draft", duration: "10s", dynamic_range: "hdr" });
  await chat.becomes("failed");
  const { problems, suggestion } = result.structuredContent.error;
  assert.equal(problems.length, 2);
  const seen = await text(chat);
  for (const { message, allowed } of problems) assert.ok([message, ...allowed].every((part) => seen.includes(part)));
  assert.match(seen, /No job was started and nothing was spent\./);
  assert.match(seen, /This would work: ray-v3-reasoning · 720p \(not draft\) · 16:9 · 5s \(not 10s\) · hdr/);
  assert.equal(await chat.at("stage").isVisible(), false);
  await chat.button("Make this instead").click();
  const said = (await chat.asked("message")).content[0].text;
  const words = JSON.parse(said.slice(said.indexOf("{")));
  assert.deepEqual(words, suggestion);
  const taken = await theatre.server.call("generate_video", words.wait_seconds === undefined ? { ...words, wait_seconds: 0 } : words);
  assert.equal(taken.structuredContent.state, "running");
  await chat.close();
});

test("a job that fails says why in the place of its video, and a changed prompt can be asked for", async () => {
  const { chat, result } = await ordered({ prompt: "Waves simulate:fail" });
  await chat.becomes("running");
  const place = await chat.at("stage").boundingBox();
  await theatre.stage.do("finish", { jobid: result.structuredContent.jobid });
  await chat.becomes("failed");
  assert.match(await text(chat), /Generation failed: the model could not make this video/);
  assert.equal((await chat.at("trouble").boundingBox()).height, place.height);
  assert.match((await chat.asked("context")).content[0].text, /ended without a video/);
  await chat.button("Ask for a changed prompt").click();
  assert.match((await chat.asked("message")).content[0].text, /when I agree/);
  await chat.close();
});

const REFUSED = {
  moderate: ["Content moderation refused this", "Ask for a changed prompt"],
  busy: ["All video slots are in use", "Try again"],
  broke: ["There is no subscription, or no credit left", "Try again"],
  expired: ["The Luma account has to be added again", "Try again"],
};
for (const [word, [headline, label]] of Object.entries(REFUSED)) {
  test(`${word}: the reason is in plain words, and "${label}" only asks`, async () => {
    const { chat, result } = await ordered({ prompt: `Waves simulate:${word}` });
    await chat.frame.getByRole("heading", { name: headline }).waitFor();
    assert.ok((await text(chat)).includes(result.structuredContent.error.message));
    await chat.button(label).click();
    await chat.asked("message");
    assert.deepEqual(chat.calls, []);
    await chat.close();
  });
}

/** A chat in which an order got that error for an answer. */
async function refused(error, how) {
  const chat = await theatre.chat(how);
  await chat.send("sendToolInput", { arguments: { prompt: "Waves" } });
  await chat.send("sendToolResult", { isError: true, content: [{ type: "text", text: error.message }], structuredContent: { error } });
  await chat.becomes("failed");
  assert.ok((await text(chat)).includes(error.message));
  return { chat, labels: await chat.frame.getByRole("button").allInnerTexts() };
}

const UNCERTAIN = {
  "an order whose answer was lost": { kind: "outcome_unknown", message: "The answer was lost. A job may be running, and billed.", retry: "never" },
  "an order that failed without a jobid": { kind: "upstream", message: "The API failed (500). It gave no jobid for the order; whether a job runs is not certain.", retry: "never", status: 500 },
  "a failure of the server itself": { kind: "upstream", message: "generate_video failed in this server (KeyError). list_jobs shows whether anything was ordered.", retry: "later" },
};
for (const [name, error] of Object.entries(UNCERTAIN)) {
  test(`after ${name}, nothing is offered that would order again`, async () => {
    const { chat, labels } = await refused(error);
    assert.match(await text(chat), /do not order it again/);
    assert.doesNotMatch(await text(chat), /Trying again/);
    assert.deepEqual(labels, ["Look for it"]);
    await chat.button("Look for it").click();
    const said = (await chat.asked("message")).content[0].text;
    assert.match(said, /list_jobs/);
    assert.doesNotMatch(said, /generate_video/);
    await chat.close();
  });
}

test("an order that was placed, but could not be followed, can only be looked at", async () => {
  const made = await theatre.server.call("generate_video", { prompt: "Waves", wait_seconds: 0 });
  const { jobid } = made.structuredContent;
  await theatre.stage.do("finish", { jobid });
  const error = { kind: "unauthorized", message: "The video was ordered, but following it failed. The API does not know the token.", retry: "after_change", status: 401, jobid };

  const blind = await refused(error, { capabilities: { serverTools: null } });
  assert.deepEqual(blind.labels, ["Ask for this video"]);
  await blind.chat.button("Ask for this video").click();
  const said = (await blind.chat.asked("message")).content[0].text;
  assert.ok(said.includes("get_job") && said.includes(jobid) && !said.includes("generate_video"));
  await blind.chat.close();

  const { chat, labels } = await refused(error);
  assert.deepEqual(labels, ["Look again"]);
  assert.doesNotMatch(await text(chat), /Trying again/);
  await chat.button("Look again").click();
  await chat.becomes("finished");
  assert.deepEqual(chat.events.filter(({ name }) => name === "message"), []);
  await chat.close();
});

test("a running job that can no longer be looked at is not offered to be ordered again", async () => {
  const made = await theatre.server.call("generate_video", { prompt: "Waves in the dark", wait_seconds: 0 });
  const error = { kind: "unauthorized", message: "The API does not know the token.", retry: "after_change", status: 401 };
  const chat = await theatre.chat({ capabilities: { serverTools: null } });
  await chat.send("sendToolInput", { arguments: { prompt: "Waves in the dark" } });
  await chat.send("sendToolResult", made);
  await chat.becomes("running");
  await chat.send("sendToolResult", { isError: true, content: [], structuredContent: { error } });
  await chat.becomes("failed");
  assert.deepEqual(await chat.frame.getByRole("button").allInnerTexts(), ["Ask for this video"]);
  await chat.close();
});

test("the owner's hourly limit is named, with its time, and nothing is offered that would order before", async () => {
  const message = "2 videos were ordered within the last hour. The next one can be ordered at 14:05 UTC, in 12 minutes.";
  const { chat, labels } = await refused({ kind: "limit_reached", message, retry: "later" });
  await chat.frame.getByRole("heading", { name: "The hourly limit is reached" }).waitFor();
  assert.deepEqual(labels, []);
  assert.doesNotMatch(await text(chat), /Trying again/);
  await chat.close();
});

test("a job that could not be looked at can be looked at again", async () => {
  const made = await theatre.server.call("generate_video", { prompt: "Waves in the sun", wait_seconds: 0 });
  const { jobid } = made.structuredContent;
  await theatre.stage.do("finish", { jobid });
  const chat = await theatre.chat();
  const error = { kind: "unauthorized", message: "The API does not know the token.", retry: "after_change", jobid };
  await chat.send("sendToolInput", { arguments: { jobid } });
  await chat.send("sendToolResult", { isError: true, content: [], structuredContent: { error } });
  await chat.becomes("failed");
  await chat.button("Look again").click();
  await chat.becomes("finished");
  await chat.close();
});

test("a host that passes on only text has its text shown, as it is", async () => {
  const chat = await theatre.chat();
  await chat.send("sendToolInput", { arguments: { prompt: "Waves" } });
  await chat.send("sendToolResult", { content: [{ type: "text", text: "The video is ready.\nOrdered: ray-v3" }] });
  await chat.becomes("told");
  assert.equal(await chat.at("reason").textContent(), "The video is ready.\nOrdered: ray-v3");
  assert.deepEqual(await chat.frame.getByRole("button").allInnerTexts(), []);
  await chat.send("sendToolResult", { isError: true, content: [{ type: "text", text: "It broke." }] });
  await chat.becomes("failed");
  await chat.frame.getByText("It broke.").waitFor();
  await chat.close();
});

test("a host that passes on only text of a known job is helped by the page's own look", async () => {
  const made = await theatre.server.call("generate_video", { prompt: "Waves in the fog", wait_seconds: 0 });
  const { jobid } = made.structuredContent;
  await theatre.stage.do("finish", { jobid });
  const chat = await theatre.chat();
  await chat.send("sendToolInput", { arguments: { jobid } });
  await chat.send("sendToolResult", { content: [{ type: "text", text: "The video is ready." }] });
  await chat.becomes("finished");
  await chat.close();
});
