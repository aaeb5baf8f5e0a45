// The official TypeScript client 2.x, in both eras of the protocol.

import { NEWER, REACHED, connected } from "./connected_v2.mjs";
import { story } from "./story.mjs";

for (const [way, reached] of Object.entries(REACHED)) {
  for (const [version, mode] of [["2026-07-28", NEWER], ["2025-11-25", "legacy"]]) {
    story(`@modelcontextprotocol/client 2.x at ${version} over ${way}`, async () => connected(await reached(), mode));
  }
}
