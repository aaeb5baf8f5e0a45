/** What the player asks of the host that shows it. Whatever a host does not support returns false. */

import { applyDocumentTheme, applyHostFonts, applyHostStyleVariables } from "@modelcontextprotocol/ext-apps";
import { parseResult } from "./result.js";

/** Seconds that a call may take beyond the wait that it requests. */
const CALL_OVERHEAD = 25;

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

  /** Whether the player may call the server's tools. */
  get canPoll() {
    return Boolean(this.capabilities.serverTools);
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
    const call = { name: "get_job", arguments: { jobid, wait_seconds: seconds } };
    return parseResult(await this.app.callServerTool(call, { timeout: (seconds + CALL_OVERHEAD) * 1000, signal }));
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
   */
  async updateModel(text, facts) {
    const supported = this.capabilities.updateModelContext;
    if (!supported) return false;
    const structured = supported.structuredContent ? { structuredContent: facts } : {};
    return succeeded(this.app.updateModelContext({ content: [{ type: "text", text }], ...structured }));
  }

  /** @param {"inline" | "fullscreen"} mode */
  async setDisplayMode(mode) {
    return succeeded(this.app.requestDisplayMode({ mode }));
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
