// Tests that every client has to pass, over every transport.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";

export const TOOLS = ["generate_video", "get_job", "list_jobs", "delete_job", "list_options", "join_videos"];
export const INVALID_REQUEST = { prompt: "a fox", resolution: "draft", dynamic_range: "hdr" };

/** Checks that a result refuses `INVALID_REQUEST`, names the wrong argument and suggests an order that works. */
export function assertRefusal(result) {
  assert.equal(result.isError, true);
  const { kind, problems, suggestion } = result.structuredContent.error;
  assert.equal(kind, "invalid_arguments");
  assert.deepEqual(problems.map((problem) => problem.field), ["resolution"]);
  assert.equal(suggestion.dynamic_range, "hdr");
  assert.notEqual(suggestion.resolution, "draft");
  assert.match(result.content[0].text, /This would work/);
}

/** Checks that a result is a completed video, with its URL in the text and in the structured content. */
export function assertVideo(result) {
  assert.ok(!result.isError, JSON.stringify(result.structuredContent));
  assert.equal(result.structuredContent.state, "completed");
  assert.ok(result.content[0].text.includes(result.structuredContent.video.url));
}

/** Defines the tests of a client. `connect()` returns `callTool(name, args, options)`, `listTools()` and `close()`. */
export function describeClient(title, connect) {
  describe(title, () => {
    let client;
    before(async () => (client = await connect()));
    after(() => client?.close());

    test("lists the tools", async () => {
      assert.deepEqual((await client.listTools()).map((tool) => tool.name), TOOLS);
    });

    test("gets a refusal that suggests an order that works", async () => {
      assertRefusal(await client.callTool("generate_video", INVALID_REQUEST));
    });

    test("gets progress while it waits, then the video", async () => {
      const reports = [];
      const options = { onprogress: (report) => reports.push(report) };

      const result = await client.callTool("generate_video", { prompt: "a fox in the snow" }, options);

      assertVideo(result);
      const file = await (await fetch(result.structuredContent.video.url)).bytes();
      assert.equal(Buffer.from(file.subarray(4, 8)).toString(), "ftyp");
      assert.ok(reports.length > 0, "there was no progress");
      const isRising = reports.every(({ progress }, at) => at === 0 || progress > reports[at - 1].progress);
      assert.ok(isRising, "the progress did not always rise");
    });

    test("can find the job and wait for it after cancelling the call", async () => {
      const order = { prompt: "an owl that is never ready simulate:stuck" };
      const controller = new AbortController();
      const firstReport = Promise.withResolvers();
      const options = { signal: controller.signal, onprogress: (report) => firstReport.resolve(report) };
      const call = client.callTool("generate_video", order, options);
      await Promise.race([firstReport.promise, call]);
      controller.abort();
      await assert.rejects(call);

      const { jobs } = (await client.callTool("list_jobs", {})).structuredContent;
      const found = jobs.filter((job) => job.prompt === order.prompt);
      assert.equal(found.length, 1);
      const { jobid } = found[0];
      const job = await client.callTool("get_job", { jobid, wait_seconds: 0 });
      assert.equal(job.structuredContent.state, "running");
      const repeated = await client.callTool("generate_video", { ...order, wait_seconds: 0 });
      assert.equal(repeated.structuredContent.jobid, jobid, "the same order is the same job");
    });
  });
}
