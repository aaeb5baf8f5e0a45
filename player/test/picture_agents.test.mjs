import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { PanelBed, radio, upload } from "./panel.mjs";

/** @type {PanelBed} of a server that uses Luma's own Agents API */
let bed;
before(async () => (bed = await PanelBed.start("agents")));
after(() => bed.stop());

test("the second API offers two uses and accepts the uploaded files", async () => {
  const refs = {};
  for (const [use, parameter] of [["First frame", "image_start"], ["Last frame", "image_end"]]) {
    const chat = await bed.choose(parameter === "image_start" ? "quarters.jpg" : "phone.heic", { aspect_ratio: "1:1" });
    assert.deepEqual(await chat.byId("uses").getByRole("radio").count(), 2);
    await radio(chat, use).check();
    const { asset } = await upload(chat);
    assert.deepEqual((await bed.picture(asset)).size, [1200, 1200]);
    const message = await chat.waitForMessage();
    assert.equal(message, `Use my picture as the ${use.toLowerCase()} of a 1:1 clip: ${asset}`);
    refs[parameter] = message.split(" ").at(-1);
    await chat.close();
  }
  const result = await bed.server.call("generate_video", { prompt: "The colors drift", aspect_ratio: "1:1", wait_seconds: 0, ...refs });
  assert.equal(result.structuredContent.state, "running", JSON.stringify(result.structuredContent));
  const sent = JSON.stringify((await bed.api.orders()).at(-1));
  for (const ref of Object.values(refs)) assert.ok(sent.includes(ref), sent);
});

test("a missing key is described in the terms of the second API", async () => {
  const chat = await bed.chats.chat();
  const error = { kind: "not_configured", message: "The key is not set. Nothing was charged.", charged: "no" };
  await chat.send("sendToolResult", { isError: true, content: [], structuredContent: { error } });
  await chat.frame.getByText("Set LUMA_AGENTS_API_KEY in this server's settings.").waitFor();
  await chat.close();
});
