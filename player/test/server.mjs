/** The real server over stdio, as a host talks to it. */

import { Client } from "@modelcontextprotocol/client";
import { StdioClientTransport } from "@modelcontextprotocol/client/stdio";
import { ROOT } from "./api.mjs";

const UI = "io.modelcontextprotocol/ui";
const LUMA_MCP = process.env.LUMA_MCP ?? `${ROOT}.venv/bin/luma-ray-mcp`;
export const CALL_TIMEOUT = 120_000;
/** What the server needs for each API. */
export const CREDENTIALS = { useapi: { USEAPI_TOKEN: "user:0-simulated" }, agents: { LUMA_AGENTS_API_KEY: "luma-api-simulated" } };

export class Server {
  /** @param {string} baseUrl of the API @param {Record<string, string>} [credential] */
  static async start(baseUrl, credential = CREDENTIALS.useapi) {
    const server = new Server();
    const capabilities = { extensions: { [UI]: { mimeTypes: ["text/html;profile=mcp-app"] } } };
    server.client = new Client({ name: "player-tests", version: "1" }, { capabilities });
    const env = { PATH: process.env.PATH, HOME: process.env.HOME, LUMA_MCP_BASE_URL: baseUrl, ...credential, LUMA_MCP_JOURNAL: "off" };
    await server.client.connect(new StdioClientTransport({ command: LUMA_MCP, env }));
    return server;
  }

  /** @param {string} name @param {Record<string, unknown>} args */
  call(name, args) {
    return this.client.callTool({ name, arguments: args }, { timeout: CALL_TIMEOUT });
  }

  /** The page of a tool as the server delivers it, and what it asks of the host. @param {string} [name] */
  async page(name = "generate_video") {
    const { tools } = await this.client.listTools();
    const { _meta } = tools.find((tool) => tool.name === name);
    const [content] = (await this.client.readResource({ uri: _meta.ui.resourceUri })).contents;
    return { html: content.text, mimeType: content.mimeType, ui: content._meta.ui };
  }

  stop() {
    return this.client.close();
  }
}
