// The MCP Inspector's command line: each call starts it anew, as a person would.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { after, before, describe, test } from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

import { surroundings } from "./server.mjs";
import { IMPOSSIBLE, TOOLS, judgeRefusal, judgeVideo } from "./story.mjs";

const LAUNCHER = new URL("node_modules/@modelcontextprotocol/inspector/clients/launcher/build/index.js", import.meta.url);
const TOOL_FAILED = 5; // the Inspector's own exit code for it
// A busy machine may take longer to start the server than the Inspector would wait: the test's runner waits instead.
const OPTIONS = ["--cli", "--format", "json", "--quiet", "--connect-timeout", "0"];
const run = promisify(execFile);

/**
 * Every call, in one era of the protocol: "legacy" or "modern".
 *
 * `reached(around)` starts the server if need be; it gives the Inspector's `target`, and `away()`.
 */
export function inspects(way, era, reached) {
  describe(`the Inspector over ${way}, ${era}`, () => {
    const around = surroundings();
    let target, away;
    before(async () => ({ target, away } = await reached(around)));
    after(async () => {
      await away?.();
      around.away();
    });

    /** What the Inspector prints, a JSON text in each line, and what it exits with. */
    async function inspect(method, ...more) {
      const words = [...OPTIONS, "--protocol-era", era, "--method", method, ...more, ...target];
      const inspected = run(process.execPath, [fileURLToPath(LAUNCHER), ...words], { env: around.env });
      const { stdout, stderr, code = 0 } = await inspected.catch((error) => error);
      assert.notEqual(stdout, "", stderr);
      return { printed: stdout.trim().split("\n").map((line) => JSON.parse(line)), code };
    }

    async function call(name, words) {
      const said = ["--tool-name", name, "--tool-args-json", JSON.stringify(words)];
      const { printed, code } = await inspect("tools/call", ...said);
      return { ...printed[0].result, code };
    }

    test("lists the tools, whose schemas have no error", async () => {
      const { printed, code } = await inspect("tools/list", "--strict");
      assert.deepEqual(printed[0].result.tools.map((tool) => tool.name), TOOLS);
      assert.equal(code, 0);
    });

    test("lists the resources", async () => {
      const { printed } = await inspect("resources/list");
      assert.ok(printed[0].result.resources.some((resource) => resource.uri === "luma://options"));
    });

    test("lists the prompts", async () => {
      const { printed } = await inspect("prompts/list");
      assert.ok(printed[0].result.prompts.some((prompt) => prompt.name === "make_video"));
    });

    test("finds the pages of the tools that show a video or take a picture", async () => {
      const { printed } = await inspect("tools/list", "--advertise-apps", "--app-info");
      const shown = printed.filter((tool) => tool.hasApp);
      assert.deepEqual(shown.map((tool) => tool.toolName), ["generate_video", "get_job", "add_picture"]);
      assert.ok(shown.every((tool) => tool.resourceMimeType === "text/html;profile=mcp-app"));
    });

    test("is told of a refusal, with an order that works", async () => {
      const result = await call("generate_video", IMPOSSIBLE);
      assert.equal(result.code, TOOL_FAILED);
      judgeRefusal(result);
    });

    test("gets a video", async () => {
      judgeVideo(await call("generate_video", { prompt: "a fox" }));
    });
  });
}
