import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { TestBed, distribute } from "./chat.mjs";

const FOX = { prompt: "A red fox walks through fresh snow at dawn, breath in the cold air, the camera low and close, slow push in" };
const SEA = { prompt: "The sun sinks towards a calm sea between dark hills, warm light on the water, the camera drifts slowly forward" };
const LONG = `${FOX.prompt}. ${"Behind it the forest wakes, light falls in shafts between the firs, and ravens call. ".repeat(5)}`;
const JOB = { jobid: "j112226202314983476v-u12345-email:studio@example.com:cf5ccd06-7f34-4155-add1-bc4bce3b515d-bot:luma" };
/** @type {TestBed} */
let bed;
before(async () => (bed = await TestBed.start()));
after(() => bed.stop());

/** How a card gets into each state; each one is also saved as a picture. */
const STATES = {
  ordering: (chat) => chat.send("sendToolInput", { arguments: FOX }).then(() => chat.waitForPhase("ordering")),
  running: async (chat, args = FOX) => {
    await chat.send("sendToolInput", { arguments: args });
    const result = await bed.server.call("generate_video", { ...args, wait_seconds: 0, new_take: true });
    await bed.api.command("age", { jobid: result.structuredContent.jobid, seconds: 34 });
    await chat.send("sendToolResult", result);
    await chat.until(() => /^0:3/.test(document.querySelector("#times").textContent));
    return result;
  },
  finished: (chat) => showFinished(chat, FOX),
  tall: (chat) => showFinished(chat, { prompt: LONG, aspect_ratio: "9:16" }),
  hdr: (chat) => showFinished(chat, { ...FOX, dynamic_range: "hdr_exr", aspect_ratio: "21:9" }),
  rejected: (chat) => chat.call("generate_video", { prompt: "Waves", model: "ray-v3-reasoning", resolution: "draft", duration: "10s" }).then(() => chat.waitForPhase("failed")),
  failed: async (chat) => {
    const { structuredContent } = await chat.call("generate_video", { prompt: "Waves simulate:fail", wait_seconds: 0, new_take: true });
    await bed.api.finish(structuredContent.jobid);
    await chat.waitForPhase("failed");
  },
  cancelled: async (chat) => {
    await chat.send("sendToolInput", { arguments: FOX });
    await chat.send("sendToolCancelled", {});
    await chat.waitForPhase("cancelled");
  },
  lost: async (chat) => {
    await chat.send("sendToolResult", { content: [], structuredContent: { ...JOB, state: "completed", status: "completed", request: FOX, video: { url: `${bed.api.origin}/media/gone/gone.mp4` } } });
    await chat.byId("media-problem").waitFor();
  },
  text: async (chat) => {
    await chat.send("sendToolResult", { content: [{ type: "text", text: "The video is ready.\nOrdered: ray-v3" }] });
    await chat.waitForPhase("text");
  },
  message: async (chat) => {
    chat.rejected.message = true;
    await showFinished(chat, { ...FOX, aspect_ratio: "1:1" });
    await chat.button("Another take").click();
    await chat.frame.locator("textarea").waitFor();
  },
};

async function showFinished(chat, args) {
  const { structuredContent } = await chat.call("generate_video", { ...args, wait_seconds: 0, new_take: true });
  await bed.api.finish(structuredContent.jobid);
  await chat.waitForPhase("finished");
  await chat.until(() => document.querySelector("video").readyState > 0 || document.querySelector("#still").naturalWidth > 0);
  await chat.until(() => document.querySelector("video").poster || document.querySelector("#still").src);
}

for (const { theme, width, states } of distribute(Object.keys(STATES))) {
  test(`${theme}, ${width} px: states are accessible and fit`, async () => {
    for (const state of states) {
      const context = { theme, availableDisplayModes: ["inline", "fullscreen"], displayMode: "inline" };
      const chat = await bed.chat({ width, context, browser: { colorScheme: theme } });
      await STATES[state](chat);
      await chat.checkAppearance(`${theme}-${width}-${state}`);
      await chat.close();
    }
  });
}

test("the system's theme is the default", async () => {
  const chat = await bed.chat({ browser: { colorScheme: "dark" } });
  const [dark, text] = await chat.frame.evaluate(() => [getComputedStyle(document.documentElement).backgroundColor, getComputedStyle(document.body).color]);
  assert.deepEqual([dark, text], ["rgb(38, 38, 36)", "rgb(241, 239, 232)"]);
  await chat.close();
});

test("the host's theme is applied and can change", async () => {
  const chat = await bed.chat({ context: { theme: "light", styles: { variables: { "--color-background-primary": "rgb(1, 2, 3)", "--font-sans": "Georgia" } }, safeAreaInsets: { top: 0, right: 0, bottom: 40, left: 30 } } });
  const readStyle = () => chat.frame.evaluate(() => [getComputedStyle(document.documentElement).backgroundColor, getComputedStyle(document.body).fontFamily, getComputedStyle(document.body).paddingLeft, getComputedStyle(document.body).paddingBottom, document.documentElement.dataset.theme]);
  await chat.until(() => document.documentElement.dataset.theme);
  assert.deepEqual(await readStyle(), ["rgb(1, 2, 3)", "Georgia", "30px", "40px", "light"]);
  await chat.send("sendHostContextChange", { theme: "dark" });
  await chat.until(() => document.documentElement.dataset.theme === "dark");
  await chat.close();
});

test("the keyboard reaches everything in reading order", async () => {
  const chat = await bed.chat({ width: 400, context: { availableDisplayModes: ["inline", "fullscreen"], displayMode: "inline" } });
  await showFinished(chat, { prompt: LONG });
  const focusOrder = [];
  await chat.page.locator("iframe").focus();
  while (focusOrder.at(-1) !== "picture" && focusOrder.length < 40) {
    await chat.page.keyboard.press("Tab");
    const focused = await chat.frame.evaluate(() => document.activeElement?.dataset?.action ?? (document.activeElement?.id || document.activeElement?.tagName));
    if (focused !== focusOrder.at(-1)) focusOrder.push(focused);
  }
  assert.deepEqual(focusOrder.filter((name) => name !== "BODY"), ["video", "fullscreen", "more", "download", "open", "copy", "continue", "new-take", "picture"]);
  const ring = await chat.frame.evaluate(() => getComputedStyle(document.activeElement).outlineStyle);
  assert.equal(ring, "solid");
  await chat.page.keyboard.press("Enter");
  assert.match(await chat.waitForMessage(), /call add_picture with/);
  assert.equal(await chat.frame.evaluate(() => document.activeElement.dataset.action), "picture");
  await chat.close();
});

test("the keyboard skips buttons that are not shown yet", async () => {
  const chat = await bed.chat();
  await STATES.running(chat);
  await chat.page.locator("iframe").focus();
  await chat.page.keyboard.press("Tab");
  assert.equal(await chat.frame.evaluate(() => document.activeElement.tagName), "BODY");
  await chat.close();
});

test("a long prompt is cut and can be expanded", async () => {
  const chat = await bed.chat({ width: 400 });
  await chat.send("sendToolInput", { arguments: { prompt: LONG } });
  await chat.button("more").waitFor();
  const height = async () => (await chat.byId("prompt").boundingBox()).height;
  const cut = await height();
  await chat.button("more").click();
  assert.ok((await height()) > 2 * cut);
  await chat.button("less").click();
  await chat.button("more").waitFor();
  assert.equal(await height(), cut);
  await chat.send("sendToolInput", { arguments: { prompt: "Short" } });
  await chat.until(() => document.querySelector("#more").hidden);
  await chat.close();
});

test("changes are announced, but not the elapsed seconds", async () => {
  const chat = await bed.chat();
  await STATES.running(chat);
  assert.equal(await chat.byId("announcement").textContent(), "The video is being made.");
  assert.deepEqual(await chat.frame.evaluate(() => [...document.querySelectorAll("[aria-live], [role=status]")].map(({ id }) => id)), ["notice", "announcement"]);
  await bed.api.finish();
  await chat.waitForPhase("finished");
  assert.equal(await chat.byId("announcement").textContent(), "The video is ready.");
  await chat.close();
});

test("reduced motion is respected", async () => {
  const chat = await bed.chat({ browser: { reducedMotion: "reduce" } });
  await STATES.ordering(chat);
  assert.deepEqual(await chat.byId("filled").evaluate((bar) => [getComputedStyle(bar).animationName, getComputedStyle(bar).transitionDuration]), ["none", "0s"]);
  await chat.close();
});

test("the video fills the full screen", async () => {
  const chat = await bed.chat({ width: 1100, context: { displayMode: "fullscreen", availableDisplayModes: ["inline", "fullscreen"] } });
  await showFinished(chat, FOX);
  assert.ok((await chat.byId("media").boundingBox()).width > 1000);
  await chat.screenshot("fullscreen");
  await chat.close();
});

test("a right-to-left prompt does not reverse a path", async () => {
  const chat = await bed.chat({ width: 400 });
  const request = { prompt: "ثعلب أحمر يمشي في الثلج عند الفجر", model: "ray-v3" };
  await chat.send("sendToolResult", { content: [], structuredContent: { ...JOB, state: "completed", status: "completed", request, video: { url: "https://example.com/a.mp4", plays_in_browser: false }, saved_files: ["/media/ada/Videos/ثعلب.mp4"] } });
  await chat.waitForPhase("finished");
  assert.equal(await chat.byId("prompt").evaluate((prompt) => getComputedStyle(prompt).direction), "rtl");
  assert.equal(await chat.frame.locator("bdi").evaluate((path) => getComputedStyle(path).direction), "ltr");
  await chat.screenshot("right-to-left");
  await chat.close();
});

// No test of the page, but it needs all that tests have.
if (process.env.DOCS) test("the screenshots in docs/ can be taken", async () => {
  const chat = await bed.chat({ width: 640, context: { theme: "light" }, browser: { deviceScaleFactor: 2, colorScheme: "light", reducedMotion: "reduce" } });
  const result = await STATES.running(chat, SEA);
  await chat.saveForDocs("player-running");
  await bed.api.finish(result.structuredContent.jobid);
  await chat.waitForPhase("finished");
  await chat.until(() => document.querySelector("video").readyState > 0);
  await chat.byId("video").evaluate((video) => (video.currentTime = 1.5));
  await chat.until(() => document.querySelector("video").readyState >= 2 && !document.querySelector("video").seeking);
  // The browser fades out its own loading indicator, and no event reports the end.
  await chat.page.waitForTimeout(3000);
  await chat.saveForDocs("player-finished");
  await chat.close();
});
