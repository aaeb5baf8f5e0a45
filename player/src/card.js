/** One video of the page: its state, the area that shows it, and the polling of its job. */

import { VideoArea } from "./area.js";
import { listActions } from "./actions.js";
import { safeUrl } from "./links.js";
import { MediaArea } from "./media.js";
import { showNotice } from "./notice.js";
import { pollUntilFinished } from "./polling.js";
import { isTransient, mergeResults } from "./result.js";
import * as view from "./view.js";

export class VideoCard {
  #isPolling = false;
  #isPictureFetched = false;
  #preview = "";

  /**
   * @param {import("./host.js").Host} host
   * @param {HTMLElement} root of the area
   * @param {AbortSignal} signal stops everything
   * @param {() => void} onChange called after each change
   * @param {(result: import("./result.js").ToolResult) => void} onEnd called when a job that was running has ended
   */
  constructor(host, root, signal, onChange, onEnd) {
    Object.assign(this, { host, signal, onChange, onEnd });
    this.area = new VideoArea(root);
    this.media = new MediaArea(this.area.video, this.area.still, () => this.#fetchVideoUrl(), (problem) => this.#onMedia(problem));
    /** @type {view.Card} */
    this.state = {
      args: {},
      result: null,
      isTake: false,
      isCancelled: false,
      isDisturbed: false,
      disturbance: "",
      canPoll: true,
      canPreview: false,
      preview: "",
      mediaProblem: null,
      startedAt: performance.now(),
    };
  }

  /** @param {Partial<view.Card>} [changes] */
  update(changes = {}) {
    Object.assign(this.state, changes);
    this.onChange();
  }

  /** Takes over what the host allows. */
  updateHost() {
    this.update({ canPoll: this.host.canPoll, canPreview: this.host.canPreview });
  }

  renderArea() {
    const retry = () => (this.state.mediaProblem === "preview" ? this.showPreview() : this.media.retry());
    this.area.render(this.state, performance.now(), retry);
  }

  listActions() {
    return listActions(this.state, this);
  }

  /** Shows a result that the host passes on, and polls the job if it is still running. @param {import("./result.js").ToolResult} next */
  receive(next) {
    const { state } = this;
    Object.assign(state, { canPoll: this.host.canPoll, canPreview: this.host.canPreview });
    state.jobid ??= next.job.jobid ?? next.error?.jobid;
    // If only the connection to a known job is disturbed, the player polls it itself.
    if (isTransient(next) && state.canPoll && view.jobid(state)) this.update({ isDisturbed: true, disturbance: next.error?.message ?? "" });
    else this.#applyResult(next);
    if (["ordering", "running", "text"].includes(view.phase(state))) this.startPolling();
    // A browser may show an HDR video's own thumbnail pale; the server's picture is made for it.
    if (view.phase(state) === "finished" && view.isHdr(state) && !state.result?.picture) void this.#fetchPicture();
  }

  /** @param {import("./result.js").ToolResult} next */
  #applyResult(next) {
    const { state, media } = this;
    const wasRunning = state.result?.phase === "running";
    const result = mergeResults(state.result, next);
    const { job, phase } = result;
    if (Number.isFinite(job.elapsed_seconds)) state.startedAt = performance.now() - job.elapsed_seconds * 1000;
    this.update({ result });
    const isHdr = view.isHdr(state);
    if (phase === "finished" || phase === "text") {
      const [thumbnail, lastFrame] = [safeUrl(job.thumbnail_url), safeUrl(job.last_frame_url)];
      void media.showPoster(isHdr ? [result.picture, thumbnail, lastFrame] : [thumbnail, result.picture, lastFrame]);
    }
    const url = safeUrl(job.video?.url);
    if (phase === "finished" && url && !isHdr) media.load(url);
    if (wasRunning && phase !== "running") this.onEnd(result);
  }

  /** Polls the job, if it is known and the host allows it. */
  startPolling() {
    const jobid = view.jobid(this.state);
    if (!this.state.canPoll || typeof jobid !== "string" || this.#isPolling) return;
    this.#isPolling = true;
    const poll = async (seconds) => {
      const next = await this.host.getJob(jobid, seconds, this.signal);
      this.state.disturbance = isTransient(next) ? (next.error?.message ?? "") : "";
      return next;
    };
    const onConnection = (isDisturbed) => isDisturbed !== this.state.isDisturbed && this.update({ isDisturbed });
    const onResult = (next) => this.#applyResult(next);
    void pollUntilFinished({ poll, onResult, onConnection, signal: this.signal }).finally(() => (this.#isPolling = false));
  }

  /** Polls once more when the person asks for it: a job that could not be polled is not lost. */
  async pollOnce() {
    const next = await this.#fetchJob();
    if (!next) return showNotice("The chat did not let the player check the job. Try again in a while.");
    showNotice("");
    this.#applyResult(next);
    if (next.phase === "running") this.startPolling();
  }

  async #fetchJob() {
    return this.host.getJob(view.jobid(this.state), 0, this.signal).catch(() => null);
  }

  /** A new link to the same video, in place of one that no longer works. */
  async #fetchVideoUrl() {
    if (!this.state.canPoll || !view.jobid(this.state)) return null;
    const next = await this.#fetchJob();
    if (next?.phase !== "finished") return null;
    this.state.result = mergeResults(this.state.result, next);
    return safeUrl(next.job.video.url);
  }

  async #fetchPicture() {
    if (this.#isPictureFetched || !this.state.canPoll || !view.jobid(this.state)) return;
    this.#isPictureFetched = true;
    const next = await this.#fetchJob();
    if (next?.phase === "finished" && next.picture) this.#applyResult(next);
  }

  /** Shows a small copy of an HDR video that a browser can play. */
  async showPreview() {
    if (this.state.preview) return;
    this.update({ preview: "loading", mediaProblem: null });
    this.#preview ||= (await this.host.fetchPreview(view.jobid(this.state), this.signal).catch(() => null)) ?? "";
    if (this.#preview) this.media.showPreview(this.#preview);
    else this.update({ preview: "", mediaProblem: "preview" });
  }

  hidePreview() {
    this.media.hideVideo();
    this.update({ preview: "" });
  }

  /** @param {view.Card["mediaProblem"]} mediaProblem */
  #onMedia(mediaProblem) {
    if (mediaProblem === "preview") this.#preview = "";
    const preview = this.state.preview && !mediaProblem ? "playing" : "";
    this.update({ mediaProblem, preview });
  }
}
