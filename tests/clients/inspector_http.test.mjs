import { inspects } from "./inspector.mjs";
import { overHttp } from "./server.mjs";

inspects("HTTP", "modern", async () => {
  const { url, away } = await overHttp();
  return { target: [url], away };
});
