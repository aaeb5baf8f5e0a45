import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { distribute } from "./chat.mjs";
import { PanelBed, choose, drag, radio, upload, waitForPhase, waitForProblem } from "./panel.mjs";

/** @type {PanelBed} */
let bed;
before(async () => (bed = await PanelBed.start()));
after(() => bed.stop());

/** What a person does until the panel is in each state; each one is also saved as a picture. */
const STATES = {
  opening: (chat) => waitForPhase(chat, "opening"),
  empty: (chat) => chat.call("add_picture", {}).then(() => waitForPhase(chat, "empty")),
  problem: async (chat) => {
    await choose(chat, { name: "a.pdf", mimeType: "image/jpeg", buffer: Buffer.from("%PDF-1.7") });
    await waitForProblem(chat, /^This is a PDF/);
  },
  reading: async (chat) => {
    const release = chat.hold();
    await choose(chat, bed.path("phone.heic"));
    await waitForPhase(chat, "reading");
    return release;
  },
  editing: async (chat) => {
    await waitForPhase(chat, "editing");
    await choose(chat, bed.path("sea.jpg"));
    await chat.until(() => document.querySelector('#size-note').textContent.startsWith("1600"));
  },
  dragging: async (chat) => {
    await drag(chat, { files: [bed.path("sea.jpg")] }, false);
    return () => drag(chat, { files: [bed.path("sea.jpg")] }).then(() => waitForPhase(chat, "editing"));
  },
  tall: async (chat) => {
    await radio(chat, "9:16").check();
    for (let step = 0; step < 4; step += 1) {
      await chat.byId("stage").press("+");
      await chat.byId("stage").press("Shift+ArrowLeft");
    }
  },
  wide: (chat) => radio(chat, "21:9").check(),
  whole: (chat) => radio(chat, "Whole picture").check(),
  uploading: async (chat) => {
    await choose(chat, bed.path("noise.png"));
    await chat.until(() => document.querySelector("#size-note").textContent.startsWith("800"));
    const [release, before] = [chat.hold(), chat.calls.length];
    await chat.button("Upload").click();
    await chat.waitForCalls(before + 1);
    const releaseSecond = chat.hold();
    release();
    await chat.frame.getByText(/^27% of/).waitFor();
    return () => {
      chat.failures = 1;
      releaseSecond();
    };
  },
  copying: async (chat) => {
    chat.rejected.message = true;
    await waitForPhase(chat, "done");
    await chat.frame.locator("textarea").waitFor();
    chat.rejected.message = false;
  },
  done: async (chat) => {
    await chat.button("Add another picture").click();
    await choose(chat, bed.path("sea.jpg"));
    await waitForPhase(chat, "editing");
    await radio(chat, "16:9").check();
    await upload(chat);
    await chat.frame.getByText("Sent to the chat.").waitFor();
  },
  rejected: async (chat) => {
    await chat.button("Add another picture").click();
    await choose(chat, bed.path("tall.jpg"));
    await waitForPhase(chat, "editing");
    await bed.api.command("fault", { method: "POST", path: "/assets/", status: 422, body: { error: "This image violates the guidelines" } });
    await radio(chat, "1:1").check();
    await chat.button("Upload").click();
    await waitForPhase(chat, "failed");
  },
  lost: async (chat) => {
    await chat.button("Back").click();
    chat.failures = Infinity;
    await chat.button("Upload").click();
    await chat.frame.getByText("Reconnecting…").waitFor();
    const failed = chat.frame.locator('#panel[data-phase="failed"]');
    for (let step = 0; step < 200 && !(await failed.isVisible()); step += 1) await chat.page.clock.fastForward(1000);
    await failed.waitFor();
  },
};

for (const { theme, width, states } of distribute(Object.keys(STATES))) {
  test(`${theme}, ${width} px: the panel's states are accessible and fit`, async () => {
    const chat = await bed.chats.chat({ width, context: { theme }, hasClock: true, browser: { colorScheme: theme, hasTouch: width === 280 } });
    chat.page.on("filechooser", () => {});
    for (const [name, reach] of Object.entries(STATES)) {
      const leave = await reach(chat);
      if (states.includes(name)) await chat.checkAppearance(`picture-${theme}-${width}-${name}`);
      if (leave) await leave();
    }
    await chat.close();
  });
}

test("the states without tool calls or settings are accessible", async () => {
  for (const [name, options, result] of [
    ["no-tools", { capabilities: { serverTools: null } }, { content: [] }],
    ["not-set-up", {}, { isError: true, content: [], structuredContent: { error: { kind: "not_configured", message: "USEAPI_TOKEN is not set. Nothing was charged.", charged: "no" } } }],
  ]) {
    const chat = await bed.chats.chat({ width: 280, ...options });
    await chat.send("sendToolResult", result);
    await waitForPhase(chat, "unavailable");
    await chat.checkAppearance(`picture-light-280-${name}`);
    await chat.close();
  }
});

test("buttons and choices are large enough for fingers", async () => {
  const chat = await bed.choose("sea.jpg", {}, { width: 320, browser: { hasTouch: true } });
  const heights = await chat.frame.evaluate(() => [...document.querySelectorAll("button, .chip, #zoom")].filter((node) => node.checkVisibility()).map((node) => node.getBoundingClientRect().height));
  assert.ok(heights.length > 8 && heights.every((height) => height >= 44), `${heights}`);
  await chat.screenshot("picture-touch-editing");
  await chat.close();
});

test("on a phone, the panel mentions the device instead of dropping", async () => {
  const chat = await bed.open({}, { width: 320, browser: { hasTouch: true } });
  assert.ok(await chat.frame.getByText("Add a picture from this device").isVisible());
  assert.equal(await chat.frame.getByText("Drop a picture here").isVisible(), false);
  await chat.screenshot("picture-touch-empty");
  await chat.close();
});

test("larger text does not overflow", async () => {
  const chat = await bed.choose("sea.jpg", {}, { width: 320, context: { styles: { variables: { "--font-text-sm-size": "24px", "--font-text-xs-size": "21px" } } } });
  await chat.checkAppearance("picture-large-text");
  await chat.close();
});

test("reduced motion is respected in the panel", async () => {
  const chat = await bed.open({}, { browser: { reducedMotion: "reduce" } });
  const motion = await chat.byId("filled").evaluate((bar) => {
    bar.parentElement.classList.add("unknown");
    return [getComputedStyle(bar).animationName, getComputedStyle(bar).transitionDuration];
  });
  assert.deepEqual(motion, ["none", "0s"]);
  await chat.close();
});

test("the picture keeps its position during the upload", async () => {
  const chat = await bed.choose("sea.jpg", { aspect_ratio: "16:9" });
  const place = await chat.byId("view").boundingBox();
  await upload(chat);
  assert.deepEqual(await chat.byId("view").boundingBox(), place);
  await chat.close();
});

// No test of the page, but it needs all that tests have.
if (process.env.DOCS) test("the panel's screenshot in docs/ can be taken", async () => {
  const chat = await bed.open({ aspect_ratio: "16:9" }, { width: 640, context: { theme: "light" }, browser: { deviceScaleFactor: 2, colorScheme: "light" } });
  await choose(chat, bed.path("sea.jpg"));
  await waitForPhase(chat, "editing");
  await chat.saveForDocs("picture-panel");
  await chat.close();
});
