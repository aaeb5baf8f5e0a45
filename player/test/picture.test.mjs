import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { CORNERS, PanelBed, QUARTERS, choose, drag, listParts, radio, upload, waitForPhase, waitForProblem } from "./panel.mjs";

/** @type {PanelBed} */
let bed;
before(async () => (bed = await PanelBed.start()));
after(() => bed.stop());

const isNear = (one, other) => one.every((value, index) => Math.abs(value - other[index]) <= 12);
function assertColors(colors, expected) {
  assert.ok(colors.every((color, index) => isNear(color, expected[index])), JSON.stringify({ colors, expected }));
}

/** A part begins and ends between pixels. */
function assertSize(size, expected) {
  assert.ok(size.every((value, index) => Math.abs(value - expected[index]) <= 1), JSON.stringify(size));
}

test("a picture is uploaded unchanged, and the chat gets its reference", async () => {
  const chat = await bed.choose("quarters.jpg");
  await radio(chat, "Whole picture").check();
  const { asset } = await upload(chat);
  const picture = await bed.picture(asset);
  assert.deepEqual([picture.media_type, picture.size, picture.bytes], ["image/jpeg", [1600, 1200], bed.read("quarters.jpg").length]);
  assertColors(picture.colors, QUARTERS);
  assert.deepEqual(listParts(chat), [[0, picture.bytes]]);
  assert.equal(await chat.waitForMessage(), `Use my picture as the first frame: ${asset}`);
  const context = await chat.waitForEvent("context");
  assert.deepEqual(context.structuredContent, { use_as: "image_start", image_start: asset });
  assert.deepEqual(context.content.map(({ type }) => type), ["text"]);
  await chat.frame.getByText("Sent to the chat.").waitFor();
  await chat.frame.getByText(/^It can be used until \w{3} \d+, \d{4}\.$/).waitFor();
  await chat.until(() => document.querySelector("#uploaded").naturalWidth > 0);
  await chat.close();
});

test("a host that accepts images gets the thumbnail for the model", async () => {
  const capabilities = { updateModelContext: { text: {}, image: {} } };
  const chat = await bed.choose("square.webp", {}, { capabilities });
  await upload(chat);
  const { content, structuredContent } = await chat.waitForEvent("context");
  assert.equal(structuredContent, undefined);
  assert.deepEqual([content[1].type, content[1].mimeType], ["image", "image/jpeg"]);
  assert.ok(Buffer.from(content[1].data, "base64").length <= 200_000);
  await chat.close();
});

test("a picture can be dropped anywhere on the panel", async () => {
  const chat = await bed.open();
  await drag(chat, { files: [bed.path("quarters.jpg")] }, false);
  const note = chat.frame.getByText("Drop the picture", { exact: true });
  await note.waitFor();
  await drag(chat, { files: [bed.path("quarters.jpg")] });
  await waitForPhase(chat, "editing");
  assert.equal(await note.isVisible(), false);
  await drag(chat, { files: [bed.path("small.png"), bed.path("tall.jpg")] });
  await chat.frame.getByText("Only the first of the 2 files is used.").waitFor();
  assert.match(await chat.byId("size-note").textContent(), /^Only 200.*: the clip may look blurred\.$/);
  await chat.close();
});

test("a picture can be pasted", async () => {
  const chat = await bed.open({}, { browser: { permissions: ["clipboard-read", "clipboard-write"] } });
  await chat.page.evaluate(async (base64) => {
    const bytes = Uint8Array.from(atob(base64), (each) => each.charCodeAt(0));
    await navigator.clipboard.write([new ClipboardItem({ "image/png": new Blob([bytes], { type: "image/png" }) })]);
  }, bed.read("small.png").toString("base64"));
  await chat.byId("choose").focus();
  await chat.page.keyboard.press("Control+V");
  await waitForPhase(chat, "editing");
  await radio(chat, "Whole picture").check();
  const { asset } = await upload(chat);
  assert.deepEqual((await bed.picture(asset)).size, [200, 120]);
  await chat.close();
});

test("pasted text and a dropped link are rejected", async () => {
  const chat = await bed.open();
  await chat.frame.evaluate(() => {
    const clipboardData = new DataTransfer();
    clipboardData.setData("text/plain", "a fox");
    document.body.dispatchEvent(new ClipboardEvent("paste", { bubbles: true, cancelable: true, clipboardData }));
  });
  await waitForProblem(chat, "There is no picture to paste. Copy one first.");
  await drag(chat, { link: "https://example.com/fox.jpg" });
  await waitForProblem(chat, /That was a link or text, not a picture/);
  assert.deepEqual(chat.calls, []);
  await chat.close();
});

test("the paste button is only shown where the clipboard can be read", async () => {
  const chat = await bed.open();
  assert.equal(await chat.button("Paste").count(), 0);
  await chat.close();
  const other = await bed.open({}, { allow: "clipboard-read" });
  await other.frame.evaluate(() => {
    const read = () => Promise.resolve([{ types: ["text/html", "image/png"], getType: () => Promise.resolve(window.copied) }]);
    Object.defineProperty(navigator, "clipboard", { value: { read } });
  });
  await other.frame.evaluate((bytes) => (window.copied = new Blob([new Uint8Array(bytes)])), [...bed.read("small.png")]);
  await other.button("Paste").click();
  await waitForPhase(other, "editing");
  await other.close();
});

test("the aspect ratio that the agent requests is cropped from the middle", async () => {
  const chat = await bed.choose("quarters.jpg", { aspect_ratio: "9:16", use_as: "image_end" });
  assert.ok(await radio(chat, "9:16").isChecked());
  assert.ok(await radio(chat, "Last frame").isChecked());
  const { asset } = await upload(chat);
  const picture = await bed.picture(asset);
  assertSize(picture.size, [675, 1200]);
  assertColors(picture.colors, QUARTERS);
  assert.equal(await chat.waitForMessage(), `Use my picture as the last frame of a 9:16 clip: ${asset}`);
  assert.deepEqual((await chat.waitForEvent("context")).structuredContent, { use_as: "image_end", image_end: asset, aspect_ratio: "9:16" });
  await chat.close();
});

test("the picture can be dragged under the frame", async () => {
  const chat = await bed.choose("quarters.jpg", { aspect_ratio: "9:16" });
  const box = await chat.byId("stage").boundingBox();
  const middle = [box.x + box.width / 2, box.y + box.height / 2];
  await chat.page.mouse.move(...middle);
  await chat.page.mouse.down();
  // To the right, as far as it goes: the left edge of the picture is used.
  await chat.page.mouse.move(middle[0] + 400, middle[1], { steps: 5 });
  await chat.page.mouse.up();
  const { asset } = await upload(chat);
  const picture = await bed.picture(asset);
  assertSize(picture.size, [675, 1200]);
  assertColors(picture.colors, [QUARTERS[0], QUARTERS[0], QUARTERS[2], QUARTERS[2]]);
  await chat.close();
});

test("two fingers zoom around their middle", async () => {
  const chat = await bed.choose("quarters.jpg", { aspect_ratio: "4:3" }, { browser: { hasTouch: true } });
  const box = await chat.byId("stage").boundingBox();
  const { x, y, width, height } = await chat.frame.locator(".frame").boundingBox();
  assert.ok(x > box.x && width > 100);
  const session = await chat.page.context().newCDPSession(chat.page);
  const touch = (type, ...points) => session.send("Input.dispatchTouchEvent", { type, touchPoints: points.map(([left, top], id) => ({ x: left, y: top, id })) });
  // Around the top left corner, so that only its quarter stays.
  const corner = [x + 30, y + 30];
  await touch("touchStart", [corner[0] - 10, corner[1] - 10], [corner[0] + 10, corner[1] + 10]);
  for (const distance of [14, 20, 28, 36, 44]) await touch("touchMove", [corner[0] - distance, corner[1] - distance], [corner[0] + distance, corner[1] + distance]);
  await touch("touchEnd");
  assert.ok(height > 100);
  const { asset, width: pixels } = await upload(chat);
  assert.ok(pixels < 800, `${pixels}`);
  assertColors((await bed.picture(asset)).colors, Array(4).fill(QUARTERS[0]));
  await chat.close();
});

test("touch scrolls the chat if the picture cannot move vertically", async () => {
  const chat = await bed.choose("quarters.jpg", { aspect_ratio: "9:16" });
  const touchAction = () => chat.byId("stage").evaluate((stage) => getComputedStyle(stage).touchAction);
  assert.equal(await touchAction(), "pan-y");
  await radio(chat, "21:9").check();
  assert.equal(await touchAction(), "none");
  await radio(chat, "Whole picture").check();
  assert.equal(await touchAction(), "auto");
  await chat.close();
});

test("the wheel zooms only while the picture has the focus", async () => {
  const chat = await bed.choose("quarters.jpg", { aspect_ratio: "4:3" });
  const zoom = () => chat.byId("zoom").inputValue();
  const box = await chat.byId("stage").boundingBox();
  await chat.byId("zoom").focus();
  await chat.page.mouse.move(box.x + 100, box.y + 100);
  await chat.page.mouse.wheel(0, -300);
  await chat.frame.evaluate(() => new Promise(requestAnimationFrame));
  assert.equal(await zoom(), "0");
  await chat.byId("stage").focus();
  await chat.page.mouse.wheel(0, -300);
  await chat.until(() => Number(document.querySelector("#zoom").value) > 10);
  await chat.close();
});

test("a rotated photo is shown and cropped upright", async () => {
  // Browsers turn only the first one: the others are shown by the server, which turns them all.
  for (const name of ["turned.jpg", "turned.webp", "turned_by_xmp.jpg"]) {
    const chat = await bed.choose(name, { aspect_ratio: "1:1" });
    await chat.byId("stage").focus();
    // Down: the top of the picture is used.
    for (let step = 0; step < 6; step += 1) await chat.page.keyboard.press("Shift+ArrowDown");
    assert.equal(await chat.byId("size-note").textContent(), "900\u00a0×\u00a0900 pixels.", name);
    const { asset } = await upload(chat);
    const picture = await bed.picture(asset, [...CORNERS.slice(0, 2), [0.02, 0.8], [0.98, 0.8]]);
    assert.deepEqual(picture.size, [900, 900], name);
    assertColors(picture.colors, [QUARTERS[0], QUARTERS[1], QUARTERS[0], QUARTERS[1]]);
    await chat.close();
  }
});

test("the default aspect ratio keeps most of the picture", async () => {
  const chat = await bed.choose("tall.jpg");
  assert.ok(await radio(chat, "9:16").isChecked());
  await choose(chat, bed.path("square.webp"));
  await chat.until(() => document.querySelector('input[value="1:1"]').checked);
  const { asset } = await upload(chat);
  // A picture that has the shape already is not encoded again.
  assert.equal((await bed.picture(asset)).media_type, "image/webp");
  assert.equal(await chat.waitForMessage(), `Use my picture as the first frame of a 1:1 clip: ${asset}`);
  await chat.close();
});

test("a character is not cropped unless the user chooses an aspect ratio", async () => {
  const chat = await bed.choose("quarters.jpg", { use_as: "image_character" });
  assert.ok(await radio(chat, "Whole picture").isChecked());
  await radio(chat, "First frame").check();
  assert.ok(await radio(chat, "4:3").isChecked());
  await radio(chat, "1:1").check();
  await radio(chat, "A character to show").check();
  assert.ok(await radio(chat, "1:1").isChecked());
  await chat.close();
});

test("pictures can be used as first frame, last frame and character", async () => {
  const refs = {};
  for (const parameter of ["image_start", "image_end", "image_character"]) {
    const chat = await bed.choose("quarters.jpg", { use_as: parameter, aspect_ratio: "16:9" });
    await upload(chat);
    refs[parameter] = (await chat.waitForMessage()).split(" ").at(-1);
    await chat.close();
  }
  const order = { prompt: "The colors drift", aspect_ratio: "16:9", wait_seconds: 0 };
  for (const images of [{ image_start: refs.image_start, image_end: refs.image_end }, { image_character: refs.image_character }]) {
    const result = await bed.server.call("generate_video", { ...order, ...images });
    assert.equal(result.structuredContent.state, "running", JSON.stringify(result.structuredContent));
    const sent = JSON.stringify((await bed.api.orders()).at(-1));
    for (const ref of Object.values(images)) assert.ok(sent.includes(ref), sent);
  }
});

test("the server previews a HEIC photo, and its parts are sent once", async () => {
  const chat = await bed.choose("phone.heic", { aspect_ratio: "1:1" });
  assert.deepEqual(chat.calls.at(-1).arguments.action, "preview");
  const { asset, changes } = await upload(chat);
  assert.match(changes, /HEIF/);
  const picture = await bed.picture(asset);
  assert.deepEqual([picture.media_type, picture.size], ["image/jpeg", [1200, 1200]]);
  assertColors(picture.colors, QUARTERS);
  assert.equal(listParts(chat).length, 1);
  await chat.close();
});

test("the browser reduces a picture of more than 20 MB", async () => {
  const chat = await bed.choose("large.png");
  await chat.frame.getByText("The file has 21.6 MB. A smaller copy of 3000 × 2400 pixels is uploaded.").waitFor();
  await radio(chat, "Whole picture").check();
  const { asset } = await upload(chat);
  const picture = await bed.picture(asset);
  assert.deepEqual([picture.media_type, picture.size], ["image/jpeg", [3000, 2400]]);
  assert.ok(picture.bytes < 20_000_000);
  await chat.close();
});

test("another picture can be added after the first", async () => {
  const chat = await bed.choose("quarters.jpg");
  const first = await upload(chat);
  await chat.button("Add another picture").click();
  await waitForPhase(chat, "empty");
  await choose(chat, bed.path("tall.jpg"));
  await waitForPhase(chat, "editing");
  await radio(chat, "Last frame").check();
  const second = await upload(chat);
  assert.notEqual(first.asset, second.asset);
  assert.match(await chat.waitForMessage(2), /^Use my picture as the last frame/);
  await chat.close();
});

test("a picture can be added with the keyboard only", async () => {
  const chat = await bed.open({ aspect_ratio: "9:16" });
  const { keyboard } = chat.page;
  const focused = () => chat.frame.evaluate(() => document.activeElement.id || document.activeElement.dataset.action || document.activeElement.value || document.activeElement.tagName);
  const tabTo = async (name) => {
    for (let steps = 0; (await focused()) !== name; steps += 1) {
      assert.ok(steps < 20, `no way to ${name}`);
      await keyboard.press("Tab");
    }
  };
  await chat.page.locator("iframe").focus();
  await tabTo("choose");
  const picker = chat.page.waitForEvent("filechooser");
  await keyboard.press("Enter");
  await (await picker).setFiles(bed.path("quarters.jpg"));
  await waitForPhase(chat, "editing");
  assert.equal(await chat.byId("announcement").textContent(), "Adjust your picture");
  assert.equal(await focused(), "headline");
  await keyboard.press("Shift+Tab");
  assert.equal(await focused(), "stage");
  assert.equal(await chat.byId("view").evaluate((view) => getComputedStyle(view).outlineStyle), "solid");
  for (let step = 0; step < 20; step += 1) await keyboard.press("Shift+ArrowRight");
  assert.equal(await chat.byId("announcement").textContent(), "Zoom 100%. Cut off at the left: 0%, at the top: 0%.");
  await keyboard.press("+");
  assert.match(await chat.byId("announcement").textContent(), /^Zoom 110%\./);
  await keyboard.press("-");
  await tabTo("image_start");
  await keyboard.press("ArrowRight");
  await tabTo("zoom");
  assert.equal(await chat.byId("zoom").getAttribute("aria-valuetext"), "100%");
  await tabTo("upload");
  await keyboard.press("Enter");
  await waitForPhase(chat, "done");
  const { asset, use_as: use } = chat.results.at(-1).structuredContent;
  assert.equal(use, "image_end");
  assertColors((await bed.picture(asset)).colors, [QUARTERS[0], QUARTERS[0], QUARTERS[2], QUARTERS[2]]);
  assert.equal(await focused(), "headline");
  assert.match(await chat.byId("announcement").textContent(), /^Your picture is ready\. Uploaded as the last frame/);
  await tabTo("restart");
  await keyboard.press("Enter");
  await waitForPhase(chat, "empty");
  assert.equal(await focused(), "choose");
  await chat.close();
});
