/** What the page asks of the host that shows it. Whatever a host does not do, comes back as false. */

import { applyDocumentTheme, applyHostFonts, applyHostStyleVariables } from "@modelcontextprotocol/ext-apps";
import { read } from "./told.js";

/** Seconds that a call may take beyond the wait that it asks for. */
const GRACE = 25;

/** @param {Promise<any>} asked */
const agreed = (asked) => asked.then((result) => !result?.isError, () => false);

export class Host {
  /** @param {import("@modelcontextprotocol/ext-apps").App} app */
  constructor(app) {
    this.app = app;
  }

  get able() {
    return this.app.getHostCapabilities() ?? {};
  }

  /** Whether the page itself may call the server's tools. */
  get canLook() {
    return Boolean(this.able.serverTools);
  }

  get context() {
    return this.app.getHostContext() ?? {};
  }

  /**
   * Asks for a job, and waits on the server for so long; free.
   *
   * @param {string} jobid
   * @param {number} seconds
   * @param {AbortSignal} signal
   */
  async look(jobid, seconds, signal) {
    const call = { name: "get_job", arguments: { jobid, wait_seconds: seconds } };
    return read(await this.app.callServerTool(call, { timeout: (seconds + GRACE) * 1000, signal }));
  }

  /** @param {string} text said in the chat, as the person */
  async say(text) {
    return agreed(this.app.sendMessage({ role: "user", content: [{ type: "text", text }] }));
  }

  /** @param {string} url */
  async open(url) {
    return agreed(this.app.openLink({ url }));
  }

  /** @param {string} url @param {string} name @param {string} mimeType */
  async download(url, name, mimeType) {
    const contents = [{ type: /** @type {const} */ ("resource_link"), uri: url, name, mimeType }];
    return this.able.downloadFile ? agreed(this.app.downloadFile({ contents })) : false;
  }

  /**
   * Lets the model know, for when it next thinks.
   *
   * @param {string} text
   * @param {Record<string, unknown>} facts
   */
  async tell(text, facts) {
    const takes = this.able.updateModelContext;
    if (!takes) return false;
    const structured = takes.structuredContent ? { structuredContent: facts } : {};
    return agreed(this.app.updateModelContext({ content: [{ type: "text", text }], ...structured }));
  }

  /** @param {"inline" | "fullscreen"} mode */
  async display(mode) {
    return agreed(this.app.requestDisplayMode({ mode }));
  }

  /** Takes on the host's looks. */
  dress() {
    const { theme, styles, safeAreaInsets: inset, displayMode, containerDimensions } = this.context;
    const root = document.documentElement;
    if (theme) applyDocumentTheme(theme);
    if (styles?.variables) applyHostStyleVariables(styles.variables);
    if (styles?.css?.fonts) applyHostFonts(styles.css.fonts);
    for (const side of inset ? ["top", "right", "bottom", "left"] : []) {
      root.style.setProperty(`--inset-${side}`, `${Number(inset[side]) || 0}px`);
    }
    root.dataset.display = displayMode ?? "inline";
    const tallest = containerDimensions?.maxHeight ?? containerDimensions?.height;
    if (tallest) root.style.setProperty("--tallest", `${Number(tallest)}px`);
  }
}
