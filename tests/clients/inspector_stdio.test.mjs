import { describeInspector } from "./inspector.mjs";
import { COMMAND, SIMULATE } from "./server.mjs";

describeInspector("stdio", "legacy", async ({ variables }) => {
  // The Inspector passes on only the variables that it gets with -e.
  const options = Object.entries(variables).flatMap(([name, value]) => ["-e", `${name}=${value}`]);
  return { target: [...options, COMMAND, ...SIMULATE] };
});
