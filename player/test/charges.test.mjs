import assert from "node:assert/strict";
import { test } from "node:test";
import { listActions } from "../src/actions.js";
import { LIMITS, headline, hint } from "../src/errors.js";
import { parseResult } from "../src/result.js";
import { KINDS } from "../src/table.js";
import * as view from "../src/view.js";

const JOBID = "j:1@x";
const ARGS = { prompt: "Waves", model: "ray-v3" };
/** The server's values, one that it may get some day, and none. */
const RETRIES = ["never", "after_change", "later", "some_day", undefined];
const CHARGES = ["no", "yes", "unknown", "some_day", undefined];

/** The card after a call that failed. */
function failedCard(error, { args = ARGS, canPoll = true, isTake = false, job = {} } = {}) {
  const result = parseResult({ isError: true, content: [], structuredContent: { ...job, error } });
  return { args, result, isTake, isCancelled: false, isDisturbed: false, disturbance: "", canPoll, mediaProblem: null, startedAt: 0 };
}

/** The buttons of a card, each with the message that it sends, if it sends one. */
function listButtons(card) {
  let message = "";
  const host = { sendMessage: (text) => ((message = text), new Promise(() => {})) };
  return listActions(card, { host, pollOnce: () => {} }).map(({ label, run }) => {
    message = "";
    run();
    return { label, message };
  });
}

/** Every combination of an error's facts. */
function* listErrors() {
  for (const kind of [...KINDS, "some_kind"]) {
    for (const retry of RETRIES) {
      for (const charged of CHARGES) {
        for (const jobid of [undefined, JOBID]) {
          for (const suggestion of [undefined, ARGS]) {
            const fields = { kind, message: "m", retry, charged, jobid, suggestion };
            yield Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined));
          }
        }
      }
    }
  }
}

const orders = (message) => message.includes("generate_video");
const isRepeatable = ({ retry }) => retry === "later" || retry === "after_change";

test("every kind of error has its own headline", () => {
  const headlines = KINDS.map((kind) => headline({ kind }));
  assert.ok(KINDS.length > 10);
  assert.equal(new Set([...headlines, headline({ kind: "some_kind" })]).size, KINDS.length + 1);
});

test("no button orders again after an error that may be charged", () => {
  let repeated = 0;
  for (const error of listErrors()) {
    for (const [canPoll, isTake] of [[true, false], [false, false], [true, true]]) {
      const buttons = listButtons(failedCard(error, { canPoll, isTake }));
      const details = `${JSON.stringify(error)} ${JSON.stringify(buttons)}`;
      assert.ok(buttons.length <= 1, details);
      const { kind, charged, jobid } = error;
      const [{ label, message } = { label: "", message: "" }] = buttons;
      const seenHint = hint(error, view.openJob(failedCard(error)));
      if (kind === "job_failed") {
        // The job is over. Whatever it cost, a new one is ordered only when the person agrees.
        assert.match(message, /when I agree/, details);
        continue;
      }
      const isUnclear = charged !== "no" || kind === "outcome_unknown";
      const fits = kind === "budget_reached" && error.suggestion;
      if (jobid || isUnclear || !isRepeatable(error) || (LIMITS.includes(kind) && !fits) || kind === "forbidden") {
        if (kind === "moderated" && !jobid && !isUnclear) assert.match(message, /when I agree/, details);
        else assert.ok(!orders(message), details);
      } else {
        assert.ok(orders(message), details);
        repeated += 1;
      }
      if (jobid && canPoll) assert.equal(label, "Look again", details);
      else if (isUnclear && !jobid && !LIMITS.includes(kind) && kind !== "forbidden") assert.equal(label, "Find the order", details);
      assert.ok(!(jobid || isUnclear) || !/Trying again/.test(seenHint), details);
    }
  }
  assert.ok(repeated > 0);
});

test("a jobid from a result, a call or the arguments applies to the error", () => {
  for (const { jobid: _, ...error } of listErrors()) {
    if (error.kind === "job_failed") continue;
    for (const canPoll of [true, false]) {
      const fromResult = failedCard(error, { canPoll, job: { jobid: JOBID, request: ARGS } });
      const fromEarlierCall = { ...failedCard(error, { canPoll }), jobid: JOBID };
      const fromArguments = failedCard(error, { canPoll, args: { jobid: JOBID } });
      for (const card of [fromResult, fromEarlierCall, fromArguments]) {
        for (const { message } of listButtons(card)) assert.ok(!orders(message), JSON.stringify(error));
      }
    }
  }
});

test("an order that was certainly not charged can be tried again", () => {
  const errors = [["network", "later"], ["capacity", "later"], ["unauthorized", "after_change"], ["payment_required", "after_change"]];
  for (const [kind, retry] of errors) {
    const buttons = listButtons(failedCard({ kind, message: "m", retry, charged: "no" }));
    assert.deepEqual(buttons.map(({ label }) => label), ["Try again"]);
  }
});

test("a retry orders all takes, or only the one that was not ordered", () => {
  const error = { kind: "network", message: "m", retry: "later", charged: "no" };
  const parse = ([{ message }]) => JSON.parse(/generate_video with (\{.*\})/.exec(message)[1]);
  assert.deepEqual(parse(listButtons(failedCard(error, { args: { ...ARGS, takes: 3 } }))), { ...ARGS, takes: 3 });
  assert.deepEqual(parse(listButtons(failedCard(error, { args: { ...ARGS, takes: 3 }, isTake: true }))), { ...ARGS, new_take: true });
});
