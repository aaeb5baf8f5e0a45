/**
 * Builds the player and the upload panel, each into one HTML file that loads nothing else.
 *
 * `node build.mjs` writes them; `node build.mjs --check` exits with 1 if a committed file differs from the build.
 */

import { readFile, writeFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import * as esbuild from "esbuild";

const HERE = new URL("./", import.meta.url);
const SERVER = new URL("../src/luma_mcp/server/", HERE);
const SHARED_STYLES = ["theme.css", "status.css", "controls.css"];
/** @typedef {{ file: URL, html: string, script: string, styles: string[] }} Page what a page is built from */
/** @type {Page[]} */
export const PAGES = [
  { file: new URL("player.html", SERVER), html: "page.html", script: "main.js", styles: ["card.css", "takes.css"] },
  { file: new URL("picture.html", SERVER), html: "picture/page.html", script: "picture/main.js", styles: ["picture/picture.css"] },
];
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

/** @param {Page} page */
export async function build({ html, script: entry, styles }) {
  const read = (name) => readFile(new URL(`src/${name}`, HERE), "utf8");
  const css = (await Promise.all([...SHARED_STYLES, ...styles].map(read))).join("\n");
  const style = (await esbuild.transform(css, { loader: "css", minify: true, target: TARGET })).code.trim();
  const script = await bundle(`src/${entry}`);
  if (/<!--|<\/script/i.test(script)) throw new Error("The script contains text that would end it inside HTML.");
  const comment = `Built by player/build.mjs from player/src: change it there. It contains:\n\n${await readLicences()}`;
  return (await read(html))
    .replace("</title>", () => `</title>\n<!--\n${comment.replaceAll("--", "- -")}\n-->`)
    .replace("/* style */", () => style)
    .replace("/* script */", () => script);
}

/** @param {Page} page */
const fileName = ({ file }) => file.pathname.split("/").at(-1);

/** Builds a page; writes it, or compares it with the committed one. @param {Page} page @param {boolean} isCheck */
async function update(page, isCheck) {
  const built = await build(page);
  if (!isCheck) {
    await writeFile(page.file, built);
    console.log(`${fileName(page)}: ${Math.round(built.length / 1000)} kB`);
    return;
  }
  const committed = await readFile(page.file, "utf8").catch(() => "");
  if (committed === built) return console.log(`${fileName(page)} is up to date`);
  console.error(`src/luma_mcp/server/${fileName(page)} is out of date. Run: npm ci && npm run build (in player/)`);
  process.exitCode = 1;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  for (const page of PAGES) await update(page, process.argv.includes("--check"));
}
