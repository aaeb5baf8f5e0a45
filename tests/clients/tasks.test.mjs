// The official client of the tasks extension, on top of the TypeScript client 2.x: videos as tasks.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { createTaskSessionFromClient, resultFromTaskOutcome } from "@modelcontextprotocol/ext-tasks/client";

import { CLIENT_INFO, FRAMING, MODERN, TRANSPORTS, connect } from "./connect_v2.mjs";
import { recordMessages } from "./recorder.mjs";
import { INVALID_REQUEST, assertRefusal, assertVideo } from "./shared_tests.mjs";
import { validateTaskMessages } from "./tasks_schema.mjs";

const WITH_TASKS = {
  "io.modelcontextprotocol/protocolVersion": MODERN.pin,
  "io.modelcontextprotocol/clientInfo": CLIENT_INFO,
  "io.modelcontextprotocol/clientCapabilities": { extensions: { "io.modelcontextprotocol/tasks": {} } },
};
const WITHOUT_TASKS = { ...WITH_TASKS, "io.modelcontextprotocol/clientCapabilities": {} };

for (const [transportName, openTransport] of Object.entries(TRANSPORTS)) {
  describe(`tasks over ${transportName}`, () => {
    let recorder, host, session;
    before(async () => {
      const opened = await openTransport();
      recorder = recordMessages(opened.transport);
      host = await connect(opened, MODERN);
      const options = { endpointId: "luma", rawDispatch: recorder.dispatch, v2RequestFraming: FRAMING };
      session = createTaskSessionFromClient(host.client, options);
    });
    after(async () => {
      await session?.close();
      await host?.close();
    });

    test("generate_video returns a task, which completes with the tool's result", async () => {
      const statuses = [];
      const execution = await session.callTool("generate_video", { prompt: "a fox as a task" });
      assert.equal(execution.kind, "task");

      const { outcome } = await execution.settle({ onEvent: (event) => void statuses.push(event.task?.status) });

      const result = resultFromTaskOutcome(outcome);
      assertVideo(result);
      assert.equal(result.structuredContent.jobid, execution.handle.taskId);
      assert.ok(statuses.includes("working"));
    });

    test("a refusal comes at once, without a task", async () => {
      const execution = await session.callTool("generate_video", INVALID_REQUEST);

      assert.equal(execution.kind, "immediate");
      assertRefusal(resultFromTaskOutcome(await execution.result()));
    });

    test("cancelling a task is acknowledged, and its job goes on", async () => {
      const execution = await session.callTool("generate_video", { prompt: "an owl simulate:stuck" });
      assert.equal(execution.kind, "task");
      const { taskId } = execution.handle;

      await execution.cancel();

      const task = await recorder.dispatch({ method: "tasks/get", params: { taskId, _meta: WITH_TASKS } });
      assert.equal(task.result.status, "working", "a running generation cannot be stopped");
      const job = await host.callTool("get_job", { jobid: taskId, wait_seconds: 0 });
      assert.equal(job.structuredContent.state, "running");
      const params = { taskId, inputResponses: { nothing: { action: "accept" } }, _meta: WITH_TASKS };
      const updated = await recorder.dispatch({ method: "tasks/update", params });
      assert.equal(updated.result.resultType, "complete");
    });

    test("an unknown task and a client without the tasks capability get their error codes", async () => {
      const params = { taskId: "no-such-task", inputResponses: {} };
      for (const method of ["tasks/get", "tasks/update", "tasks/cancel"]) {
        const unknown = await recorder.dispatch({ method, params: { ...params, _meta: WITH_TASKS } });
        const withoutTasks = await recorder.dispatch({ method, params: { ...params, _meta: WITHOUT_TASKS } });
        assert.deepEqual([unknown.error?.code, withoutTasks.error?.code], [-32602, -32021], method);
      }
    });

    test("every message about tasks matches the extension's schema", () => {
      const kinds = ["CancelTask", "GetTask", "UpdateTask"].flatMap((kind) => [`${kind}Request`, `${kind}Result`]);
      assert.deepEqual(validateTaskMessages(recorder.messages), new Set(["CreateTaskResult", ...kinds]));
    });
  });
}
