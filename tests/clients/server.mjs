// Starts our server for the tests: with the simulated API, and without this machine's settings and journal.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

/** The command, as a host would start it. */
export const COMMAND = process.env.LUMA_MCP ?? fileURLToPath(new URL("../../.venv/bin/luma-ray-mcp", import.meta.url));

/** Arguments for a simulation that makes a draft in two seconds. */
export const SIMULATE = ["--simulate", "--speed", "20"];

/**
 * Creates an environment with its own home folder and journal.
 *
 * `env` is the whole environment of a process; `variables` are those that differ from this process. `remove()` deletes
 * the home folder.
 */
export function createEnvironment() {
  const folder = mkdtempSync(join(tmpdir(), "luma-ray-mcp-clients-"));
  const variables = { HOME: folder, XDG_STATE_HOME: folder, LUMA_MCP_JOURNAL: join(folder, "journal.db") };
  const env = { PATH: process.env.PATH, ...variables };
  return { env, variables, remove: () => rmSync(folder, { recursive: true, force: true }) };
}

/** Starts the server on loopback. Returns its URL, and `stop()`, which ends it. */
export async function startHttpServer() {
  const environment = createEnvironment();
  const child = spawn(COMMAND, ["serve", ...SIMULATE, "--http", "--port", "0", "--no-auth"], {
    env: environment.env,
    stdio: ["ignore", "pipe", "ignore"],
  });
  const exited = once(child, "exit");
  const [url] = await Promise.race([
    once(createInterface(child.stdout), "line"),
    exited.then(() => Promise.reject(new Error(`${COMMAND} serve --http exited before it printed its URL`))),
  ]);
  const stop = async () => {
    child.kill();
    await exited;
    environment.remove();
  };
  return { url, stop };
}
