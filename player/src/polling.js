/** Polls a running job until it ends. Nothing that goes wrong on the way makes it give up on the job. */

import { isTransient } from "./result.js";

const LONGEST_WAIT = 20;
/** Seconds between two polls if the server does not wait. */
const SHORTEST_INTERVAL = 4;
const LONGEST_BACKOFF = 30;
/** Seconds after which a poll that fails was probably cut off by the host. */
const CUT_OFF_AFTER = 3;

/**
 * @param {object} options
 * @param {(seconds: number) => Promise<import("./result.js").ToolResult>} options.poll waits on the server for so long
 * @param {(result: import("./result.js").ToolResult) => void} options.onResult
 * @param {(isDisturbed: boolean) => void} options.onConnection
 * @param {AbortSignal} options.signal stops it
 */
export async function pollUntilFinished({ poll, onResult, onConnection, signal }) {
  let wait = 0; // The first poll does not wait: the chat may be showing a result that is days old.
  let longest = LONGEST_WAIT;
  let failures = 0;
  while (!signal.aborted) {
    const started = performance.now();
    const elapsed = () => (performance.now() - started) / 1000;
    const result = await poll(wait).catch(() => null);
    if (signal.aborted) return;
    if (result === null || isTransient(result)) {
      if (wait > 0 && elapsed() > CUT_OFF_AFTER) longest = Math.floor(longest / 2);
      failures += 1;
      onConnection(true);
      await sleep(backoff(failures), signal);
      wait = 0;
      continue;
    }
    onConnection(false);
    onResult(result);
    if (result.phase !== "running") return;
    if (wait > 0 || longest === 0 || failures) await sleep(SHORTEST_INTERVAL - elapsed(), signal);
    failures = 0;
    wait = longest;
  }
}

/** Seconds to wait after so many failures in a row. @param {number} failures */
export function backoff(failures) {
  return Math.min(LONGEST_BACKOFF, 2 ** failures);
}

/** Waits, or returns at once when it is aborted. @param {number} seconds @param {AbortSignal} signal */
export function sleep(seconds, signal) {
  return new Promise((resolve) => {
    if (signal.aborted) return resolve(undefined);
    const timer = setTimeout(resolve, Math.max(0, seconds) * 1000);
    signal.addEventListener("abort", () => (clearTimeout(timer), resolve(undefined)), { once: true });
  });
}
