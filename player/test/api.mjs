/** The simulated API behind the server, in its own process; the tests control it. */

import { spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

export const ROOT = fileURLToPath(new URL("../../", import.meta.url));
export const PYTHON = process.env.LUMA_MCP_PYTHON ?? `${ROOT}.venv/bin/python`;

export class SimulatedApi {
  /** @param {string} [name] of the API */
  static async start(name = "useapi") {
    const api = new SimulatedApi();
    api.process = spawn(PYTHON, [`${ROOT}tests/player/simulated_api.py`, name], { stdio: ["pipe", "pipe", "inherit"] });
    api.lines = createInterface({ input: api.process.stdout })[Symbol.asyncIterator]();
    api.baseUrl = (await api.#readLine()).base_url;
    api.origin = new URL(api.baseUrl).origin;
    return api;
  }

  async #readLine() {
    const { value, done } = await this.lines.next();
    if (done) throw new Error("The simulated API has ended.");
    return JSON.parse(value);
  }

  /** Runs one command after the other. @param {string} name @param {Record<string, unknown>} [options] */
  command(name, options = {}) {
    this.last = Promise.resolve(this.last).then(() => {
      this.process.stdin.write(`${JSON.stringify({ command: name, ...options })}\n`);
      return this.#readLine();
    });
    return this.last;
  }

  /** Finishes all running jobs, or one. @param {string} [jobid] */
  finish(jobid) {
    return this.command("finish", jobid ? { jobid } : {});
  }

  /** The orders that have arrived. */
  async orders() {
    return (await this.command("report")).orders;
  }

  async stop() {
    const ended = new Promise((resolve) => this.process.once("exit", resolve));
    this.process.stdin.end();
    await ended;
  }
}
