// What every client does with the server, whatever it is and however it is connected.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";

export const TOOLS = ["generate_video", "get_job", "list_jobs", "delete_job", "list_options", "join_videos"];
export const IMPOSSIBLE = { prompt: "a fox", resolution: "draft", dynamic_range: "hdr" };

/** A refusal names what is wrong, and one order that works. */
export function judgeRefusal(result) {
  assert.equal(result.isError, true);
  const { kind, problems, suggestion } = result.structuredContent.error;
  assert.equal(kind, "invalid_arguments");
  assert.deepEqual(problems.map((problem) => problem.field), ["resolution"]);
  assert.equal(suggestion.dynamic_range, "hdr");
  assert.notEqual(suggestion.resolution, "draft");
  assert.match(result.content[0].text, /This would work/);
}

/** A finished video is told in text and in structured content. */
export function judgeVideo(result) {
  assert.ok(!result.isError, JSON.stringify(result.structuredContent));
  assert.equal(result.structuredContent.state, "completed");
  assert.ok(result.content[0].text.includes(result.structuredContent.video.url));
}

/** `connect()` gives `call(name, arguments, options)`, `listed()` and `away()`. */
export function story(title, connect) {
  describe(title, () => {
    let client;
    before(async () => (client = await connect()));
    after(() => client?.away());

    test("lists the tools", async () => {
      assert.deepEqual((await client.listed()).map((tool) => tool.name), TOOLS);
    });

    test("is told of a refusal, with an order that works", async () => {
      judgeRefusal(await client.call("generate_video", IMPOSSIBLE));
    });

    test("gets a video, and sees progress while it waits", async () => {
      const seen = [];
      const options = { onprogress: (progress) => seen.push(progress) };

      const result = await client.call("generate_video", { prompt: "a fox in the snow" }, options);

      judgeVideo(result);
      const file = await (await fetch(result.structuredContent.video.url)).bytes();
      assert.equal(Buffer.from(file.subarray(4, 8)).toString(), "ftyp");
      assert.ok(seen.length > 0, "no progress was seen");
      assert.ok(seen.every(({ progress }, at) => at === 0 || progress > seen[at - 1].progress), "progress only rises");
    });

    test("loses nothing when it cancels a call that waits", async () => {
      const order = { prompt: "an owl that is never ready simulate:stuck" };
      const [aborting, waiting] = [new AbortController(), Promise.withResolvers()];
      const options = { signal: aborting.signal, onprogress: (told) => waiting.resolve(told) };
      const call = client.call("generate_video", order, options);
      await Promise.race([waiting.promise, call]);
      aborting.abort();
      await assert.rejects(call);

      const { jobs } = (await client.call("list_jobs", {})).structuredContent;
      const found = jobs.filter((job) => job.prompt === order.prompt);
      assert.equal(found.length, 1);
      const { jobid } = found[0];
      const asked = await client.call("get_job", { jobid, wait_seconds: 0 });
      assert.equal(asked.structuredContent.state, "running");
      const again = await client.call("generate_video", { ...order, wait_seconds: 0 });
      assert.equal(again.structuredContent.jobid, jobid, "the same order is the same job");
    });
  });
}
