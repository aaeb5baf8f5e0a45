// Connects the official TypeScript client 2.x, which supports both versions of the protocol.

import { Client, StreamableHTTPClientTransport } from "@modelcontextprotocol/client";
import { StdioClientTransport } from "@modelcontextprotocol/client/stdio";

import { COMMAND, SIMULATE, createEnvironment, startHttpServer } from "./server.mjs";

/** The negotiation mode for 2026-07-28. */
export const MODERN = { pin: "2026-07-28" };

/** The negotiation mode for each version of the protocol. */
export const VERSIONS = { "2026-07-28": MODERN, "2025-11-25": "legacy" };

export const CLIENT_INFO = { name: "client-v2", version: "1" };

/** What the tasks client states in each request. */
export const FRAMING = { protocolVersion: MODERN.pin, clientInfo: CLIENT_INFO, clientCapabilities: {} };

/** Functions that open a transport. Each returns `{ transport, stop }`: `stop()` ends what the function started. */
export const TRANSPORTS = {
  stdio: async () => {
    const { env, remove } = createEnvironment();
    const transport = new StdioClientTransport({ command: COMMAND, args: SIMULATE, env, stderr: "ignore" });
    return { transport, stop: remove };
  },
  HTTP: async () => {
    const { url, stop } = await startHttpServer();
    return { transport: new StreamableHTTPClientTransport(new URL(url)), stop };
  },
};

/** Connects a client with a negotiation mode. */
export async function connect({ transport, stop }, mode, capabilities = {}) {
  const client = new Client(CLIENT_INFO, { versionNegotiation: { mode }, capabilities });
  await client.connect(transport);
  return {
    client,
    listTools: async () => (await client.listTools()).tools,
    callTool: (name, args, options) => client.callTool({ name, arguments: args }, options),
    close: async () => {
      await client.close();
      await stop();
    },
  };
}
