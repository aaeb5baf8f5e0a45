/** The picture and the video: finds a poster that loads, and a video that plays. */

/** Seconds of playing after which a link that fails again is worth another fresh one. */
const LONG_ENOUGH = 60;
/** Milliseconds in which the browser says that a policy blocked what has just failed. */
const REASON = 150;

/** @param {string} src */
function loads(src) {
  return new Promise((resolve) => {
    const image = new Image();
    image.onload = () => resolve(true);
    image.onerror = () => resolve(false);
    image.src = src;
  });
}

export class Stage {
  #blocked = false;
  #healedAt = -Infinity;
  #at = 0;
  #url = "";
  #posters = "";

  /**
   * @param {HTMLVideoElement} video
   * @param {HTMLImageElement} still
   * @param {() => Promise<string | null>} fresh a new link to the same video
   * @param {(problem: "blocked" | "lost" | null) => void} onProblem
   */
  constructor(video, still, fresh, onProblem) {
    Object.assign(this, { video, still, fresh, onProblem });
    document.addEventListener("securitypolicyviolation", (violation) => {
      if (violation.effectiveDirective.startsWith("media-src")) this.#blocked = true;
    });
    video.addEventListener("error", () => this.#failed());
    video.addEventListener("loadedmetadata", () => this.onProblem(null));
    video.addEventListener("timeupdate", () => (this.#at = video.currentTime || this.#at));
  }

  /** Shows the first of these pictures that loads. @param {(string | null | undefined)[]} candidates */
  async poster(candidates) {
    const wanted = candidates.filter(Boolean);
    if (this.#posters === (this.#posters = wanted.join("\n"))) return;
    for (const src of wanted) {
      if (!(await loads(src))) continue;
      this.still.src = src;
      this.video.poster = src;
      this.still.hidden = !this.video.hidden;
      return;
    }
  }

  /** @param {string} url */
  play(url) {
    if (url === this.#url) return;
    this.#load(url);
  }

  /** Tries once more, as the person asked for it. */
  async again() {
    this.#healedAt = -Infinity;
    await this.#failed();
  }

  /** Leaves the picture alone on the stage. */
  rest() {
    this.video.hidden = true;
    this.still.hidden = !this.still.src;
  }

  stop() {
    this.video.pause();
  }

  #load(url) {
    this.#url = url;
    this.video.hidden = false;
    this.still.hidden = true;
    this.video.src = url;
  }

  async #failed() {
    const [at, playing] = [this.#at, !this.video.paused && this.#at > 0];
    await new Promise((resolve) => setTimeout(resolve, REASON));
    if (this.#blocked) return this.#give("blocked");
    const now = performance.now() / 1000;
    if (now - this.#healedAt < LONG_ENOUGH) return this.#give("lost");
    this.#healedAt = now;
    const url = await this.fresh();
    if (!url) return this.#give("lost");
    this.video.addEventListener("loadedmetadata", () => this.#goOn(at, playing), { once: true });
    this.#load(url);
  }

  #goOn(at, playing) {
    if (at && at < this.video.duration) this.video.currentTime = at;
    if (playing) this.video.play().catch(() => {});
  }

  #give(problem) {
    this.rest();
    this.onProblem(problem);
  }
}
