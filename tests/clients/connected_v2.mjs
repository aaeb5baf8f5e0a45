// The official TypeScript client of the newer era, which speaks the older one too.

import { Client, StreamableHTTPClientTransport } from "@modelcontextprotocol/client";
import { StdioClientTransport } from "@modelcontextprotocol/client/stdio";

import { COMMAND, SIMULATED, overHttp, surroundings } from "./server.mjs";

export const NEWER = { pin: "2026-07-28" };
export const IDENTITY = { name: "client-v2", version: "1" };

/** What the tasks client states in each request. */
export const FRAMING = { protocolVersion: NEWER.pin, clientInfo: IDENTITY, clientCapabilities: {} };

/** How the server is reached: each gives a transport, and `away()`, which ends what it has started. */
export const REACHED = {
  stdio: async () => {
    const { env, away } = surroundings();
    return { transport: new StdioClientTransport({ command: COMMAND, args: SIMULATED, env, stderr: "ignore" }), away };
  },
  HTTP: async () => {
    const { url, away } = await overHttp();
    return { transport: new StreamableHTTPClientTransport(new URL(url)), away };
  },
};

/** A client that is connected, in the era that `mode` asks for. */
export async function connected({ transport, away }, mode, capabilities = {}) {
  const client = new Client(IDENTITY, { versionNegotiation: { mode }, capabilities });
  await client.connect(transport);
  return {
    client,
    listed: async () => (await client.listTools()).tools,
    call: (name, words, options) => client.callTool({ name, arguments: words }, options),
    away: async () => {
      await client.close();
      await away();
    },
  };
}
