import { describeInspector } from "./inspector.mjs";
import { startHttpServer } from "./server.mjs";

describeInspector("HTTP", "modern", async () => {
  const { url, stop } = await startHttpServer();
  return { target: [url], stop };
});
