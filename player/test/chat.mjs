/** A chat in a real browser: a host page on one loopback origin, and the player in an iframe from another. */

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdir, readFile } from "node:fs/promises";
import { createServer } from "node:http";
import { createRequire } from "node:module";
import { delimiter, join } from "node:path";
import { fileURLToPath } from "node:url";
import * as esbuild from "esbuild";
import { chromium } from "playwright-core";
import { PYTHON, SimulatedApi } from "./api.mjs";
import { CALL_TIMEOUT, CREDENTIALS, Server } from "./server.mjs";

const NAMES = ["chromium", "chromium-browser", "google-chrome"];
const PATHS = (process.env.PATH ?? "").split(delimiter).flatMap((folder) => NAMES.map((name) => join(folder, name)));
const CHROMIUM = process.env.CHROMIUM ?? PATHS.find((path) => existsSync(path));
// In a process of its own, the frame would lose a click that comes while it grows: the browser still has its old size.
const ARGUMENTS = ["--no-sandbox", "--headless", "--disable-features=IsolateSandboxedIframes"];
const AXE = await readFile(createRequire(import.meta.url).resolve("axe-core"), "utf8");
const SCREENSHOTS = fileURLToPath(new URL("../screenshots/", import.meta.url));
const QUANTIZE = "import sys; from PIL import Image; im = Image.open(sys.argv[1]).convert('RGB'); im.quantize(256, kmeans=5).save(sys.argv[1], optimize=True)";
const SIZES = [["light", 280], ["dark", 640], ["light", 900]];

/**
 * Where states are looked at: each one in one size, in turn; with ALL=1, in every size, light and dark.
 *
 * @param {string[]} names of the states
 * @returns {{ theme: string, width: number, states: string[] }[]}
 */
export function distribute(names) {
  if (process.env.ALL) return ["light", "dark"].flatMap((theme) => SIZES.map(([, width]) => ({ theme, width, states: names })));
  return SIZES.map(([theme, width], place) => ({ theme, width, states: names.filter((_, at) => at % SIZES.length === place) }));
}

const ALL_CAPABILITIES = { serverTools: {}, serverResources: {}, openLinks: {}, downloadFile: {}, message: { text: {} }, updateModelContext: { text: {}, structuredContent: {} } };
/** Pixels around the player: the page's margins and the frame's border. */
const FRAME = 34;
/** Milliseconds that anything may take before a test fails. */
export const TIMEOUT = 20_000;

/** Elements that overflow the page. What the upload panel crops is cut off on purpose. */
const findOverflow = () => {
  const width = document.documentElement.clientWidth;
  const visible = [...document.querySelectorAll("main *")].filter((node) => node.checkVisibility({ visibilityProperty: true }) && !node.closest(".visually-hidden, svg") && !node.matches(".stage *"));
  const outside = visible.filter((node) => node.getBoundingClientRect().right > width + 0.5 || node.getBoundingClientRect().left < -0.5);
  return { outside: outside.map((node) => node.id || node.className || node.tagName), scrolls: document.documentElement.scrollWidth > width };
};

/** The policy that hosts build from the resource's `_meta.ui.csp`. */
function buildPolicy({ resourceDomains = [], connectDomains = [] } = {}) {
  const resources = resourceDomains.join(" ");
  return [
    "default-src 'none'",
    "script-src 'unsafe-inline'",
    "style-src 'unsafe-inline'",
    `img-src data: ${resources}`,
    `media-src data: ${resources}`,
    `font-src ${resources || "'none'"}`,
    `connect-src ${connectDomains.join(" ") || "'none'"}`,
    "frame-src 'none'",
    "base-uri 'none'",
    "form-action 'none'",
  ].join("; ");
}

/** @param {(request: import("node:http").IncomingMessage) => { body: string, headers?: Record<string, string> } | null} respond */
async function serve(respond) {
  const server = createServer((request, response) => {
    const { body, headers } = respond(request) ?? {};
    response.writeHead(body === undefined ? 404 : 200, { "content-type": "text/html; charset=utf-8", ...headers });
    response.end(body);
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", () => resolve(undefined)));
  return { origin: `http://127.0.0.1:${server.address().port}`, close: () => server.close() };
}

/** What the tests of one file share: the API, the server and the browser. */
export class TestBed {
  /** @param {string} [tool] whose page is shown @param {"useapi" | "agents"} [api] */
  static async start(tool, api = "useapi") {
    const bed = new TestBed();
    bed.api = await SimulatedApi.start(api);
    bed.server = await Server.start(bed.api.baseUrl, CREDENTIALS[api]);
    bed.page = await bed.server.page(tool);
    const bundle = await esbuild.build({ entryPoints: [fileURLToPath(new URL("host_page.mjs", import.meta.url))], bundle: true, format: "iife", write: false });
    const script = bundle.outputFiles[0].text.replaceAll("</script", "<\\/script");
    const style = "body{margin:16px;font:14px system-ui,sans-serif}iframe{display:block;width:100%;border:1px solid #8884;border-radius:12px;height:120px;box-sizing:border-box}";
    bed.hostSite = await serve(({ url }) => (url === "/" ? { body: `<!doctype html><link rel="icon" href="data:,"><style>${style}</style><main id="chat"></main><script>${script}</script>` } : null));
    bed.policies = [];
    bed.playerSite = await serve(({ url }) => {
      const csp = bed.policies[Number(url.slice(1))];
      return csp ? { body: bed.page.html, headers: { "content-security-policy": csp } } : null;
    });
    if (!CHROMIUM) throw new Error("No Chromium on PATH: install one, or name it in CHROMIUM.");
    bed.browser = await chromium.launch({ executablePath: CHROMIUM, args: ARGUMENTS });
    return bed;
  }

  async stop() {
    await this.browser.close();
    this.playerSite.close();
    this.hostSite.close();
    await this.server.stop();
    await this.api.stop();
  }

  /**
   * A new chat with the player in it.
   *
   * @param {object} [options]
   * @param {Record<string, any>} [options.capabilities] of the host; null removes one
   * @param {Record<string, any>} [options.context] of the host
   * @param {number} [options.width] of the player
   * @param {object} [options.csp] instead of the resource's own
   * @param {(policy: string) => string} [options.policy] changes what is built of it
   * @param {string} [options.allow] what else the frame may do
   * @param {boolean} [options.hasClock] whether the test moves the time
   * @param {object} [options.browser] options of the browser context
   */
  async chat({ capabilities = {}, context = {}, width = 640, csp = this.page.ui.csp, policy = (built) => built, allow = "", hasClock = false, browser = {} } = {}) {
    const supported = Object.fromEntries(Object.entries({ ...ALL_CAPABILITIES, ...capabilities }).filter(([, value]) => value));
    const browserContext = await this.browser.newContext({ viewport: { width: width + FRAME, height: 900 }, ...browser });
    browserContext.setDefaultTimeout(TIMEOUT);
    if (hasClock) await browserContext.clock.install();
    const chat = new Chat(this, await browserContext.newPage());
    const index = this.policies.push(policy(buildPolicy(csp))) - 1;
    await chat.open({ frame: `${this.playerSite.origin}/${index}`, capabilities: supported, context, permissions: this.page.ui.permissions, allow, label: "Luma" });
    return chat;
  }
}

export class Chat {
  calls = [];
  reads = [];
  results = [];
  events = [];
  console = [];
  /** Which requests of the player the host refuses: true, or a promise of it. */
  rejected = {};
  /** What the player gets instead of the server's own resource. */
  resource = null;
  failures = 0;
  /** What the host answers to calls itself, in place of the server. */
  ownAnswer = null;
  /** Whether the host loses the server's answer to a call. */
  losesAnswer = (_params) => false;
  /** Characters of a call that the host still passes on. */
  longestCall = Infinity;

  constructor(bed, page) {
    Object.assign(this, { bed, page });
  }

  async open(setting) {
    const { page } = this;
    page.on("console", (line) => this.console.push(`${line.type()}: ${line.text()}`));
    page.on("pageerror", (error) => this.console.push(`pageerror: ${error.message}`));
    await page.exposeFunction("hostCall", (params) => this.#call(params));
    await page.exposeFunction("hostRead", (params) => this.#read(params));
    await page.exposeFunction("hostEvent", async (name, params) => {
      this.events.push({ name, params });
      return (await this.rejected[name]) ? { isError: true } : {};
    });
    await page.addInitScript(() => {
      window.shifts = [];
      new PerformanceObserver((list) => {
        for (const entry of list.getEntries()) window.shifts.push({ value: entry.value, nodes: entry.sources.map((s) => s.node?.id || s.node?.className) });
      }).observe({ type: "layout-shift", buffered: true });
    });
    await page.goto(`${this.bed.hostSite.origin}/`);
    await page.evaluate((options) => window.start(options), setting);
    this.frame = page.frames().find((frame) => frame.url() === setting.frame);
  }

  /** A call that the player makes through the host. */
  async #call(params) {
    this.calls.push(params);
    if (JSON.stringify(params).length > this.longestCall) throw new Error("The message is too large.");
    await this.#reachServer();
    if (this.ownAnswer) return this.ownAnswer;
    const result = await this.bed.server.call(params.name, params.arguments);
    if (this.losesAnswer(params)) throw new Error("The connection was closed.");
    this.results.push(result);
    return result;
  }

  /** A resource that the player reads through the host. */
  async #read(params) {
    this.reads.push(params.uri);
    await this.#reachServer();
    if (this.resource) return this.resource;
    return this.bed.server.client.readResource(params, { timeout: CALL_TIMEOUT });
  }

  async #reachServer() {
    if (this.failures > 0) {
      this.failures -= 1;
      throw new Error("The host cannot reach the server.");
    }
    if (this.held) await this.held;
  }

  /** Waits until the player has made so many calls, or has got so many results. @param {"calls" | "results"} [what] */
  waitForCalls(count, what = "calls") {
    return this.#waitUntil(() => this[what].length >= count, `${count} ${what}`);
  }

  async #waitUntil(condition, description) {
    const end = Date.now() + TIMEOUT;
    while (!condition()) {
      if (Date.now() > end) throw new Error(`Not in time: ${description}`);
      await this.page.waitForTimeout(20);
    }
  }

  /** From now on the player's calls wait until the returned function is called. */
  hold() {
    const { promise, resolve } = deferred();
    this.held = promise;
    return () => {
      if (this.held === promise) this.held = null;
      resolve();
    };
  }

  send(method, params) {
    return this.page.evaluate(([name, value]) => window.send(name, value), [method, params]);
  }

  /** The model calls a tool, and the player gets what hosts pass on. @returns the result */
  async call(name, args) {
    await this.send("sendToolInput", { arguments: args });
    const result = await this.bed.server.call(name, args);
    await this.send("sendToolResult", result);
    return result;
  }

  /** @param {string} id */
  byId(id) {
    return this.frame.locator(`#${id}`);
  }

  /** @param {string} label */
  button(label) {
    return this.frame.getByRole("button", { name: label, exact: true });
  }

  /** @param {"ordering" | "running" | "finished" | "failed" | "text" | "cancelled"} phase */
  async waitForPhase(phase) {
    await this.frame.locator(`#card[data-phase="${phase}"]`).waitFor();
  }

  /** Waits for a condition in the player's page. */
  until(condition, argument) {
    return this.frame.waitForFunction(condition, argument, { timeout: TIMEOUT });
  }

  /** Waits until the player has sent the host so many requests of that name, and returns the last one. */
  async waitForEvent(name, count = 1) {
    const matching = () => this.events.filter((event) => event.name === name);
    await this.#waitUntil(() => matching().length >= count, name);
    return matching()[count - 1].params;
  }

  /** The text of the message that the player has sent into the chat. */
  async waitForMessage(count = 1) {
    return (await this.waitForEvent("message", count)).content[0].text;
  }

  /** Checks that the card fits and is accessible, and saves a picture of it. @param {string} name */
  async checkAppearance(name) {
    assert.deepEqual(await this.frame.evaluate(findOverflow), { outside: [], scrolls: false }, name);
    await this.frame.evaluate(AXE);
    const { violations } = await this.frame.evaluate(() => window.axe.run(document, { resultTypes: ["violations"] }));
    assert.deepEqual(violations.map(({ id, nodes }) => [id, nodes.map(({ target, failureSummary }) => [target, failureSummary])]), [], name);
    await this.screenshot(name);
  }

  /** Saves a picture of the whole card. @param {string} name */
  async screenshot(name) {
    await mkdir(SCREENSHOTS, { recursive: true });
    await this.page.locator("#chat").screenshot({ path: `${SCREENSHOTS}${name}.png`, animations: "disabled" });
  }

  /** Saves a picture of the page for the documentation, in 256 colors. @param {string} name */
  async saveForDocs(name) {
    const path = fileURLToPath(new URL(`../../docs/${name}.png`, import.meta.url));
    await this.page.locator("#chat").screenshot({ path });
    execFileSync(PYTHON, ["-c", QUANTIZE, path]);
  }

  close() {
    return this.page.context().close();
  }
}

export function deferred() {
  let resolve = () => {};
  const promise = new Promise((done) => (resolve = done));
  return { promise, resolve };
}
