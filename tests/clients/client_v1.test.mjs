// The official TypeScript client of the older era: protocol 2025-11-25.

import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StdioClientTransport } from "@modelcontextprotocol/sdk/client/stdio.js";
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";

import { COMMAND, SIMULATED, overHttp, surroundings } from "./server.mjs";
import { story } from "./story.mjs";

async function connected(transport, away) {
  const client = new Client({ name: "client-v1", version: "1" });
  await client.connect(transport);
  return {
    // Tells the client the output schemas too: it checks each result against them from then on.
    listed: async () => (await client.listTools()).tools,
    call: (name, words, options) => client.callTool({ name, arguments: words }, undefined, options),
    away: async () => {
      await client.close();
      await away();
    },
  };
}

story("@modelcontextprotocol/sdk 1.x over stdio", async () => {
  const { env, away } = surroundings();
  return connected(new StdioClientTransport({ command: COMMAND, args: SIMULATED, env, stderr: "ignore" }), away);
});

story("@modelcontextprotocol/sdk 1.x over HTTP", async () => {
  const { url, away } = await overHttp();
  return connected(new StreamableHTTPClientTransport(new URL(url)), away);
});
