// Our server, as the tests start it: with the simulated API, and with nothing of this machine's user.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

/** The command, as a host would start it. */
export const COMMAND = process.env.LUMA_MCP ?? fileURLToPath(new URL("../../.venv/bin/luma-ray-mcp", import.meta.url));

/** A simulation that makes a draft in two seconds. */
export const SIMULATED = ["--simulate", "--speed", "20"];

/** An environment with a home and a journal of its own, and `away()`, which removes them. */
export function surroundings() {
  const folder = mkdtempSync(join(tmpdir(), "luma-ray-mcp-clients-"));
  const own = { HOME: folder, XDG_STATE_HOME: folder, LUMA_MCP_JOURNAL: join(folder, "journal.db") };
  const env = { PATH: process.env.PATH, ...own };
  return { folder, env, own, away: () => rmSync(folder, { recursive: true, force: true }) };
}

/** Starts the server on loopback: its URL, and `away()`, which ends it. */
export async function overHttp() {
  const around = surroundings();
  const child = spawn(COMMAND, ["serve", ...SIMULATED, "--http", "--port", "0", "--no-auth"], {
    env: around.env,
    stdio: ["ignore", "pipe", "ignore"],
  });
  const ended = once(child, "exit");
  const [url] = await Promise.race([
    once(createInterface(child.stdout), "line"),
    ended.then(() => Promise.reject(new Error(`${COMMAND} serve --http ended before it told its URL`))),
  ]);
  const away = async () => {
    child.kill();
    await ended;
    around.away();
  };
  return { url, away };
}
