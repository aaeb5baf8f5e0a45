// Tests for the MCP Inspector's command line. Each call starts a new process, as it does for a person in a terminal.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { after, before, describe, test } from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

import { createEnvironment } from "./server.mjs";
import { INVALID_REQUEST, TOOLS, assertRefusal, assertVideo } from "./shared_tests.mjs";

const LAUNCHER = new URL("node_modules/@modelcontextprotocol/inspector/clients/launcher/build/index.js", import.meta.url);
const TOOL_FAILED = 5; // the Inspector's exit code for a result with isError
// Without the Inspector's own time limit: a busy machine may take longer than that to start the server. The test runner
// has a limit.
const OPTIONS = ["--cli", "--format", "json", "--quiet", "--connect-timeout", "0"];
const run = promisify(execFile);

/**
 * Defines the Inspector's tests for a transport and a protocol era: "legacy" or "modern".
 *
 * `open(environment)` starts the server if necessary. It returns `target`, the Inspector's arguments for the server,
 * and `stop()`, if there is something to stop.
 */
export function describeInspector(transportName, era, open) {
  describe(`the Inspector over ${transportName}, ${era}`, () => {
    const environment = createEnvironment();
    let target, stop;
    before(async () => ({ target, stop } = await open(environment)));
    after(async () => {
      await stop?.();
      environment.remove();
    });

    /** Runs the Inspector. Returns its exit code and its output, which has a JSON text in each line. */
    async function inspect(method, ...options) {
      const args = [...OPTIONS, "--protocol-era", era, "--method", method, ...options, ...target];
      const running = run(process.execPath, [fileURLToPath(LAUNCHER), ...args], { env: environment.env });
      const { stdout, stderr, code = 0 } = await running.catch((error) => error);
      assert.notEqual(stdout, "", stderr);
      return { output: stdout.trim().split("\n").map((line) => JSON.parse(line)), code };
    }

    async function callTool(name, args) {
      const options = ["--tool-name", name, "--tool-args-json", JSON.stringify(args)];
      const { output, code } = await inspect("tools/call", ...options);
      return { ...output[0].result, code };
    }

    test("lists the tools and finds no error in their schemas", async () => {
      const { output, code } = await inspect("tools/list", "--strict");
      assert.deepEqual(output[0].result.tools.map((tool) => tool.name), TOOLS);
      assert.equal(code, 0);
    });

    test("lists the resources", async () => {
      const { output } = await inspect("resources/list");
      assert.ok(output[0].result.resources.some((resource) => resource.uri === "luma://options"));
    });

    test("lists the prompts", async () => {
      const { output } = await inspect("prompts/list");
      assert.ok(output[0].result.prompts.some((prompt) => prompt.name === "make_video"));
    });

    test("finds the pages of the tools that show a video or take a picture", async () => {
      const { output } = await inspect("tools/list", "--advertise-apps", "--app-info");
      const withPages = output.filter((tool) => tool.hasApp);
      assert.deepEqual(withPages.map((tool) => tool.toolName), ["generate_video", "get_job", "add_picture"]);
      assert.ok(withPages.every((tool) => tool.resourceMimeType === "text/html;profile=mcp-app"));
    });

    test("gets a refusal that suggests an order that works", async () => {
      const result = await callTool("generate_video", INVALID_REQUEST);
      assert.equal(result.code, TOOL_FAILED);
      assertRefusal(result);
    });

    test("gets a video", async () => {
      assertVideo(await callTool("generate_video", { prompt: "a fox" }));
    });
  });
}
