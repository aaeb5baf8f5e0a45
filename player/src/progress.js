/** How far a video has probably come, and times as text. */

/** Seconds in which a video usually finishes, if nothing is known about it. */
export const UNKNOWN_TYPICAL = [30, 180];

/**
 * Percentage of the way: up to 90 linearly at the typical time, then ever slower, and never quite 99. The server's own
 * progress messages use the same formula.
 *
 * @param {number} elapsed seconds
 * @param {number} typical seconds
 */
export function percent(elapsed, typical) {
  const passed = Math.max(0, elapsed);
  return passed <= typical ? (90 * passed) / typical : 99 - (9 * typical) / passed;
}

/**
 * Minutes and seconds: `1:05`; from one hour on `1:02:05`.
 *
 * @param {number} seconds
 */
export function formatTime(seconds) {
  const whole = Math.max(0, Math.floor(seconds));
  const [hours, minutes] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60];
  const tail = String(whole % 60).padStart(2, "0");
  return hours ? `${hours}:${String(minutes).padStart(2, "0")}:${tail}` : `${minutes}:${tail}`;
}

/**
 * The range of seconds in which such videos finish, if the server named a plausible one.
 *
 * @param {unknown} typical
 * @returns {[number, number] | null}
 */
export function parseRange(typical) {
  if (!Array.isArray(typical) || typical.length !== 2) return null;
  const [low, high] = typical;
  return Number.isFinite(low) && Number.isFinite(high) && high > 0 && low <= high ? [low, high] : null;
}
