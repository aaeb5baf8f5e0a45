import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { fileURLToPath } from "node:url";
import { after, before, test } from "node:test";
import { Theatre } from "./chat.mjs";
import { PYTHON } from "./stage.mjs";

const FOX = { prompt: "A red fox walks through fresh snow at dawn, breath in the cold air, the camera low and close, slow push in" };
const SEA = { prompt: "The sun sinks towards a calm sea between dark hills, warm light on the water, the camera drifts slowly forward" };
const LONG = `${FOX.prompt}. ${"Behind it the forest wakes, light falls in shafts between the firs, and ravens call. ".repeat(5)}`;
const AXE = await readFile(createRequire(import.meta.url).resolve("axe-core"), "utf8");
const DOCS = fileURLToPath(new URL("../../docs/", import.meta.url));
const JOB = { jobid: "j112226202314983476v-u12345-email:studio@example.com:cf5ccd06-7f34-4155-add1-bc4bce3b515d-bot:luma" };
/** @type {Theatre} */
let theatre;
before(async () => (theatre = await Theatre.open()));
after(() => theatre.close());

/** A card in each state, as the server brings it there; every one leads to a picture. */
const STATES = {
  ordering: (chat) => chat.send("sendToolInput", { arguments: FOX }).then(() => chat.becomes("ordering")),
  running: async (chat, words = FOX) => {
    await chat.send("sendToolInput", { arguments: words });
    const result = await theatre.server.call("generate_video", { ...words, wait_seconds: 0, new_take: true });
    await theatre.stage.do("age", { jobid: result.structuredContent.jobid, seconds: 34 });
    await chat.send("sendToolResult", result);
    await chat.until(() => /^0:3/.test(document.querySelector("#times").textContent));
    return result;
  },
  finished: (chat) => ended(chat, FOX),
  tall: (chat) => ended(chat, { prompt: LONG, aspect_ratio: "9:16" }),
  hdr: (chat) => ended(chat, { ...FOX, dynamic_range: "hdr_exr", aspect_ratio: "21:9" }),
  refused: (chat) => chat.call("generate_video", { prompt: "Waves", model: "ray-v3-reasoning", resolution: "draft", duration: "10s" }).then(() => chat.becomes("failed")),
  failed: async (chat) => {
    const { structuredContent } = await chat.call("generate_video", { prompt: "Waves simulate:fail", wait_seconds: 0, new_take: true });
    await theatre.stage.do("finish", { jobid: structuredContent.jobid });
    await chat.becomes("failed");
  },
  cancelled: async (chat) => {
    await chat.send("sendToolInput", { arguments: FOX });
    await chat.send("sendToolCancelled", {});
    await chat.becomes("cancelled");
  },
  lost: async (chat) => {
    await chat.send("sendToolResult", { content: [], structuredContent: { ...JOB, state: "completed", status: "completed", request: FOX, video: { url: `${theatre.stage.origin}/media/gone/gone.mp4` } } });
    await chat.at("strip").waitFor();
  },
  told: async (chat) => {
    await chat.send("sendToolResult", { content: [{ type: "text", text: "The video is ready.\nOrdered: ray-v3" }] });
    await chat.becomes("told");
  },
  asking: async (chat) => {
    chat.refuse.message = true;
    await ended(chat, { ...FOX, aspect_ratio: "1:1" });
    await chat.button("Another take").click();
    await chat.frame.locator("textarea").waitFor();
  },
};

async function ended(chat, words) {
  const { structuredContent } = await chat.call("generate_video", { ...words, wait_seconds: 0, new_take: true });
  await theatre.stage.do("finish", { jobid: structuredContent.jobid });
  await chat.becomes("finished");
  await chat.until(() => document.querySelector("video").readyState > 0 || document.querySelector("#still").naturalWidth > 0);
  await chat.until(() => document.querySelector("video").poster || document.querySelector("#still").src);
}

/** What sticks out of the page, or of what holds it. */
const sticking = () => {
  const wide = document.documentElement.clientWidth;
  const seen = [...document.querySelectorAll("main *")].filter((node) => node.checkVisibility({ visibilityProperty: true }) && !node.closest(".unseen, svg"));
  const out = seen.filter((node) => node.getBoundingClientRect().right > wide + 0.5 || node.getBoundingClientRect().left < -0.5);
  return { out: out.map((node) => node.id || node.className || node.tagName), scrolls: document.documentElement.scrollWidth > wide };
};

const SIZES = [["light", 280], ["dark", 640], ["light", 900]];
const ALL = ["light", "dark"].flatMap((theme) => [280, 640, 900].map((width) => [theme, width]));
for (const [theme, width] of process.env.ALL ? ALL : SIZES) {
  test(`${theme}, ${width} px wide: every state is accessible, and nothing sticks out`, async () => {
    for (const [state, reach] of Object.entries(STATES)) {
      const context = { theme, availableDisplayModes: ["inline", "fullscreen"], displayMode: "inline" };
      const chat = await theatre.chat({ width, context, browser: { colorScheme: theme } });
      await reach(chat);
      assert.deepEqual(await chat.frame.evaluate(sticking), { out: [], scrolls: false }, state);
      await chat.frame.evaluate(AXE);
      const { violations } = await chat.frame.evaluate(() => window.axe.run(document, { resultTypes: ["violations"] }));
      assert.deepEqual(violations.map(({ id, nodes }) => [id, nodes.map(({ target, failureSummary }) => [target, failureSummary])]), [], state);
      await chat.picture(`${theme}-${width}-${state}`);
      await chat.close();
    }
  });
}

test("without a theme of the host's, the system's is used", async () => {
  const chat = await theatre.chat({ browser: { colorScheme: "dark" } });
  const [dark, text] = await chat.frame.evaluate(() => [getComputedStyle(document.documentElement).backgroundColor, getComputedStyle(document.body).color]);
  assert.deepEqual([dark, text], ["rgb(38, 38, 36)", "rgb(241, 239, 232)"]);
  await chat.close();
});

test("the host's own looks are taken on, and change with the host", async () => {
  const chat = await theatre.chat({ context: { theme: "light", styles: { variables: { "--color-background-primary": "rgb(1, 2, 3)", "--font-sans": "Georgia" } }, safeAreaInsets: { top: 0, right: 0, bottom: 40, left: 30 } } });
  const looks = () => chat.frame.evaluate(() => [getComputedStyle(document.documentElement).backgroundColor, getComputedStyle(document.body).fontFamily, getComputedStyle(document.body).paddingLeft, getComputedStyle(document.body).paddingBottom, document.documentElement.dataset.theme]);
  await chat.until(() => document.documentElement.dataset.theme);
  assert.deepEqual(await looks(), ["rgb(1, 2, 3)", "Georgia", "30px", "40px", "light"]);
  await chat.send("sendHostContextChange", { theme: "dark" });
  await chat.until(() => document.documentElement.dataset.theme === "dark");
  await chat.close();
});

test("the keyboard reaches everything, in the order in which it is read", async () => {
  const chat = await theatre.chat({ width: 400, context: { availableDisplayModes: ["inline", "fullscreen"], displayMode: "inline" } });
  await ended(chat, { prompt: LONG });
  const walked = [];
  await chat.page.locator("iframe").focus();
  while (walked.at(-1) !== "another" && walked.length < 40) {
    await chat.page.keyboard.press("Tab");
    const focused = await chat.frame.evaluate(() => document.activeElement?.dataset?.does ?? (document.activeElement?.id || document.activeElement?.tagName));
    if (focused !== walked.at(-1)) walked.push(focused);
  }
  assert.deepEqual(walked.filter((name) => name !== "BODY"), ["video", "full", "more", "download", "open", "copy", "go-on", "another"]);
  const ring = await chat.frame.evaluate(() => getComputedStyle(document.activeElement).outlineStyle);
  assert.equal(ring, "solid");
  await chat.page.keyboard.press("Enter");
  assert.match((await chat.asked("message")).content[0].text, /"new_take":true/);
  assert.equal(await chat.frame.evaluate(() => document.activeElement.dataset.does), "another");
  await chat.close();
});

test("while there is nothing to press, the keyboard finds nothing", async () => {
  const chat = await theatre.chat();
  await STATES.running(chat);
  await chat.page.locator("iframe").focus();
  await chat.page.keyboard.press("Tab");
  assert.equal(await chat.frame.evaluate(() => document.activeElement.tagName), "BODY");
  await chat.close();
});

test("a long prompt is cut to two lines, and can be read whole", async () => {
  const chat = await theatre.chat({ width: 400 });
  await chat.send("sendToolInput", { arguments: { prompt: LONG } });
  await chat.button("more").waitFor();
  const height = async () => (await chat.at("prompt").boundingBox()).height;
  const cut = await height();
  await chat.button("more").click();
  assert.ok((await height()) > 2 * cut);
  await chat.button("less").click();
  assert.equal(await height(), cut);
  await chat.send("sendToolInput", { arguments: { prompt: "Short" } });
  await chat.until(() => document.querySelector("#more").hidden);
  await chat.close();
});

test("seconds are not announced, only what changes", async () => {
  const chat = await theatre.chat();
  await STATES.running(chat);
  assert.equal(await chat.at("announced").textContent(), "The video is being made.");
  assert.deepEqual(await chat.frame.evaluate(() => [...document.querySelectorAll("[aria-live], [role=status]")].map(({ id }) => id)), ["notice", "announced"]);
  await theatre.stage.do("finish");
  await chat.becomes("finished");
  assert.equal(await chat.at("announced").textContent(), "The video is ready.");
  await chat.close();
});

test("who wants no motion gets none", async () => {
  const chat = await theatre.chat({ browser: { reducedMotion: "reduce" } });
  await STATES.ordering(chat);
  assert.deepEqual(await chat.at("filled").evaluate((bar) => [getComputedStyle(bar).animationName, getComputedStyle(bar).transitionDuration]), ["none", "0s"]);
  await chat.close();
});

test("in full screen the video takes the room", async () => {
  const chat = await theatre.chat({ width: 1100, context: { displayMode: "fullscreen", availableDisplayModes: ["inline", "fullscreen"] } });
  await ended(chat, FOX);
  assert.ok((await chat.at("stage").boundingBox()).width > 1000);
  await chat.picture("fullscreen");
  await chat.close();
});

test("a right-to-left prompt is read from the right, and a path is not turned round", async () => {
  const chat = await theatre.chat({ width: 400 });
  const request = { prompt: "ثعلب أحمر يمشي في الثلج عند الفجر", model: "ray-v3" };
  await chat.send("sendToolResult", { content: [], structuredContent: { ...JOB, state: "completed", status: "completed", request, video: { url: "https://example.com/a.mp4", plays_in_browser: false }, saved_files: ["/media/ada/Videos/ثعلب.mp4"] } });
  await chat.becomes("finished");
  assert.equal(await chat.at("prompt").evaluate((prompt) => getComputedStyle(prompt).direction), "rtl");
  assert.equal(await chat.frame.locator("bdi").evaluate((path) => getComputedStyle(path).direction), "ltr");
  await chat.picture("right-to-left");
  await chat.close();
});

test("the pictures in docs/ can be drawn", { skip: !process.env.DOCS }, async () => {
  const chat = await theatre.chat({ width: 640, context: { theme: "light" }, browser: { deviceScaleFactor: 2, colorScheme: "light", reducedMotion: "reduce" } });
  const few = "import sys; from PIL import Image; im = Image.open(sys.argv[1]).convert('RGB'); im.quantize(256, kmeans=5).save(sys.argv[1], optimize=True)";
  const draw = async (name) => {
    const path = `${DOCS}player-${name}.png`;
    await chat.page.locator("#chat").screenshot({ path });
    execFileSync(PYTHON, ["-c", few, path]);
  };
  const result = await STATES.running(chat, SEA);
  await draw("running");
  await theatre.stage.do("finish", { jobid: result.structuredContent.jobid });
  await chat.becomes("finished");
  await chat.until(() => document.querySelector("video").readyState > 0);
  await chat.at("video").evaluate((video) => (video.currentTime = 1.5));
  await chat.until(() => document.querySelector("video").readyState >= 2 && !document.querySelector("video").seeking);
  // The browser's own sign of loading fades in its own time, and tells nobody when.
  await chat.page.waitForTimeout(3000);
  await draw("finished");
  await chat.close();
});
