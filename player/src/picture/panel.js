/** The panel's state, and what the person does with it: from a file to a picture that the chat can use. */

import { copyText } from "../buttons.js";
import * as chat from "../chat.js";
import { setText } from "../dom.js";
import { showNotice } from "../notice.js";
import { parseResult } from "../result.js";
import * as geometry from "./crop.js";
import { decode, decodeUri, drawShown, shrink } from "./decode.js";
import { UNREADABLE, formatBytes, identify, load } from "./files.js";
import { choose } from "./intake.js";
import { parseSettings } from "./settings.js";
import { Upload, UploadError } from "./upload.js";
import * as view from "./view.js";

const OPEN_TIMEOUT = 60_000;
const BUSY = "Cancel this one first, or wait until it is done.";

export class PicturePanel {
  #work = new AbortController();
  /** @type {Upload | null} */
  #upload = null;
  #isShapeChosen = false;
  /** What was in the panel before the file that is being read: a wrong file does not take its place. */
  #previous = /** @type {Partial<view.Panel> | null} */ (null);
  /** @type {File[]} those that were chosen last */
  #files = [];
  /** @type {Record<string, unknown>} */
  arguments = {};

  /** @param {import("../host.js").Host} host @param {() => void} onChange */
  constructor(host, onChange) {
    Object.assign(this, { host, onChange });
    /** @type {view.Panel} */
    this.state = {
      phase: "opening",
      settings: null,
      problem: "",
      picture: null,
      use: "",
      shape: null,
      crop: null,
      share: null,
      isDisturbed: false,
      error: null,
      text: "",
      result: null,
      message: "",
    };
  }

  /** @param {Partial<view.Panel>} changes */
  #update(changes) {
    Object.assign(this.state, changes);
    this.onChange();
  }

  /** Starts with the result of add_picture. @param {any} toolResult */
  receive(toolResult) {
    if (this.state.settings) return;
    if (!this.host.canPoll) return this.#update({ phase: "unavailable" });
    const result = parseResult(toolResult);
    const settings = parseSettings(result.job);
    if (settings) return this.#update({ phase: "empty", settings, use: settings.use, error: null, text: "" });
    if (result.error || toolResult?.isError) return this.#update({ phase: "unavailable", error: result.error, text: result.text });
    void this.open();
  }

  /** Calls add_picture itself, where the host does not pass its result on. */
  async open() {
    if (this.state.settings) return;
    if (!this.host.canPoll) return this.#update({ phase: "unavailable" });
    const result = await this.host.callTool("add_picture", this.arguments, OPEN_TIMEOUT).catch(() => null);
    const isUsable = result && (result.isError || parseSettings(parseResult(result).job));
    if (isUsable) this.receive(result);
    else if (!this.state.settings) this.#update({ phase: "unavailable", error: null, text: "" });
  }

  /** @param {File[]} files */
  async take(files) {
    if (this.state.phase === "uploading") return showNotice(BUSY);
    if (!this.state.settings) return;
    this.#remember();
    this.#files = files;
    const signal = this.#begin();
    showNotice("");
    this.#update({ phase: "reading", problem: "", picture: null, share: null });
    const others = files.length > 1 ? `Only the first of the ${files.length} files is used.` : "";
    try {
      const picture = await this.#read(files[0], signal);
      if (signal.aborted) return;
      if (typeof picture === "string") return this.#returnToPrevious(picture);
      picture.note = [others, picture.note].filter(Boolean).join(" ");
      this.#isShapeChosen = false;
      this.state.picture = picture;
      this.#update({ phase: "editing", use: this.state.use || this.state.settings.use, ...this.#chooseFirstShape(picture) });
    } catch (reason) {
      this.#fail(reason, signal);
    }
  }

  #remember() {
    const { phase, picture, shape, crop, result, message } = this.state;
    // A file that could not be read has taken nothing's place.
    if (phase === "reading" || (phase === "failed" && !picture)) return;
    // After a failure, the picture can be changed or sent again.
    const earlier = phase === "failed" ? "editing" : phase;
    this.#previous = picture && { phase: earlier, picture, shape, crop, result, message };
  }

  /** @param {string} problem why there is no other picture */
  #returnToPrevious(problem) {
    this.#update({ error: null, text: "", ...(this.#previous ?? { phase: "empty" }) });
    this.refuse(problem);
  }

  /** @param {string} problem */
  refuse(problem) {
    if (["opening", "empty"].includes(this.state.phase)) this.#update({ problem });
    else showNotice(problem);
  }

  /**
   * Reads a file; a sentence says why it cannot be used.
   *
   * @param {Blob} file
   * @param {AbortSignal} signal
   * @returns {Promise<view.Picture | string>}
   */
  async #read(file, signal) {
    const { largestBytes } = /** @type {import("./settings.js").Settings} */ (this.state.settings);
    const kind = await identify(file);
    if ("problem" in kind) return kind.problem;
    if (file.size > largestBytes) return this.#shrink(file.slice(0, file.size, kind.type), largestBytes);
    const loaded = await load(file, kind.type);
    if (!loaded) return UNREADABLE;
    const { blob, isShownAlike } = loaded;
    const decoded = isShownAlike && (await decode(blob));
    if (decoded) return { blob, width: decoded.width, height: decoded.height, shown: drawShown(decoded), note: "" };
    // Another picture may have come, whose upload this one must not replace.
    signal.throwIfAborted();
    return this.#readOnServer(blob, signal);
  }

  /** Makes a smaller copy; a sentence says why there is none. @param {Blob} blob @param {number} largest bytes @returns {Promise<view.Picture | string>} */
  async #shrink(blob, largest) {
    const decoded = await decode(blob);
    const smaller = decoded && (await shrink(decoded, largest));
    if (smaller) {
      const note = `The file has ${formatBytes(blob.size)}. A smaller copy of ${smaller.width} × ${smaller.height} pixels is uploaded.`;
      return { ...smaller, shown: drawShown(decoded), note };
    }
    return (
      `This picture has ${formatBytes(blob.size)}, and this browser cannot make it smaller. ` +
      `Save it as a JPEG of at most ${formatBytes(largest)}, and choose that.`
    );
  }

  /** Lets the server decode what this browser cannot, or may turn in another way. @param {Blob} blob @param {AbortSignal} signal @returns {Promise<view.Picture>} */
  async #readOnServer(blob, signal) {
    const { picture: uri, width, height } = await this.#startUpload(blob).preview(signal);
    const decoded = await decodeUri(uri);
    if (!decoded) throw new UploadError(null);
    return { blob, width: width || decoded.width, height: height || decoded.height, shown: drawShown(decoded), note: "" };
  }

  /** @param {Blob} blob */
  #startUpload(blob) {
    const { partBytes } = /** @type {import("./settings.js").Settings} */ (this.state.settings);
    const { signal } = this.#work;
    const update = (changes) => !signal.aborted && this.#update(changes);
    this.#upload = new Upload(this.host, blob, {
      partBytes,
      onProgress: (share) => update({ share: share < 1 ? share : null }),
      onConnection: (isDisturbed) => isDisturbed !== this.state.isDisturbed && update({ isDisturbed }),
    });
    return this.#upload;
  }

  /** Ends what runs, and removes what the server has of it. */
  #begin() {
    this.#work.abort();
    this.#work = new AbortController();
    void this.#upload?.discard();
    this.#upload = null;
    Object.assign(this.state, { isDisturbed: false, error: null, text: "", result: null, message: "", crop: null, shape: null });
    return this.#work.signal;
  }

  /** The shape that was asked for, or the one that keeps most of the picture. @param {view.Picture} picture */
  #chooseFirstShape(picture) {
    const settings = /** @type {import("./settings.js").Settings} */ (this.state.settings);
    const isFrame = view.getUse(this.state).isFrame;
    const shape = isFrame ? (settings.ratio ?? geometry.findNearestShape(picture, settings.ratios)) : null;
    return { shape, crop: shape && geometry.center(picture, geometry.parseRatio(shape)) };
  }

  /** @param {string} use */
  chooseUse(use) {
    const { picture, shape } = this.state;
    this.state.use = use;
    const first = picture && !this.#isShapeChosen ? this.#chooseFirstShape(picture) : null;
    // Where the shape stays, so does the part that the person has moved.
    this.#update(first && first.shape !== shape ? first : {});
  }

  /** @param {string | null} shape null: the whole picture */
  chooseShape(shape) {
    const { picture } = this.state;
    this.#isShapeChosen = true;
    this.#update({ shape, crop: shape && picture && geometry.center(picture, geometry.parseRatio(shape)) });
  }

  /** @param {number} zoom */
  setZoom(zoom) {
    const { picture, crop } = this.state;
    if (picture && crop) this.setCrop(geometry.zoomBy(picture, crop, zoom / crop.zoom), false);
  }

  /** @param {geometry.Crop} crop @param {boolean} isAnnounced */
  setCrop(crop, isAnnounced) {
    this.#update({ crop });
    if (isAnnounced) setText("announcement", view.describeCrop(this.state));
  }

  async upload() {
    const { picture, settings, use } = this.state;
    if (!picture || !settings) return;
    if (this.#work.signal.aborted) this.#work = new AbortController();
    const { signal } = this.#work;
    showNotice("");
    this.#update({ phase: "uploading", share: 0, error: null, text: "", isDisturbed: false });
    const upload = this.#upload ?? this.#startUpload(picture.blob);
    const part = view.part(this.state);
    const account = settings.account ? { email: settings.account } : {};
    try {
      const result = await upload.finish({ use_as: use, ...account, ...(part ? { crop: part } : {}) }, signal);
      if (signal.aborted) return;
      this.#upload = null;
      this.#update({ phase: "done", result });
      await this.#deliver(result);
    } catch (reason) {
      this.#fail(reason, signal);
    }
  }

  /** @param {unknown} reason @param {AbortSignal} signal */
  #fail(reason, signal) {
    if (signal.aborted) return;
    const failure = reason instanceof UploadError ? reason : new UploadError(null);
    // What can never be used is not kept; else "Try again" continues.
    if (!failure.isTransient) {
      void this.#upload?.discard();
      this.#upload = null;
    }
    const text = failure.error ? "" : failure.text;
    this.#update({ phase: "failed", error: failure.error, text, isDisturbed: false });
  }

  /** Gives the picture to the conversation. @param {import("../result.js").ToolResult} result */
  async #deliver(result) {
    const { use, shape } = this.state;
    const { asset } = result.job;
    const facts = { use_as: use, [use]: asset, ...(shape ? { aspect_ratio: shape } : {}) };
    await this.host.updateModel(...chat.describeOwnPicture(facts), parseImage(result.picture));
    const text = chat.useOwnPicture(asset, view.getUse(this.state).title, shape);
    if (await this.host.sendMessage(text)) return showNotice("Sent to the chat. Now write what should happen in the clip.");
    // Another picture may be in the panel by now.
    if (this.state.result === result) this.#update({ message: text });
    showNotice("This chat takes no messages from the panel. Copy this into it:", text);
  }

  async #copy() {
    if (await copyText(this.state.message)) showNotice("Copied. Paste it into the chat.");
    else showNotice("Copy this into the chat:", this.state.message);
  }

  cancel() {
    const { picture } = this.state;
    this.#work.abort();
    void this.#upload?.discard();
    this.#upload = null;
    this.state.isDisturbed = false;
    if (!picture) return this.#returnToPrevious("");
    this.#update({ phase: "editing" });
    showNotice("Cancelled. Nothing was charged.");
  }

  /** Begins with another picture. */
  restart() {
    this.#begin();
    showNotice("");
    this.#update({ phase: "empty", problem: "", picture: null });
  }

  /** Ends everything, and removes what is half-uploaded. */
  async stop() {
    this.#work.abort();
    await this.#upload?.discard();
  }

  /** @returns {import("../buttons.js").Action[]} */
  listActions() {
    const another = { id: "another", label: "Change picture", isToggle: true, run: () => choose() };
    const { phase, picture } = this.state;
    switch (phase) {
      case "editing":
        return [{ id: "upload", label: "Upload", primary: true, run: () => this.upload() }, another];
      case "uploading":
      case "reading":
        return [{ id: "cancel", label: "Cancel", run: () => this.cancel() }];
      case "failed":
        return this.#listFailedActions(another);
      case "done": {
        const copy = { id: "copy", label: "Copy", primary: true, isToggle: true, run: () => this.#copy() };
        const restart = { id: "restart", label: "Add another picture", isToggle: true, run: () => this.restart() };
        return this.state.message ? [copy, restart] : [restart];
      }
      case "unavailable":
        return this.host.canPoll ? [{ id: "retry", label: "Try again", primary: true, run: () => this.open() }] : [];
      default:
        return [];
    }
  }

  /** @param {import("../buttons.js").Action} another @returns {import("../buttons.js").Action[]} */
  #listFailedActions(another) {
    const { picture } = this.state;
    const goBack = () => (picture ? this.#update({ phase: "editing", error: null, text: "" }) : this.#returnToPrevious(""));
    const back = picture || this.#previous ? [{ id: "back", label: "Back", isToggle: true, run: goBack }] : [];
    if (!view.canRetry(this.state)) return [{ ...another, primary: true }, ...back];
    const retry = () => (picture ? this.upload() : this.take(this.#files));
    return [{ id: "retry", label: "Try again", primary: true, run: retry }, ...back, another];
  }
}

/** @param {string | null} uri a data: URI */
function parseImage(uri) {
  const [, mimeType, data] = /^data:([^;]+);base64,(.*)$/.exec(uri ?? "") ?? [];
  return data ? { mimeType, data } : undefined;
}
