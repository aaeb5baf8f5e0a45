// Everything about tasks that went over the wire, against the extension's own JSON schema.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { Ajv2020 } from "ajv/dist/2020.js";

const SCHEMA = JSON.parse(readFileSync(new URL("../conformance/tasks.schema.json", import.meta.url), "utf8"));
const KINDS = { "tasks/get": "GetTask", "tasks/update": "UpdateTask", "tasks/cancel": "CancelTask" };
// The schema repeats `$schema` inside, and names formats: neither is what is judged.
const ajv = new Ajv2020({ strict: false, validateFormats: false, allErrors: true });
ajv.addSchema(SCHEMA);

function judge(kind, message) {
  const validate = ajv.getSchema(`${SCHEMA.$id}#/$defs/${kind}`);
  assert.ok(validate, kind);
  assert.ok(validate(message), `${kind}: ${ajv.errorsText(validate.errors)}\n${JSON.stringify(message)}`);
}

/** Judges the tasks' requests, their results, and the tasks that calls were answered with; tells what it judged. */
export function judgeTasks(messages) {
  const requests = new Map(messages.filter((message) => message.method).map((message) => [message.id, message]));
  const judged = [];
  for (const message of messages) {
    const kind = KINDS[(message.method ? message : requests.get(message.id))?.method];
    if (kind && message.method) judged.push([`${kind}Request`, message]);
    else if (kind && message.result) judged.push([`${kind}Result`, message.result]);
    else if (message.result?.resultType === "task") judged.push(["CreateTaskResult", message.result]);
  }
  for (const [kind, message] of judged) judge(kind, message);
  return new Set(judged.map(([kind]) => kind));
}
