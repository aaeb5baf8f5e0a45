/** What a page asks of the host that shows it. Whatever a host does not support returns false. */

import { applyDocumentTheme, applyHostFonts, applyHostStyleVariables } from "@modelcontextprotocol/ext-apps";
import { BASE64, parseResult } from "./result.js";

/** Seconds that a call may take beyond the wait that it requests. */
const CALL_OVERHEAD = 25;
/** Milliseconds in which the server fetches an HDR video and converts it. */
const PREVIEW_TIMEOUT = 180_000;

/** @param {Promise<any>} request */
const succeeded = (request) => request.then((result) => !result?.isError, () => false);

export class Host {
  /** @param {import("@modelcontextprotocol/ext-apps").App} app */
  constructor(app) {
    this.app = app;
  }

  get capabilities() {
    return this.app.getHostCapabilities() ?? {};
  }

  /** Whether the page may call the server's tools. */
  get canPoll() {
    return Boolean(this.capabilities.serverTools);
  }

  /** Whether the player may read the server's resources, and the server can make previews. */
  get canPreview() {
    return Boolean(this.capabilities.serverResources) && document.documentElement.dataset.previews === "yes";
  }

  get context() {
    return this.app.getHostContext() ?? {};
  }

  /**
   * Fetches a job, and waits on the server for so long. It costs nothing.
   *
   * @param {string} jobid
   * @param {number} seconds
   * @param {AbortSignal} signal
   */
  async getJob(jobid, seconds, signal) {
    const timeout = (seconds + CALL_OVERHEAD) * 1000;
    return parseResult(await this.callTool("get_job", { jobid, wait_seconds: seconds }, timeout, signal));
  }

  /**
   * Calls a tool of the server, and returns its result as it is.
   *
   * @param {string} name
   * @param {Record<string, unknown>} args
   * @param {number} timeout in milliseconds
   * @param {AbortSignal} [signal]
   * @returns {Promise<any>}
   */
  callTool(name, args, timeout, signal) {
    return this.app.callServerTool({ name, arguments: args }, { timeout, signal });
  }

  /**
   * Fetches a small SDR copy of a finished HDR video.
   *
   * @param {string} jobid
   * @param {AbortSignal} signal
   * @returns {Promise<string | null>} a data: URI
   */
  async fetchPreview(jobid, signal) {
    const uri = `luma://jobs/${encodeURIComponent(jobid)}/preview`;
    const { contents } = await this.app.readServerResource({ uri }, { timeout: PREVIEW_TIMEOUT, signal });
    const video = /** @type {any[]} */ (contents).find(({ mimeType, blob }) => mimeType === "video/mp4" && BASE64.test(blob));
    return video ? `data:video/mp4;base64,${video.blob}` : null;
  }

  /** Sends a message into the chat in the user's name. @param {string} text */
  async sendMessage(text) {
    return succeeded(this.app.sendMessage({ role: "user", content: [{ type: "text", text }] }));
  }

  /** @param {string} url */
  async openLink(url) {
    return succeeded(this.app.openLink({ url }));
  }

  /** @param {string} url @param {string} name @param {string} mimeType */
  async download(url, name, mimeType) {
    const contents = [{ type: /** @type {const} */ ("resource_link"), uri: url, name, mimeType }];
    return this.capabilities.downloadFile ? succeeded(this.app.downloadFile({ contents })) : false;
  }

  /**
   * Gives the model information for its next turn.
   *
   * @param {string} text
   * @param {Record<string, unknown>} facts
   * @param {{ mimeType: string, data: string }} [picture]
   */
  async updateModel(text, facts, picture) {
    const supported = this.capabilities.updateModelContext;
    if (!supported) return false;
    /** @type {any[]} */
    const content = [{ type: "text", text }];
    if (picture && supported.image) content.push({ type: "image", ...picture });
    const structured = supported.structuredContent ? { structuredContent: facts } : {};
    return succeeded(this.app.updateModelContext({ content, ...structured }));
  }

  async toggleFullscreen() {
    const mode = this.context.displayMode === "fullscreen" ? "inline" : "fullscreen";
    return succeeded(this.app.requestDisplayMode({ mode }));
  }

  /** Shows the button for the full screen where the host supports that. @param {HTMLElement} button @param {boolean} isWanted */
  renderFullscreen(button, isWanted) {
    const { availableDisplayModes: modes = [], displayMode } = this.context;
    button.hidden = !isWanted || !modes.includes("fullscreen");
    button.ariaLabel = displayMode === "fullscreen" ? "Back to the chat" : "Full screen";
  }

  /** Applies the host's theme, fonts and insets to the page. */
  applyTheme() {
    const { theme, styles, safeAreaInsets: insets, displayMode, containerDimensions } = this.context;
    const root = document.documentElement;
    if (theme) applyDocumentTheme(theme);
    if (styles?.variables) applyHostStyleVariables(styles.variables);
    if (styles?.css?.fonts) applyHostFonts(styles.css.fonts);
    for (const side of insets ? ["top", "right", "bottom", "left"] : []) {
      root.style.setProperty(`--inset-${side}`, `${Number(insets[side]) || 0}px`);
    }
    root.dataset.display = displayMode ?? "inline";
    const maxHeight = containerDimensions?.maxHeight ?? containerDimensions?.height;
    if (maxHeight) root.style.setProperty("--max-height", `${Number(maxHeight)}px`);
  }
}
