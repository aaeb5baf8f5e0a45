/**
 * Builds the player into one HTML file that loads nothing else.
 *
 * `node build.mjs` writes it; `node build.mjs --check` exits with 1 if the committed file differs from the build.
 */

import { readFile, writeFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import * as esbuild from "esbuild";

const HERE = new URL("./", import.meta.url);
export const BUILT = new URL("../src/luma_mcp/server/player.html", HERE);
const STYLES = ["theme.css", "card.css", "controls.css", "takes.css"];
const PACKAGES = ["@modelcontextprotocol/ext-apps", "@modelcontextprotocol/client", "@modelcontextprotocol/core", "zod"];
const TARGET = ["chrome111", "safari16.4", "firefox113"];

/** Leaves out what an App never uses: messages in forty languages, and a validator for JSON schemas. */
const leaveOutUnused = {
  name: "leave-out-unused",
  setup(build) {
    build.onLoad({ filter: /zod[\\/]v4[\\/]locales[\\/]index\.js$/ }, () => ({ contents: 'export { default as en } from "./en.js";' }));
    build.onLoad({ filter: /client[\\/]dist[\\/]shimsBrowser\.mjs$/ }, () => ({
      contents: "export const CORS_IS_POSSIBLE = true; export class DefaultJsonSchemaValidator {}",
    }));
  },
};

/** @param {string} entry */
async function bundle(entry) {
  const result = await esbuild.build({
    entryPoints: [fileURLToPath(new URL(entry, HERE))],
    absWorkingDir: fileURLToPath(HERE),
    bundle: true,
    minify: true,
    format: "iife",
    platform: "browser",
    target: TARGET,
    legalComments: "none",
    write: false,
    plugins: [leaveOutUnused],
  });
  return result.outputFiles[0].text.trim();
}

/** The licences of the packages in the bundle, each text once. */
async function readLicences() {
  const texts = await Promise.all(
    PACKAGES.map(async (name) => {
      const folder = new URL(`node_modules/${name}/`, HERE);
      const { version, license } = JSON.parse(await readFile(new URL("package.json", folder), "utf8"));
      const text = await readFile(new URL("LICENSE", folder), "utf8").catch(() => "");
      return { title: `${name} ${version} (${license})`, text: text.replaceAll("\r\n", "\n").trim() };
    }),
  );
  const groups = new Map();
  for (const { title, text } of texts) groups.set(text, [...(groups.get(text) ?? []), title]);
  return [...groups].map(([text, titles]) => `${titles.join(", ")}\n\n${text}`).join("\n\n");
}

export async function build() {
  const read = (name) => readFile(new URL(`src/${name}`, HERE), "utf8");
  const css = (await Promise.all(STYLES.map(read))).join("\n");
  const style = (await esbuild.transform(css, { loader: "css", minify: true, target: TARGET })).code.trim();
  const script = await bundle("src/main.js");
  if (/<!--|<\/script/i.test(script)) throw new Error("The script contains text that would end it inside HTML.");
  const comment = `Built by player/build.mjs from player/src: change it there. It contains:\n\n${await readLicences()}`;
  return (await read("page.html"))
    .replace("</title>", () => `</title>\n<!--\n${comment.replaceAll("--", "- -")}\n-->`)
    .replace("/* style */", () => style)
    .replace("/* script */", () => script);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const html = await build();
  if (process.argv.includes("--check")) {
    const committed = await readFile(BUILT, "utf8").catch(() => "");
    if (committed !== html) {
      console.error("src/luma_mcp/server/player.html is out of date. Run: npm ci && npm run build (in player/)");
      process.exit(1);
    }
    console.log("player.html is up to date");
  } else {
    await writeFile(BUILT, html);
    console.log(`player.html: ${Math.round(html.length / 1000)} kB`);
  }
}
