/** The simulated API behind the server, in a process of its own; the tests move it. */

import { spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

export const ROOT = fileURLToPath(new URL("../../", import.meta.url));
export const PYTHON = process.env.LUMA_MCP_PYTHON ?? `${ROOT}.venv/bin/python`;

export class Stage {
  static async open() {
    const stage = new Stage();
    stage.process = spawn(PYTHON, [`${ROOT}tests/player/stage.py`], { stdio: ["pipe", "pipe", "inherit"] });
    stage.lines = createInterface({ input: stage.process.stdout })[Symbol.asyncIterator]();
    stage.baseUrl = (await stage.#line()).base_url;
    stage.origin = new URL(stage.baseUrl).origin;
    return stage;
  }

  async #line() {
    const { value, done } = await this.lines.next();
    if (done) throw new Error("The stage has ended.");
    return JSON.parse(value);
  }

  /** One command at a time. @param {string} what @param {Record<string, unknown>} [how] */
  do(what, how = {}) {
    this.turn = Promise.resolve(this.turn).then(() => {
      this.process.stdin.write(`${JSON.stringify({ do: what, ...how })}\n`);
      return this.#line();
    });
    return this.turn;
  }

  async close() {
    const ended = new Promise((resolve) => this.process.once("exit", resolve));
    this.process.stdin.end();
    await ended;
  }
}
