import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { readFile } from "node:fs/promises";
import { test } from "node:test";
import { PAGES, build } from "../build.mjs";
import { backoff } from "../src/polling.js";
import { fileName, safeUrl } from "../src/links.js";
import * as crop from "../src/picture/crop.js";
import { formatTime, percent } from "../src/progress.js";
import { PYTHON, ROOT } from "./api.mjs";

for (const page of PAGES) {
  const name = page.file.pathname.split("/").at(-1);

  test(`${name}: the committed page matches its sources`, async () => {
    const [once, twice, committed] = [await build(page), await build(page), await readFile(page.file, "utf8")];
    assert.equal(once, twice);
    assert.ok(committed === once, "run `npm run build`");
  });

  test(`${name} is one small file that loads nothing else`, async () => {
    const html = await readFile(page.file, "utf8");
    assert.ok(Buffer.byteLength(html) < 500_000);
    const style = /<style>(.*?)<\/style>/s.exec(html)[1];
    assert.ok(!/<(script|link|img|iframe|video|source)[^>]*\s(src|href)=/.test(html));
    assert.ok(!/@import|url\(/.test(style));
    for (const library of ["@modelcontextprotocol/ext-apps", "@modelcontextprotocol/client", "zod"]) assert.ok(html.includes(library));
  });
}

test("the player and the server compute the same progress", () => {
  const pairs = [[0, 45], [10, 45], [45, 45], [46, 45], [300, 45], [90, 180]];
  const code = "import json, sys; from luma_mcp.server.progress import estimate_percent; print(json.dumps([estimate_percent(*pair) for pair in json.load(sys.stdin)]))";
  const expected = JSON.parse(execFileSync(PYTHON, ["-c", code], { input: JSON.stringify(pairs), cwd: ROOT, encoding: "utf8" }));
  assert.deepEqual(pairs.map(([elapsed, typical]) => percent(elapsed, typical)), expected);
});

test("times are formatted as minutes and seconds", () => {
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

test("the crop stays inside the picture, and zooming keeps its anchor", () => {
  const picture = { width: 4000, height: 3000 };
  for (const ratio of [9 / 16, 1, 4 / 3, 21 / 9]) {
    let area = crop.center(picture, ratio);
    for (const [right, down, factor, across] of [[3, -3, 1.5, 0], [-0.4, 0.2, 1.7, 1], [0, 9, 0.6, 0.3], [1, 1, 100, 0.5], [-9, -9, 0.001, 0]]) {
      area = crop.zoomBy(picture, crop.move(picture, area, right, down), factor, across);
      const { left, top, width, height } = crop.getPart(picture, area);
      assert.ok(left >= 0 && top >= 0 && left + width <= 1 + 1e-9 && top + height <= 1 + 1e-9);
      assert.ok(Math.abs((width * picture.width) / (height * picture.height) / ratio - 1) < 1e-9);
      assert.ok(Math.min(width * picture.width, height * picture.height) >= 359);
    }
  }
  const before = crop.center(picture, 1);
  const after = crop.zoomBy(picture, before, 2, 0.75, 0.25);
  const at = (area, across, down) => {
    const { left, top, width, height } = crop.getPart(picture, area);
    return [left + across * width, top + down * height].map((value) => value.toFixed(9));
  };
  assert.deepEqual(at(after, 0.75, 0.25), at(before, 0.75, 0.25));
});
