/** A chat in a real browser: a host page on one loopback origin, the player in an iframe from another. */

import { existsSync } from "node:fs";
import { mkdir } from "node:fs/promises";
import { createServer } from "node:http";
import { delimiter, join } from "node:path";
import { fileURLToPath } from "node:url";
import * as esbuild from "esbuild";
import { chromium } from "playwright-core";
import { Server } from "./server.mjs";
import { Stage } from "./stage.mjs";

const NAMES = ["chromium", "chromium-browser", "google-chrome"];
const PLACES = (process.env.PATH ?? "").split(delimiter).flatMap((folder) => NAMES.map((name) => join(folder, name)));
const CHROMIUM = process.env.CHROMIUM ?? PLACES.find((place) => existsSync(place));
const PICTURES = fileURLToPath(new URL("../screenshots/", import.meta.url));
const EVERYTHING = { serverTools: {}, openLinks: {}, downloadFile: {}, message: { text: {} }, updateModelContext: { text: {}, structuredContent: {} } };
/** Milliseconds that anything may take before a test fails. */
export const PATIENCE = 20_000;

/** As hosts build it from the resource's `_meta.ui.csp`. */
function policy({ resourceDomains = [], connectDomains = [] } = {}) {
  const outside = resourceDomains.join(" ");
  return [
    "default-src 'none'",
    "script-src 'unsafe-inline'",
    "style-src 'unsafe-inline'",
    `img-src data: ${outside}`,
    `media-src data: ${outside}`,
    `font-src ${outside || "'none'"}`,
    `connect-src ${connectDomains.join(" ") || "'none'"}`,
    "frame-src 'none'",
    "base-uri 'none'",
    "form-action 'none'",
  ].join("; ");
}

/** @param {(request: import("node:http").IncomingMessage) => { body: string, headers?: Record<string, string> } | null} answer */
async function site(answer) {
  const server = createServer((request, response) => {
    const { body, headers } = answer(request) ?? {};
    response.writeHead(body === undefined ? 404 : 200, { "content-type": "text/html; charset=utf-8", ...headers });
    response.end(body);
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", () => resolve(undefined)));
  return { origin: `http://127.0.0.1:${server.address().port}`, close: () => server.close() };
}

/** Everything that tests of one file share. */
export class Theatre {
  static async open() {
    const theatre = new Theatre();
    theatre.stage = await Stage.open();
    theatre.server = await Server.open(theatre.stage.baseUrl);
    theatre.page = await theatre.server.page();
    const bundle = await esbuild.build({ entryPoints: [fileURLToPath(new URL("host-page.mjs", import.meta.url))], bundle: true, format: "iife", write: false });
    const script = bundle.outputFiles[0].text.replaceAll("</script", "<\\/script");
    const looks = "body{margin:16px;font:14px system-ui,sans-serif}iframe{display:block;width:100%;border:1px solid #8884;border-radius:12px;height:120px;box-sizing:content-box}";
    theatre.outside = await site(({ url }) => (url === "/" ? { body: `<!doctype html><link rel="icon" href="data:,"><style>${looks}</style><main id="chat"></main><script>${script}</script>` } : null));
    theatre.policies = [];
    theatre.frames = await site(({ url }) => {
      const csp = theatre.policies[Number(url.slice(1))];
      return csp ? { body: theatre.page.html, headers: { "content-security-policy": csp } } : null;
    });
    if (!CHROMIUM) throw new Error("No Chromium on PATH: install one, or name it in CHROMIUM.");
    theatre.browser = await chromium.launch({ executablePath: CHROMIUM, args: ["--no-sandbox", "--headless"] });
    return theatre;
  }

  async close() {
    await this.browser.close();
    this.frames.close();
    this.outside.close();
    await this.server.close();
    await this.stage.close();
  }

  /**
   * A new chat with the player in it.
   *
   * @param {object} [how]
   * @param {Record<string, any>} [how.capabilities] of the host, beside or instead of all
   * @param {Record<string, any>} [how.context] of the host
   * @param {number} [how.width]
   * @param {object} [how.csp] instead of the resource's own
   * @param {object} [how.browser] options of the browser context
   */
  async chat({ capabilities = {}, context = {}, width = 640, csp = this.page.ui.csp, browser = {} } = {}) {
    const able = Object.fromEntries(Object.entries({ ...EVERYTHING, ...capabilities }).filter(([, value]) => value));
    const window = await this.browser.newContext({ viewport: { width: width + 34, height: 900 }, ...browser });
    window.setDefaultTimeout(PATIENCE);
    const chat = new Chat(this, await window.newPage());
    const place = this.policies.push(policy(csp)) - 1;
    await chat.open({ frame: `${this.frames.origin}/${place}`, capabilities: able, context, permissions: this.page.ui.permissions, label: "Luma" });
    return chat;
  }
}

export class Chat {
  calls = [];
  answered = [];
  events = [];
  console = [];
  refuse = {};
  cut = 0;

  constructor(theatre, page) {
    Object.assign(this, { theatre, page });
  }

  async open(setting) {
    const { page } = this;
    page.on("console", (line) => this.console.push(`${line.type()}: ${line.text()}`));
    page.on("pageerror", (error) => this.console.push(`pageerror: ${error.message}`));
    await page.exposeFunction("hostCall", (params) => this.#call(params));
    await page.exposeFunction("hostEvent", (name, params) => {
      this.events.push({ name, params });
      return this.refuse[name] ? { isError: true } : {};
    });
    await page.addInitScript(() => {
      window.shifts = [];
      new PerformanceObserver((list) => {
        for (const entry of list.getEntries()) window.shifts.push({ value: entry.value, who: entry.sources.map((s) => s.node?.id || s.node?.className) });
      }).observe({ type: "layout-shift", buffered: true });
    });
    await page.goto(`${this.theatre.outside.origin}/`);
    await page.evaluate((how) => window.start(how), setting);
    this.frame = page.frames().find((frame) => frame.url() === setting.frame);
  }

  /** A call that the page makes through the host. */
  async #call(params) {
    this.calls.push(params);
    if (this.cut > 0) {
      this.cut -= 1;
      throw new Error("The host cannot reach the server.");
    }
    if (this.held) await this.held;
    const result = await this.theatre.server.call(params.name, params.arguments);
    this.answered.push(result);
    return result;
  }

  /** Waits until the page has made so many calls, or got so many answers. @param {"calls" | "answered"} [what] */
  looked(count, what = "calls") {
    return this.#enough(() => this[what].length >= count, `${count} ${what}`);
  }

  async #enough(truth, what) {
    const end = Date.now() + PATIENCE;
    while (!truth()) {
      if (Date.now() > end) throw new Error(`Not in time: ${what}`);
      await this.page.waitForTimeout(20);
    }
  }

  /** From now on the page's calls wait until the function that comes back is called. */
  hold() {
    const { promise, resolve } = deferred();
    this.held = promise;
    return () => {
      this.held = null;
      resolve();
    };
  }

  send(method, params) {
    return this.page.evaluate(([name, what]) => window.send(name, what), [method, params]);
  }

  /** The model calls a tool: the page gets what hosts pass on. @returns the result */
  async call(name, args) {
    await this.send("sendToolInput", { arguments: args });
    const result = await this.theatre.server.call(name, args);
    await this.send("sendToolResult", result);
    return result;
  }

  /** @param {string} id */
  at(id) {
    return this.frame.locator(`#${id}`);
  }

  /** @param {string} name as it is shown */
  button(name) {
    return this.frame.getByRole("button", { name, exact: true });
  }

  /** @param {"ordering" | "running" | "finished" | "failed" | "told" | "cancelled"} phase */
  async becomes(phase) {
    await this.frame.locator(`#card[data-phase="${phase}"]`).waitFor();
  }

  /** Waits for something that is true in the page. */
  until(truth, argument) {
    return this.frame.waitForFunction(truth, argument, { timeout: PATIENCE });
  }

  /** Waits until the page has asked the host for something of that name. */
  async asked(name, count = 1) {
    const those = () => this.events.filter((event) => event.name === name);
    await this.#enough(() => those().length >= count, name);
    return those()[count - 1].params;
  }

  async picture(name) {
    await mkdir(PICTURES, { recursive: true });
    await this.page.locator("#chat").screenshot({ path: `${PICTURES}${name}.png`, animations: "disabled" });
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
