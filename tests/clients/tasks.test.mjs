// The official client of the tasks extension, on top of the TypeScript client 2.x: videos as tasks.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { createTaskSessionFromClient, resultFromTaskOutcome } from "@modelcontextprotocol/ext-tasks/client";

import { FRAMING, IDENTITY, NEWER, REACHED, connected } from "./connected_v2.mjs";
import { judgeRefusal, judgeVideo, IMPOSSIBLE } from "./story.mjs";
import { judgeTasks } from "./tasks_schema.mjs";
import { tapped } from "./wire.mjs";

const DECLARED = {
  "io.modelcontextprotocol/protocolVersion": NEWER.pin,
  "io.modelcontextprotocol/clientInfo": IDENTITY,
  "io.modelcontextprotocol/clientCapabilities": { extensions: { "io.modelcontextprotocol/tasks": {} } },
};
const UNDECLARED = { ...DECLARED, "io.modelcontextprotocol/clientCapabilities": {} };

for (const [way, reached] of Object.entries(REACHED)) {
  describe(`tasks over ${way}`, () => {
    let wire, host, session;
    before(async () => {
      const reach = await reached();
      wire = tapped(reach.transport);
      host = await connected(reach, NEWER);
      const options = { endpointId: "luma", rawDispatch: wire.dispatch, v2RequestFraming: FRAMING };
      session = createTaskSessionFromClient(host.client, options);
    });
    after(async () => {
      await session?.close();
      await host?.away();
    });

    test("a video comes as a task that is completed with the very result of the tool", async () => {
      const seen = [];
      const execution = await session.callTool("generate_video", { prompt: "a fox as a task" });
      assert.equal(execution.kind, "task");

      const { outcome } = await execution.settle({ onEvent: (event) => void seen.push(event.task?.status) });

      const result = resultFromTaskOutcome(outcome);
      judgeVideo(result);
      assert.equal(result.structuredContent.jobid, execution.handle.taskId);
      assert.ok(seen.includes("working"));
    });

    test("a refusal is no task", async () => {
      const execution = await session.callTool("generate_video", IMPOSSIBLE);

      assert.equal(execution.kind, "immediate");
      judgeRefusal(resultFromTaskOutcome(await execution.result()));
    });

    test("a task that is cancelled is acknowledged, and its job can still be had", async () => {
      const execution = await session.callTool("generate_video", { prompt: "an owl simulate:stuck" });
      assert.equal(execution.kind, "task");
      const { taskId } = execution.handle;

      await execution.cancel();

      const task = await wire.dispatch({ method: "tasks/get", params: { taskId, _meta: DECLARED } });
      assert.equal(task.result.status, "working", "nothing can stop a generation that runs");
      const job = await host.call("get_job", { jobid: taskId, wait_seconds: 0 });
      assert.equal(job.structuredContent.state, "running");
      const params = { taskId, inputResponses: { nothing: { action: "accept" } }, _meta: DECLARED };
      const updated = await wire.dispatch({ method: "tasks/update", params });
      assert.equal(updated.result.resultType, "complete");
    });

    test("a task that is not known, and a client that takes none, are refused by their codes", async () => {
      const params = { taskId: "no-such-task", inputResponses: {} };
      for (const method of ["tasks/get", "tasks/update", "tasks/cancel"]) {
        const unknown = await wire.dispatch({ method, params: { ...params, _meta: DECLARED } });
        const undeclared = await wire.dispatch({ method, params: { ...params, _meta: UNDECLARED } });
        assert.deepEqual([unknown.error?.code, undeclared.error?.code], [-32602, -32021], method);
      }
    });

    test("everything about tasks that went over the wire fits the extension's schema", () => {
      const kinds = ["CancelTask", "GetTask", "UpdateTask"].flatMap((kind) => [`${kind}Request`, `${kind}Result`]);
      assert.deepEqual(judgeTasks(wire.messages), new Set(["CreateTaskResult", ...kinds]));
    });
  });
}
