// The official TypeScript client 2.x, with both versions of the protocol.

import assert from "node:assert/strict";
import { test } from "node:test";
import { TRANSPORTS, VERSIONS, connect } from "./connect_v2.mjs";
import { describeClient } from "./shared_tests.mjs";

const APPS = { "io.modelcontextprotocol/ui": { mimeTypes: ["text/html;profile=mcp-app"] } };

for (const [transportName, openTransport] of Object.entries(TRANSPORTS)) {
  for (const [version, mode] of Object.entries(VERSIONS)) {
    describeClient(`@modelcontextprotocol/client 2.x at ${version} over ${transportName}`, async () =>
      connect(await openTransport(), mode),
    );

    test(`a client that supports apps gets the tools' pages at ${version} over ${transportName}`, async () => {
      const client = await connect(await openTransport(), mode, { extensions: APPS });
      const tools = await client.listTools();
      await client.close();
      const withPages = tools.filter((tool) => tool._meta?.ui?.resourceUri).map((tool) => tool.name);
      assert.deepEqual(withPages, ["generate_video", "get_job", "add_picture"]);
    });
  }
}
