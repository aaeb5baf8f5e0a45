/** Sends one picture to the server in parts, over a host that may refuse large messages or lose the connection. */

import { backoff, sleep } from "../polling.js";
import { parseResult } from "../result.js";
import { readDataUri } from "./files.js";

/** Bytes of a part that every host passes on. */
const SMALLEST_PART = 16 * 1024;
/** Failures in a row after which only the person tries again. */
const MOST_FAILURES = 4;
/** Milliseconds that each kind of call may take. */
const PART_TIMEOUT = 30_000;
const STATE_TIMEOUT = 15_000;
const DECODE_TIMEOUT = 90_000;
const FINISH_TIMEOUT = 180_000;
const DISCARD_TIMEOUT = 5_000;

/**
 * An upload that did not succeed.
 *
 * `error`: the server's own; null if the host did not pass a call on. `text`: what the host says then, if anything.
 */
export class UploadError extends Error {
  /** @param {Record<string, any> | null} error @param {string} [text] */
  constructor(error, text = "") {
    super(error?.message ?? text);
    Object.assign(this, { error, text });
  }

  /** Whether the same call may succeed later. */
  get isTransient() {
    return !this.error || this.error.retry === "later";
  }
}

/** 32 random hex digits. */
function createId() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** @param {Blob} blob @returns {Promise<string | undefined>} none where the page may not compute it */
async function digest(blob) {
  const hash = await crypto.subtle?.digest("SHA-256", await blob.arrayBuffer());
  return hash && [...new Uint8Array(hash)].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

export class Upload {
  #id = createId();
  #received = 0;
  #isKnown = false;
  #partBytes;
  /** The call that is on its way: what it brings must not arrive after everything else was removed. */
  #pending = Promise.resolve();

  /**
   * @param {import("../host.js").Host} host
   * @param {Blob} blob
   * @param {object} options
   * @param {number} options.partBytes most bytes of a part
   * @param {(share: number) => void} options.onProgress called with the share that the server has
   * @param {(isDisturbed: boolean) => void} options.onConnection
   */
  constructor(host, blob, { partBytes, onProgress, onConnection }) {
    Object.assign(this, { host, blob, onProgress, onConnection });
    this.#partBytes = partBytes;
  }

  /**
   * @param {Record<string, unknown>} args
   * @param {number} timeout
   * @param {AbortSignal} [signal] ends the call itself
   * @returns {Promise<import("../result.js").ToolResult>}
   */
  async #call(args, timeout, signal) {
    const call = this.host.callTool("upload_picture", { upload: this.#id, ...args }, timeout, signal);
    this.#pending = call.catch(() => {});
    const result = await call.catch(() => {
      signal?.throwIfAborted();
      throw new UploadError(null);
    });
    const parsed = parseResult(result);
    if (result.isError || parsed.error) throw new UploadError(parsed.error, parsed.text);
    return parsed;
  }

  /** Sends what the server does not have yet. @param {AbortSignal} signal */
  async #send(signal) {
    let failures = 0;
    // After a pause, only the server knows what has arrived, and whether it still has it.
    let isUncertain = this.#isKnown;
    while (isUncertain || this.#received < this.blob.size) {
      signal.throwIfAborted();
      const before = this.#received;
      try {
        if (isUncertain) await this.#fetchReceived();
        else await this.#sendPart(signal);
        if (this.#received > before) failures = 0;
        else if (!isUncertain) failures += 1;
        isUncertain = false;
        if (failures > MOST_FAILURES) throw new UploadError(null);
        this.onConnection(false);
        this.onProgress(this.#received / this.blob.size);
      } catch (reason) {
        if (!(reason instanceof UploadError) || !reason.isTransient) throw reason;
        if (!isUncertain && !reason.error && (await this.#canSendLess())) continue;
        failures += 1;
        // A host that gives a reason would only ask the person again.
        if (failures > MOST_FAILURES || (!reason.error && reason.text)) throw reason;
        this.onConnection(true);
        await sleep(backoff(failures - 1), signal);
        isUncertain = true;
      }
    }
  }

  /** @param {AbortSignal} signal */
  async #sendPart(signal) {
    const offset = this.#received;
    const uri = await readDataUri(this.blob.slice(offset, offset + this.#partBytes));
    // Nothing is sent after everything was removed.
    signal.throwIfAborted();
    this.#isKnown = true;
    const { job } = await this.#call({ offset, data: uri.slice(uri.indexOf(",") + 1) }, PART_TIMEOUT);
    this.#received = this.#parseReceived(job);
  }

  async #fetchReceived() {
    const { job } = await this.#call({ offset: 0, data: "" }, STATE_TIMEOUT);
    this.#received = this.#parseReceived(job);
  }

  /** @param {Record<string, any>} job */
  #parseReceived({ received }) {
    return Number.isInteger(received) && received >= 0 ? Math.min(received, this.blob.size) : 0;
  }

  /** Makes parts smaller if the host passes on a small message, but not the last part. */
  async #canSendLess() {
    if (this.#partBytes <= SMALLEST_PART) return false;
    try {
      await this.#fetchReceived();
    } catch (reason) {
      if (reason instanceof UploadError) return false;
      throw reason;
    }
    this.#partBytes = Math.max(SMALLEST_PART, Math.floor(this.#partBytes / 2));
    return true;
  }

  /** Repeats a call that changes nothing twice. @param {() => Promise<any>} call @param {AbortSignal} signal */
  async #repeat(call, signal) {
    for (let failures = 0; ; ) {
      try {
        const result = await call();
        this.onConnection(false);
        return result;
      } catch (reason) {
        failures += 1;
        // The server has tried itself what it reports.
        if (!(reason instanceof UploadError) || reason.error || reason.text || failures > MOST_FAILURES) throw reason;
      }
      this.onConnection(true);
      await sleep(backoff(failures - 1), signal);
      signal.throwIfAborted();
    }
  }

  /**
   * Sends what the server does not have, then makes a call about the whole picture.
   *
   * @param {Record<string, unknown>} args
   * @param {number} timeout
   * @param {AbortSignal} signal
   */
  async #complete(args, timeout, signal) {
    for (let attempt = 0; attempt < MOST_FAILURES; attempt += 1) {
      await this.#send(signal);
      const result = await this.#repeat(() => this.#call(args, timeout, signal), signal);
      // The server forgets parts after a while. Then they are sent again.
      if (result.job.state !== "receiving") return result;
      this.#received = this.#parseReceived(result.job);
    }
    throw new UploadError(null);
  }

  /**
   * Lets the server decode what this browser cannot.
   *
   * @param {AbortSignal} signal
   * @returns {Promise<{ picture: string, width: number, height: number }>} `picture`: a data: URI
   */
  async preview(signal) {
    const { job, picture } = await this.#complete({ action: "preview" }, DECODE_TIMEOUT, signal);
    if (!picture) throw new UploadError(null);
    return { picture, width: Number(job.width), height: Number(job.height) };
  }

  /**
   * Ends the upload. The server still has the parts if it fails for a reason that may pass.
   *
   * @param {Record<string, unknown>} args what the picture is for, and which part of it
   * @param {AbortSignal} signal
   */
  async finish(args, signal) {
    const whole = { action: "finish", size: this.blob.size, ...args };
    const sha256 = await digest(this.blob);
    if (sha256) Object.assign(whole, { sha256 });
    const result = await this.#complete(whole, FINISH_TIMEOUT, signal);
    if (typeof result.job.asset !== "string") throw new UploadError(null, result.text);
    return result;
  }

  /** Removes what the server has. It forgets it by itself after a while, so a failure does no harm. */
  async discard() {
    if (!this.#isKnown) return;
    this.#isKnown = false;
    await Promise.race([this.#pending, sleep(DISCARD_TIMEOUT / 2000, new AbortController().signal)]);
    await this.#call({ action: "discard" }, DISCARD_TIMEOUT).catch(() => {});
  }
}
