import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { readFile } from "node:fs/promises";
import { test } from "node:test";
import { BUILT, build } from "../build.mjs";
import { backoff } from "../src/polling.js";
import { fileName, safeUrl } from "../src/links.js";
import { formatTime, percent } from "../src/progress.js";
import { PYTHON, ROOT } from "./api.mjs";

test("the committed page is what its sources build", async () => {
  const [once, twice, committed] = [await build(), await build(), await readFile(BUILT, "utf8")];
  assert.equal(once, twice);
  assert.ok(committed === once, "run `npm run build`");
});

test("the page is one small file that loads nothing else", async () => {
  const html = await readFile(BUILT, "utf8");
  assert.ok(Buffer.byteLength(html) < 500_000);
  const style = /<style>(.*?)<\/style>/s.exec(html)[1];
  assert.ok(!/<(script|link|img|iframe|video|source)[^>]*\s(src|href)=/.test(html));
  assert.ok(!/@import|url\(/.test(style));
  for (const name of ["@modelcontextprotocol/ext-apps", "@modelcontextprotocol/client", "zod"]) assert.ok(html.includes(name));
});

test("the player and the server compute the same progress", () => {
  const pairs = [[0, 45], [10, 45], [45, 45], [46, 45], [300, 45], [90, 180]];
  const code = "import json, sys; from luma_mcp.server.progress import estimate_percent; print(json.dumps([estimate_percent(*pair) for pair in json.load(sys.stdin)]))";
  const expected = JSON.parse(execFileSync(PYTHON, ["-c", code], { input: JSON.stringify(pairs), cwd: ROOT, encoding: "utf8" }));
  assert.deepEqual(pairs.map(([elapsed, typical]) => percent(elapsed, typical)), expected);
});

test("times are minutes and seconds", () => {
  assert.deepEqual([0, 5.9, 65, 600, 3725, -1].map(formatTime), ["0:00", "0:05", "1:05", "10:00", "1:02:05", "0:00"]);
});

test("the delay after failures grows to half a minute", () => {
  assert.deepEqual([1, 2, 3, 4, 5, 50].map(backoff), [2, 4, 8, 16, 30, 30]);
});

test("only web addresses become links", () => {
  const good = ["https://example.com/a.mp4", "http://127.0.0.1:80/a", "http://localhost/a", "http://[::1]:1/a"];
  const bad = ["http://example.com/a", "javascript:alert(1)", "data:text/html,x", "file:///etc/passwd", "//example.com", "http://127.0.0.1.example.com/", "", undefined, 7, {}];
  assert.ok(good.every(safeUrl));
  assert.deepEqual(bad.map(safeUrl), bad.map(() => null));
});

test("a file is named after the prompt", () => {
  assert.equal(fileName("A fox, in the snow: at dawn / 5", "mp4"), "A-fox-in-the-snow-at.mp4");
  assert.equal(fileName("../../..", "mp4"), "luma-video.mp4");
  assert.equal(fileName(undefined, "exr.zip"), "luma-video.exr.zip");
  assert.equal(fileName("狐狸在雪中", "mp4"), "狐狸在雪中.mp4");
});
