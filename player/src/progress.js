/** How far a video probably is, and how long that takes, in words. */

/** Seconds from when until when a video usually ends, where nobody says so. */
export const UNKNOWN_TYPICAL = [30, 180];

/**
 * Per cent of the way: steadily to 90 at the typical time, then ever slower; never quite 100. As the server's
 * own progress tells it.
 *
 * @param {number} elapsed seconds
 * @param {number} typical seconds
 */
export function percent(elapsed, typical) {
  const share = Math.max(0, elapsed) / typical;
  return share <= 1 ? 90 * share : 100 - 10 / share;
}

/**
 * Minutes and seconds: `1:05`; from an hour on `1:02:05`.
 *
 * @param {number} seconds
 */
export function clock(seconds) {
  const whole = Math.max(0, Math.floor(seconds));
  const [hours, minutes] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60];
  const tail = String(whole % 60).padStart(2, "0");
  return hours ? `${hours}:${String(minutes).padStart(2, "0")}:${tail}` : `${minutes}:${tail}`;
}

/**
 * The range in which such videos end, if the server named one that makes sense.
 *
 * @param {unknown} typical
 * @returns {[number, number] | null}
 */
export function range(typical) {
  if (!Array.isArray(typical) || typical.length !== 2) return null;
  const [low, high] = typical;
  return Number.isFinite(low) && Number.isFinite(high) && high > 0 && low <= high ? [low, high] : null;
}
