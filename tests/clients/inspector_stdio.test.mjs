import { inspects } from "./inspector.mjs";
import { COMMAND, SIMULATED } from "./server.mjs";

inspects("stdio", "legacy", async (around) => {
  // It hands no variable on that it is not told of.
  const settings = Object.entries(around.own).flatMap(([name, value]) => ["-e", `${name}=${value}`]);
  return { target: [...settings, COMMAND, ...SIMULATED] };
});
