import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { readFile } from "node:fs/promises";
import { test } from "node:test";
import { BUILT, build } from "../build.mjs";
import { backoff } from "../src/following.js";
import { fileName, safe } from "../src/links.js";
import { clock, percent } from "../src/progress.js";
import { PYTHON, ROOT } from "./stage.mjs";

test("the committed page is what its sources make, each time the same", async () => {
  const [once, twice, committed] = [await build(), await build(), await readFile(BUILT, "utf8")];
  assert.equal(once, twice);
  assert.ok(committed === once, "run `npm run build`");
});

test("the page is one file that names no other, and far below what hosts take", async () => {
  const html = await readFile(BUILT, "utf8");
  assert.ok(Buffer.byteLength(html) < 500_000);
  const style = /<style>(.*?)<\/style>/s.exec(html)[1];
  assert.ok(!/<(script|link|img|iframe|video|source)[^>]*\s(src|href)=/.test(html));
  assert.ok(!/@import|url\(/.test(style));
  for (const name of ["@modelcontextprotocol/ext-apps", "@modelcontextprotocol/client", "zod"]) assert.ok(html.includes(name));
});

test("the page's progress is the server's", () => {
  const pairs = [[0, 45], [10, 45], [45, 45], [46, 45], [300, 45], [90, 180]];
  const code = "import json, sys; from luma_mcp.server.progress import percent; print(json.dumps([percent(*pair) for pair in json.load(sys.stdin)]))";
  const told = JSON.parse(execFileSync(PYTHON, ["-c", code], { input: JSON.stringify(pairs), cwd: ROOT, encoding: "utf8" }));
  assert.deepEqual(pairs.map(([elapsed, typical]) => percent(elapsed, typical)), told);
});

test("time is told in minutes and seconds", () => {
  assert.deepEqual([0, 5.9, 65, 600, 3725, -1].map(clock), ["0:00", "0:05", "1:05", "10:00", "1:02:05", "0:00"]);
});

test("trouble is looked at ever more rarely, to half a minute", () => {
  assert.deepEqual([1, 2, 3, 4, 5, 50].map(backoff), [2, 4, 8, 16, 30, 30]);
});

test("only web addresses become links, and plain ones only on this machine", () => {
  const good = ["https://example.com/a.mp4", "http://127.0.0.1:80/a", "http://localhost/a", "http://[::1]:1/a"];
  const bad = ["http://example.com/a", "javascript:alert(1)", "data:text/html,x", "file:///etc/passwd", "//example.com", "http://127.0.0.1.example.com/", "", undefined, 7, {}];
  assert.ok(good.every(safe));
  assert.deepEqual(bad.map(safe), bad.map(() => null));
});

test("a file is named for the prompt, whatever stands there", () => {
  assert.equal(fileName("A fox, in the snow: at dawn / 5", "mp4"), "A-fox-in-the-snow-at.mp4");
  assert.equal(fileName("../../..", "mp4"), "luma-video.mp4");
  assert.equal(fileName(undefined, "exr.zip"), "luma-video.exr.zip");
  assert.equal(fileName("狐狸在雪中", "mp4"), "狐狸在雪中.mp4");
});
