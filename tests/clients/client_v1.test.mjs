// The official TypeScript client 1.x: protocol 2025-11-25.

import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StdioClientTransport } from "@modelcontextprotocol/sdk/client/stdio.js";
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";

import { COMMAND, SIMULATE, createEnvironment, startHttpServer } from "./server.mjs";
import { describeClient } from "./shared_tests.mjs";

async function connect(transport, stop) {
  const client = new Client({ name: "client-v1", version: "1" });
  await client.connect(transport);
  return {
    // From the list, the client also learns the output schemas. It checks each later result against them.
    listTools: async () => (await client.listTools()).tools,
    callTool: (name, args, options) => client.callTool({ name, arguments: args }, undefined, options),
    close: async () => {
      await client.close();
      await stop();
    },
  };
}

describeClient("@modelcontextprotocol/sdk 1.x over stdio", async () => {
  const { env, remove } = createEnvironment();
  return connect(new StdioClientTransport({ command: COMMAND, args: SIMULATE, env, stderr: "ignore" }), remove);
});

describeClient("@modelcontextprotocol/sdk 1.x over HTTP", async () => {
  const { url, stop } = await startHttpServer();
  return connect(new StreamableHTTPClientTransport(new URL(url)), stop);
});
