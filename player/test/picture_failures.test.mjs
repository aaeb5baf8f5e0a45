import assert from "node:assert/strict";
import { copyFileSync, utimesSync, writeFileSync } from "node:fs";
import { after, before, test } from "node:test";
import { deferred } from "./chat.mjs";
import { PanelBed, choose, drag, listParts, radio, upload, waitForPhase, waitForProblem } from "./panel.mjs";
import { Server } from "./server.mjs";

/** @type {PanelBed} */
let bed;
before(async () => (bed = await PanelBed.start()));
after(() => bed.stop());

const visibleText = (chat) => chat.byId("panel").innerText();
const labels = (chat) => chat.frame.getByRole("button").allInnerTexts();

/** Moves the time until the panel no longer tries by itself. */
async function waitUntilItGivesUp(chat) {
  await chat.frame.getByText("Reconnecting…").waitFor();
  const failed = chat.frame.locator('#panel[data-phase="failed"]');
  for (let step = 0; !(await failed.isVisible()); step += 1) {
    assert.ok(step < 200, "it never gives up");
    await chat.page.clock.fastForward(1000);
  }
}

const WRONG = {
  "a PDF": ["%PDF-1.7 …", /^This is a PDF\. Save it as a JPEG or PNG picture first\.$/],
  "an SVG drawing": ['<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"/>', /^This is an SVG drawing\./],
  "a web page": ["<!DOCTYPE html><html></html>", /^This is a web page, not a picture\./],
  "a video": ["\0\0\0\x20ftypisom\0\0\x02\0isomiso2avc1mp41", /^This is a video\. Take a screenshot/],
  "another file": ["PK\x03\x04 a document", /^This is not a picture that can be used\. Choose a JPEG, PNG, WebP or HEIC file\.$/],
  "an empty file": ["", /^This file is empty\.$/],
};
test("a file that is not a picture is rejected, whatever its name", async () => {
  const chat = await bed.open();
  for (const [content, problem] of Object.values(WRONG)) {
    await choose(chat, { name: "photo.jpg", mimeType: "image/jpeg", buffer: Buffer.from(content, "latin1") });
    await waitForProblem(chat, problem);
    assert.match(await chat.byId("announcement").textContent(), problem);
  }
  assert.deepEqual(chat.calls, []);
  await chat.close();
});

test("a wrong file does not replace a picture", async () => {
  const chat = await bed.choose("quarters.jpg", { aspect_ratio: "9:16" });
  await chat.byId("stage").press("Shift+ArrowRight");
  const moved = await chat.byId("announcement").textContent();
  assert.match(moved, /at the left: 25%/);
  await choose(chat, { name: "photo.jpg", mimeType: "image/jpeg", buffer: Buffer.from("%PDF-1.7") });
  await chat.byId("notice").getByText(/^This is a PDF/).waitFor();
  assert.ok(await radio(chat, "9:16").isChecked());
  const release = chat.hold();
  await choose(chat, bed.path("phone.heic"));
  await waitForPhase(chat, "reading");
  await chat.button("Cancel").click();
  await waitForPhase(chat, "editing");
  release();
  await chat.byId("stage").press("+");
  await chat.byId("stage").press("-");
  assert.equal(await chat.byId("announcement").textContent(), moved);
  await bed.api.command("fault", { method: "POST", path: "/assets/", status: 422, body: { error: "Not this one" } });
  await chat.button("Upload").click();
  await waitForPhase(chat, "failed");
  await choose(chat, { name: "photo.jpg", mimeType: "image/jpeg", buffer: Buffer.from("%PDF-1.7") });
  await waitForPhase(chat, "editing");
  assert.ok(await radio(chat, "9:16").isChecked());
  chat.rejected.message = true;
  await upload(chat);
  await chat.button("Copy").waitFor();
  await drag(chat, { files: [bed.path("page.html")] });
  await chat.byId("notice").getByText(/^This is a web page/).waitFor();
  await waitForPhase(chat, "done");
  assert.deepEqual(await labels(chat), ["Copy", "Add another picture"]);
  await chat.close();
});

test("a picture without an extension or a type is accepted", async () => {
  const chat = await bed.open();
  await choose(chat, { name: "file", mimeType: "", buffer: bed.read("square.webp") });
  await waitForPhase(chat, "editing");
  await chat.close();
});

test("the server rejects a damaged picture and keeps no part of it", async () => {
  const chat = await bed.open();
  // Cut short: the browser shows the upper part.
  await choose(chat, bed.path("broken.jpg"));
  await waitForPhase(chat, "editing");
  await chat.button("Upload").click();
  await waitForPhase(chat, "failed");
  const message = /This picture cannot be used\s+The file is a picture that is damaged or cut short\.\s+Nothing was charged\./;
  assert.match(await visibleText(chat), message);
  assert.deepEqual(await labels(chat), ["Change picture", "Back"]);
  assert.equal(await bed.countKept(chat), 0);
  await choose(chat, { name: "photo.jpg", mimeType: "image/jpeg", buffer: bed.read("broken.jpg").subarray(0, 40) });
  await chat.until(() => document.querySelector("#view").hidden);
  await waitForPhase(chat, "failed");
  assert.match(await visibleText(chat), message);
  assert.deepEqual(await labels(chat), ["Change picture", "Back"]);
  assert.equal(await bed.countKept(chat), 0);
  await choose(chat, bed.path("quarters.jpg"));
  await waitForPhase(chat, "editing");
  await chat.close();
});

test("a picture over 20 MB that the browser cannot decode is rejected", async () => {
  const chat = await bed.open();
  await choose(chat, bed.path("large.heic"));
  await waitForProblem(chat, /^This picture has 21 MB, and this browser cannot make it smaller\. Save it as a JPEG of at most 20 MB/);
  assert.deepEqual(chat.calls, []);
  await chat.close();
});

test("a host that rejects large messages gets smaller parts", async () => {
  const chat = await bed.choose("noise.png");
  chat.longestCall = 150_000;
  const { asset } = await upload(chat);
  const sizes = listParts(chat).map(([, bytes]) => bytes);
  assert.deepEqual(sizes.slice(0, 3), [393_216, 196_608, 98_304]);
  assert.ok(sizes.slice(2).every((bytes) => bytes <= 98_304));
  assert.equal((await bed.picture(asset)).bytes, bed.read("noise.png").length);
  await chat.close();
});

test("an upload to a host that rejects every part ends with a message", async () => {
  const chat = await bed.choose("noise.png", {}, { hasClock: true });
  chat.longestCall = 5000;
  await chat.button("Upload").click();
  await waitUntilItGivesUp(chat);
  assert.match(await visibleText(chat), /The picture could not be sent\s+The connection was lost\. Nothing was charged\./);
  assert.equal(listParts(chat).at(-1)[1], 16_384);
  await chat.close();
});

test("an upload resumes after a lost connection", async () => {
  const chat = await bed.choose("noise.png", {}, { hasClock: true });
  const release = chat.hold();
  await chat.button("Upload").click();
  await chat.waitForCalls(1);
  release();
  await chat.waitForCalls(1, "results");
  chat.failures = Infinity;
  await waitUntilItGivesUp(chat);
  assert.match(await visibleText(chat), /The connection was lost\. Nothing was charged\. Try again: it continues where it stopped\./);
  assert.match(await chat.byId("announcement").textContent(), /^The picture could not be sent\. The connection was lost\./);
  const kept = await bed.countKept(chat);
  assert.ok(kept > 0 && kept < bed.read("noise.png").length);
  const before = listParts(chat).length;
  chat.failures = 0;
  await chat.button("Try again").click();
  await waitForPhase(chat, "done");
  assert.equal(listParts(chat)[before][0], kept);
  assert.equal((await bed.picture(chat.results.at(-1).structuredContent.asset)).bytes, bed.read("noise.png").length);
  await chat.close();
});

test("the panel stops if the chat rejects its calls", async () => {
  const chat = await bed.choose("quarters.jpg", { aspect_ratio: "4:3" });
  chat.ownAnswer = { isError: true, content: [{ type: "text", text: "The user did not allow this call." }] };
  await chat.button("Upload").click();
  await waitForPhase(chat, "failed");
  assert.match(await visibleText(chat), /The picture could not be sent\s+The user did not allow this call\./);
  assert.equal(chat.calls.length, 2);
  chat.ownAnswer = null;
  await chat.button("Try again").click();
  await waitForPhase(chat, "done");
  await chat.close();
});

test("a short interruption is retried automatically", async () => {
  const chat = await bed.choose("quarters.jpg", { aspect_ratio: "4:3" }, { hasClock: true });
  chat.failures = 2;
  await chat.button("Upload").click();
  await chat.frame.getByText("Reconnecting…").waitFor();
  await chat.page.clock.fastForward(2000);
  await waitForPhase(chat, "done");
  await chat.close();
});

test("a lost response does not upload anything twice", async () => {
  const countUploads = async () => (await bed.api.command("report")).requests["POST /assets/…"] ?? 0;
  const loseOnce = (chat, matches) => {
    chat.losesAnswer = ({ arguments: args }) => {
      const isLost = matches(args);
      if (isLost) chat.losesAnswer = () => false;
      return isLost;
    };
  };
  const chat = await bed.choose("noise.png", { aspect_ratio: "3:4" }, { hasClock: true });
  const before = await countUploads();
  loseOnce(chat, ({ offset }) => offset > 0);
  await upload(chat);
  const starts = listParts(chat).map(([offset]) => offset);
  assert.deepEqual(starts, [...new Set(starts)]);
  await chat.button("Add another picture").click();
  await choose(chat, bed.path("tall.jpg"));
  await waitForPhase(chat, "editing");
  // The server has uploaded it by then, and finds it when it gets it again.
  loseOnce(chat, ({ action }) => action === "finish");
  await chat.button("Upload").click();
  await chat.frame.getByText("Reconnecting…").waitFor();
  await chat.page.clock.fastForward(2000);
  await waitForPhase(chat, "done");
  const { asset } = chat.results.at(-1).structuredContent;
  assert.ok(asset && (await chat.waitForMessage(2)).endsWith(asset));
  assert.equal(await countUploads(), before + 2);
  await chat.close();
});

test("a cancelled upload leaves no parts on the server", async () => {
  const chat = await bed.choose("noise.png");
  const release = chat.hold();
  await chat.button("Upload").click();
  await chat.waitForCalls(1);
  await chat.button("Cancel").click();
  await waitForPhase(chat, "editing");
  await chat.frame.getByText("Cancelled. Nothing was charged.").waitFor();
  release();
  await chat.waitForCalls(2, "results");
  assert.equal(chat.calls.at(-1).arguments.action, "discard");
  assert.equal(await bed.countKept(chat), 0);
  const { asset } = await upload(chat);
  assert.equal((await bed.picture(asset)).bytes, bed.read("noise.png").length);
  await chat.close();
});

test("a panel that is closed during an upload leaves no parts", async () => {
  const chat = await bed.choose("noise.png");
  const release = chat.hold();
  await chat.button("Upload").click();
  await chat.waitForCalls(1);
  const releaseSecond = chat.hold();
  release();
  await chat.waitForCalls(2);
  assert.equal(await bed.countKept(chat), 393_216);
  const closed = chat.send("teardownResource", {});
  // The second part is on its way, and arrives while the panel is closed.
  releaseSecond();
  await closed;
  assert.deepEqual(chat.calls.map(({ arguments: { offset, action } }) => action ?? offset), [0, 393_216, "discard"]);
  assert.equal(await bed.countKept(chat), 0);
  assert.deepEqual(chat.events, []);
  await chat.close();
});

test("a new picture replaces one that is being read", async () => {
  const chat = await bed.open();
  const release = chat.hold();
  await choose(chat, bed.path("phone.heic"));
  await chat.waitForCalls(1);
  await waitForPhase(chat, "reading");
  await drag(chat, { files: [bed.path("tall.jpg")] });
  await waitForPhase(chat, "editing");
  assert.ok(await radio(chat, "9:16").isChecked());
  release();
  await chat.waitForCalls(2, "results");
  assert.equal(await bed.countKept(chat), 0);
  await chat.close();
});

test("if two pictures are dropped at once, the one shown is uploaded", async () => {
  const chat = await bed.open({ aspect_ratio: "9:16" });
  // The browser tries to decode the first one while the second one arrives.
  const files = ["phone.heic", "tall.jpg"].map((name) => bed.read(name).toString("base64"));
  await chat.frame.evaluate((contents) => {
    for (const content of contents) {
      const data = new DataTransfer();
      data.items.add(new File([Uint8Array.from(atob(content), (character) => character.charCodeAt(0))], "photo"));
      document.dispatchEvent(new DragEvent("drop", { dataTransfer: data, bubbles: true, cancelable: true }));
    }
  }, files);
  await waitForPhase(chat, "editing");
  const { asset } = await upload(chat);
  assert.deepEqual((await bed.picture(asset)).size, [900, 1600]);
  await chat.close();
});

test("the picture that was shown is uploaded even if the file changes", async () => {
  const path = bed.path("changing.jpg");
  copyFileSync(bed.path("tall.jpg"), path);
  const chat = await bed.choose("changing.jpg", { aspect_ratio: "9:16" });
  writeFileSync(path, "The file has another content, and another time.");
  utimesSync(path, 1, 1);
  const { asset } = await upload(chat);
  assert.deepEqual((await bed.picture(asset)).size, [900, 1600]);
  await chat.close();
});

test("no retry is offered for a picture that moderation rejects", async () => {
  const chat = await bed.choose("sea.jpg", { aspect_ratio: "1:1" });
  await bed.api.command("fault", { method: "POST", path: "/assets/", status: 422, body: { error: "This image violates the guidelines" } });
  await chat.button("Upload").click();
  await waitForPhase(chat, "failed");
  assert.match(await visibleText(chat), /Content moderation rejected this picture[^]*Nothing was charged/);
  assert.deepEqual(await labels(chat), ["Change picture", "Back"]);
  assert.equal(await bed.countKept(chat), 0);
  await chat.button("Back").click();
  await waitForPhase(chat, "editing");
  await upload(chat);
  await chat.close();
});

test("an account that needs renewal is reported, and a retry works", async () => {
  const chat = await bed.choose("sea.jpg", { aspect_ratio: "3:4" });
  await bed.api.command("fault", { method: "POST", path: "/assets/", status: 596, body: { error: "Session expired" } });
  await chat.button("Upload").click();
  await waitForPhase(chat, "failed");
  assert.match(await visibleText(chat), /The Luma account needs to be renewed[^]*Nothing was charged/);
  await chat.button("Try again").click();
  await waitForPhase(chat, "done");
  await chat.close();
});

test("an unknown account is reported with the known ones", async () => {
  const chat = await bed.choose("sea.jpg", { email: "nobody@example.com", aspect_ratio: "4:3" });
  assert.match(await chat.byId("reason").textContent(), /^$/);
  await chat.button("Upload").click();
  await waitForPhase(chat, "failed");
  assert.match(await visibleText(chat), /This account is not known[^]*use "studio@example\.com"[^]*Tell the chat which account/);
  await chat.close();
});

test("the panel reports a server that is not set up", async () => {
  const server = await Server.start(bed.api.baseUrl, {});
  const result = await server.call("add_picture", {});
  await server.stop();
  const chat = await bed.chats.chat();
  await chat.send("sendToolResult", result);
  await waitForPhase(chat, "unavailable");
  assert.match(await visibleText(chat), /luma-ray-mcp is not set up yet[^]*Set USEAPI_TOKEN/);
  await chat.close();
});

test("the panel suggests an alternative in a chat without tool calls", async () => {
  const chat = await bed.chats.chat({ capabilities: { serverTools: null } });
  await chat.call("add_picture", {});
  await waitForPhase(chat, "unavailable");
  assert.match(await visibleText(chat), /This chat cannot upload pictures[^]*give a link to the picture in the chat/);
  assert.deepEqual(await labels(chat), []);
  await chat.close();
});

test("a panel without a result from the chat fetches it itself", async () => {
  const chat = await bed.chats.chat();
  await chat.send("sendToolInput", { arguments: { aspect_ratio: "21:9" } });
  await chat.send("sendToolResult", { content: [{ type: "text", text: "The panel is open." }] });
  await waitForPhase(chat, "empty");
  assert.deepEqual(chat.calls.map(({ name, arguments: args }) => [name, args]), [["add_picture", { aspect_ratio: "21:9" }]]);
  await chat.close();
});

test("a message that the chat rejects can be copied", async () => {
  const chat = await bed.choose("quarters.jpg", { aspect_ratio: "16:9" });
  chat.rejected.message = true;
  const { asset } = await upload(chat);
  const field = chat.frame.locator("textarea");
  await field.waitFor();
  assert.equal(await field.inputValue(), `Use my picture as the first frame of a 16:9 clip: ${asset}`);
  await chat.frame.getByText("This chat takes no messages from the panel. Copy this into it:").waitFor();
  await chat.frame.evaluate(() => Object.defineProperty(navigator, "clipboard", { value: { writeText: (text) => ((window.copied = text), Promise.resolve()) } }));
  await chat.button("Copy").click();
  await chat.frame.getByText("Copied. Paste it into the chat.").waitFor();
  assert.equal(await chat.frame.evaluate(() => window.copied), `Use my picture as the first frame of a 16:9 clip: ${asset}`);
  chat.rejected.message = false;
  await drag(chat, { files: [bed.path("tall.jpg")] });
  await waitForPhase(chat, "editing");
  await upload(chat);
  await chat.frame.getByText("Sent to the chat.").waitFor();
  assert.deepEqual(await labels(chat), ["Add another picture"]);
  await chat.close();
});

test("a message that is rejected late is not offered with the next picture", async () => {
  const chat = await bed.choose("quarters.jpg", { aspect_ratio: "16:9" });
  const { promise, resolve } = deferred();
  chat.rejected.message = promise;
  const { asset } = await upload(chat);
  await chat.waitForEvent("message");
  await drag(chat, { files: [bed.path("tall.jpg")] });
  await waitForPhase(chat, "editing");
  resolve(true);
  // It can still be copied by hand.
  const field = chat.frame.locator("textarea");
  await field.waitFor();
  assert.ok((await field.inputValue()).endsWith(asset));
  chat.rejected.message = new Promise(() => {});
  await upload(chat);
  assert.deepEqual(await labels(chat), ["Add another picture"]);
  await chat.close();
});

test("a picture that the server cannot read does not replace another", async () => {
  const chat = await bed.choose("quarters.jpg", { aspect_ratio: "9:16" });
  await choose(chat, { name: "photo.heic", mimeType: "image/heic", buffer: bed.read("phone.heic").subarray(0, 900) });
  await waitForPhase(chat, "failed");
  assert.deepEqual(await labels(chat), ["Change picture", "Back"]);
  await chat.button("Back").click();
  await waitForPhase(chat, "editing");
  assert.ok(await radio(chat, "9:16").isChecked());
  await upload(chat);
  await chat.close();
});

test("a picture is read again after an interruption", async () => {
  const chat = await bed.choose("tall.jpg");
  const refusal = { isError: true, content: [{ type: "text", text: "The server is restarting." }] };
  chat.ownAnswer = refusal;
  await choose(chat, bed.path("phone.heic"));
  await waitForPhase(chat, "failed");
  assert.deepEqual(await labels(chat), ["Try again", "Back", "Change picture"]);
  chat.ownAnswer = null;
  await chat.button("Back").click();
  assert.ok(await radio(chat, "9:16").isChecked());
  chat.ownAnswer = refusal;
  await choose(chat, bed.path("phone.heic"));
  await waitForPhase(chat, "failed");
  chat.ownAnswer = null;
  await chat.button("Try again").click();
  await waitForPhase(chat, "editing");
  assert.ok(await radio(chat, "4:3").isChecked());
  await chat.close();
});
