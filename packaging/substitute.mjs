// Prints the server's configuration that a host builds from a manifest and the values of its fields:
//   node substitute.mjs FOLDER-OF-THE-BUNDLE '{"useapi_token": "…"}'
import { readFile } from "node:fs/promises";
import { homedir } from "node:os";
import { join, sep } from "node:path";

import { getMcpConfigForManifest } from "@anthropic-ai/mcpb/node";

const [, , folder, values] = process.argv;
const manifest = JSON.parse(await readFile(join(folder, "manifest.json"), "utf8"));
const config = await getMcpConfigForManifest({
  manifest,
  extensionPath: folder,
  systemDirs: { HOME: homedir() },
  userConfig: JSON.parse(values),
  pathSeparator: sep,
});
console.log(JSON.stringify(config ?? null));
