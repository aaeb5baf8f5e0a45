// Validates messages about tasks with the extension's own JSON schema.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { Ajv2020 } from "ajv/dist/2020.js";

const SCHEMA = JSON.parse(readFileSync(new URL("../conformance/tasks.schema.json", import.meta.url), "utf8"));
const KINDS = { "tasks/get": "GetTask", "tasks/update": "UpdateTask", "tasks/cancel": "CancelTask" };
// Not strict, and without formats: the schema repeats `$schema` in its parts, and names formats that Ajv does not know.
const ajv = new Ajv2020({ strict: false, validateFormats: false, allErrors: true });
ajv.addSchema(SCHEMA);

function validate(kind, message) {
  const isValid = ajv.getSchema(`${SCHEMA.$id}#/$defs/${kind}`);
  assert.ok(isValid, `the schema has no ${kind}`);
  assert.ok(isValid(message), `${kind}: ${ajv.errorsText(isValid.errors)}\n${JSON.stringify(message)}`);
}

/** Validates the requests about tasks, their results, and the tasks in the results of calls. Returns their kinds. */
export function validateTaskMessages(messages) {
  const requests = new Map(messages.filter((message) => message.method).map((message) => [message.id, message]));
  const kinds = new Set();
  const check = (kind, message) => {
    validate(kind, message);
    kinds.add(kind);
  };
  for (const message of messages) {
    const kind = KINDS[(message.method ? message : requests.get(message.id))?.method];
    if (kind && message.method) check(`${kind}Request`, message);
    else if (kind && message.result) check(`${kind}Result`, message.result);
    else if (message.result?.resultType === "task") check("CreateTaskResult", message.result);
  }
  return kinds;
}
