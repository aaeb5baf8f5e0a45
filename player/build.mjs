/**
 * Builds the player into one HTML file that asks for nothing from outside.
 *
 * `node build.mjs` writes it, `node build.mjs --check` exits with 1 if the committed one is not what the sources make.
 */

import { readFile, writeFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import * as esbuild from "esbuild";

const HERE = new URL("./", import.meta.url);
export const BUILT = new URL("../src/luma_mcp/server/player.html", HERE);
const STYLES = ["looks.css", "card.css", "controls.css"];
const PACKAGES = ["@modelcontextprotocol/ext-apps", "@modelcontextprotocol/client", "@modelcontextprotocol/core", "zod"];
const TARGET = ["chrome111", "safari16.4", "firefox113"];

/** Leaves out what an App never uses: messages in forty languages, and a validator of JSON schemas. */
const slim = {
  name: "slim",
  setup(build) {
    build.onLoad({ filter: /zod[\\/]v4[\\/]locales[\\/]index\.js$/ }, () => ({ contents: 'export { default as en } from "./en.js";' }));
    build.onLoad({ filter: /client[\\/]dist[\\/]shimsBrowser\.mjs$/ }, () => ({
      contents: "export const CORS_IS_POSSIBLE = true; export class DefaultJsonSchemaValidator {}",
    }));
  },
};

/** @param {string} entry */
async function bundled(entry) {
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
    plugins: [slim],
  });
  return result.outputFiles[0].text.trim();
}

/** The licences of what is inlined, once each. */
async function notices() {
  const texts = await Promise.all(
    PACKAGES.map(async (name) => {
      const at = new URL(`node_modules/${name}/`, HERE);
      const { version, license } = JSON.parse(await readFile(new URL("package.json", at), "utf8"));
      const text = await readFile(new URL("LICENSE", at), "utf8").catch(() => "");
      return { title: `${name} ${version} (${license})`, text: text.replaceAll("\r\n", "\n").trim() };
    }),
  );
  const groups = new Map();
  for (const { title, text } of texts) groups.set(text, [...(groups.get(text) ?? []), title]);
  return [...groups].map(([text, titles]) => `${titles.join(", ")}\n\n${text}`).join("\n\n");
}

export async function build() {
  const source = (name) => readFile(new URL(`src/${name}`, HERE), "utf8");
  const css = (await Promise.all(STYLES.map(source))).join("\n");
  const style = (await esbuild.transform(css, { loader: "css", minify: true, target: TARGET })).code.trim();
  const script = await bundled("src/main.js");
  if (/<!--|<\/script/i.test(script)) throw new Error("The script holds what would end it inside HTML.");
  const about = `Built by player/build.mjs from player/src: change it there. It holds:\n\n${await notices()}`;
  return (await source("page.html"))
    .replace("</title>", () => `</title>\n<!--\n${about.replaceAll("--", "- -")}\n-->`)
    .replace("/* style */", () => style)
    .replace("/* script */", () => script);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const html = await build();
  if (process.argv.includes("--check")) {
    const committed = await readFile(BUILT, "utf8").catch(() => "");
    if (committed !== html) {
      console.error("src/luma_mcp/server/player.html is not what player/src makes. Run: npm ci && npm run build (in player/)");
      process.exit(1);
    }
    console.log("player.html is up to date");
  } else {
    await writeFile(BUILT, html);
    console.log(`player.html: ${Math.round(html.length / 1000)} kB`);
  }
}
