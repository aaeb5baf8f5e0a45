/** Looks at a running job until it ends. Whatever goes wrong on the way, the job is not given up. */

import { passing } from "./told.js";

const LONGEST_WAIT = 20;
/** Seconds between two looks, where the server does not wait. */
const SHORTEST_TURN = 4;
const LONGEST_PAUSE = 30;
/** Seconds after which a look that fails was probably cut by the host. */
const CUT = 3;

/**
 * @param {object} parts
 * @param {(seconds: number) => Promise<import("./told.js").Told>} parts.look waits on the server for so long
 * @param {(told: import("./told.js").Told) => void} parts.onTold
 * @param {(trouble: boolean) => void} parts.onTrouble
 * @param {AbortSignal} parts.signal ends it
 */
export async function follow({ look, onTold, onTrouble, signal }) {
  let wait = 0; // The first look is at once: what the chat replays may be days old.
  let longest = LONGEST_WAIT;
  let failures = 0;
  while (!signal.aborted) {
    const began = performance.now();
    const spent = () => (performance.now() - began) / 1000;
    const told = await look(wait).catch(() => null);
    if (signal.aborted) return;
    if (told === null || passing(told)) {
      if (wait > 0 && spent() > CUT) longest = Math.floor(longest / 2);
      failures += 1;
      onTrouble(true);
      await pause(backoff(failures), signal);
      wait = 0;
      continue;
    }
    onTrouble(false);
    onTold(told);
    if (told.phase !== "running") return;
    if (wait > 0 || longest === 0 || failures) await pause(SHORTEST_TURN - spent(), signal);
    failures = 0;
    wait = longest;
  }
}

/** @param {number} failures in a row */
export function backoff(failures) {
  return Math.min(LONGEST_PAUSE, 2 ** failures);
}

/** @param {number} seconds @param {AbortSignal} signal */
function pause(seconds, signal) {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, Math.max(0, seconds) * 1000);
    signal.addEventListener("abort", () => (clearTimeout(timer), resolve(undefined)), { once: true });
  });
}
