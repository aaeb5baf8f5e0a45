/** The video and its still picture: finds a picture that loads, and a link to the video that plays. */

/** Seconds after which a link that fails again is worth another new one. */
const RETRY_AFTER = 60;
/** Milliseconds within which the browser reports that a policy blocked what has just failed. */
const REPORT_DELAY = 150;

/** @param {string} src */
function loads(src) {
  return new Promise((resolve) => {
    const image = new Image();
    image.onload = () => resolve(true);
    image.onerror = () => resolve(false);
    image.src = src;
  });
}

export class MediaArea {
  #isBlocked = false;
  #recoveredAt = -Infinity;
  #position = 0;
  #url = "";
  #posters = "";
  #isPreview = false;

  /**
   * @param {HTMLVideoElement} video
   * @param {HTMLImageElement} still
   * @param {() => Promise<string | null>} fetchUrl a new link to the same video
   * @param {(problem: "blocked" | "lost" | "preview" | null) => void} onProblem
   */
  constructor(video, still, fetchUrl, onProblem) {
    Object.assign(this, { video, still, fetchUrl, onProblem });
    document.addEventListener("securitypolicyviolation", (violation) => {
      if (violation.effectiveDirective.startsWith("media-src")) this.#isBlocked = true;
    });
    video.addEventListener("error", () => this.#recover());
    video.addEventListener("loadedmetadata", () => this.onProblem(null));
    video.addEventListener("timeupdate", () => (this.#position = video.currentTime || this.#position));
  }

  /** Shows the first of these pictures that loads. @param {(string | null | undefined)[]} candidates */
  async showPoster(candidates) {
    const wanted = candidates.filter(Boolean);
    const key = wanted.join("\n");
    if (this.#posters === key) return;
    this.#posters = key;
    for (const src of wanted) {
      if (!(await loads(src))) continue;
      this.still.src = src;
      this.video.poster = src;
      this.still.hidden = !this.video.hidden;
      return;
    }
  }

  /** Loads the video; it plays when the person starts it. @param {string} url */
  load(url) {
    if (url !== this.#url) this.#setSource(url);
  }

  /** Tries once more, because the person asked for it. */
  async retry() {
    this.#recoveredAt = -Infinity;
    await this.#recover();
  }

  /** Plays a copy that is no link, so that nothing can renew it. @param {string} src a data: URI */
  showPreview(src) {
    this.#isPreview = true;
    this.#setSource(src);
    // The person has started it. Browsers allow this, because the video is muted.
    this.video.play().catch(() => {});
  }

  /** Shows only the still picture. */
  hideVideo() {
    this.video.pause();
    this.video.hidden = true;
    this.still.hidden = !this.still.src;
  }

  stop() {
    this.video.pause();
  }

  #setSource(url) {
    this.#url = url;
    this.video.hidden = false;
    this.still.hidden = true;
    this.video.src = url;
  }

  /** Replaces a link that failed by a new one, once, and continues where the video was. */
  async #recover() {
    if (this.#isPreview) return this.#reportProblem("preview");
    const [position, isPlaying] = [this.#position, !this.video.paused && this.#position > 0];
    await new Promise((resolve) => setTimeout(resolve, REPORT_DELAY));
    if (this.#isBlocked) return this.#reportProblem("blocked");
    const now = performance.now() / 1000;
    if (now - this.#recoveredAt < RETRY_AFTER) return this.#reportProblem("lost");
    this.#recoveredAt = now;
    const url = await this.fetchUrl();
    if (!url) return this.#reportProblem("lost");
    this.video.addEventListener("loadedmetadata", () => this.#resume(position, isPlaying), { once: true });
    this.#setSource(url);
  }

  #resume(position, isPlaying) {
    if (position && position < this.video.duration) this.video.currentTime = position;
    if (isPlaying) this.video.play().catch(() => {});
  }

  #reportProblem(problem) {
    this.hideVideo();
    this.onProblem(problem);
  }
}
