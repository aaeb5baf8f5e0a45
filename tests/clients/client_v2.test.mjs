// The official TypeScript client 2.x, in both eras of the protocol.

import assert from "node:assert/strict";
import { test } from "node:test";
import { NEWER, REACHED, connected } from "./connected_v2.mjs";
import { story } from "./story.mjs";

const APPS = { "io.modelcontextprotocol/ui": { mimeTypes: ["text/html;profile=mcp-app"] } };

for (const [way, reached] of Object.entries(REACHED)) {
  for (const [version, mode] of [["2026-07-28", NEWER], ["2025-11-25", "legacy"]]) {
    story(`@modelcontextprotocol/client 2.x at ${version} over ${way}`, async () => connected(await reached(), mode));

    test(`a client that shows apps finds their pages at ${version} over ${way}`, async () => {
      const client = await connected(await reached(), mode, { extensions: APPS });
      const tools = await client.listed();
      await client.away();
      const withPages = tools.filter((tool) => tool._meta?.ui?.resourceUri).map((tool) => tool.name);
      assert.deepEqual(withPages, ["generate_video", "get_job", "add_picture"]);
    });
  }
}
