import assert from "node:assert/strict";
import { test } from "node:test";
import { choices } from "../src/choices.js";
import { headline, hint } from "../src/failing.js";
import { KINDS } from "../src/table.js";
import { read } from "../src/told.js";
import * as view from "../src/view.js";

const JOBID = "j:1@x";
const WORDS = { prompt: "Waves", model: "ray-v3" };
/** The words of the server, one that it may get some day, and none. */
const RETRIES = ["never", "after_change", "later", "some_day", undefined];

/** The card that a failed call leaves behind. */
function failed(error, { args = WORDS, canLook = true, job = {} } = {}) {
  const told = read({ isError: true, content: [], structuredContent: { ...job, error } });
  return { args, told, cancelled: false, trouble: false, why: "", canLook, problem: null, since: 0 };
}

/** The buttons of a card, each with what it says in the chat, if it says anything. */
function offered(card) {
  return choices(card, { say: (text) => ((offered.said = text), new Promise(() => {})) }, () => {}).map(({ label, act }) => {
    offered.said = "";
    act();
    return { label, said: offered.said };
  });
}

/** Each kind with each word, with and without a jobid, a status and a suggestion. */
function* errors() {
  for (const kind of [...KINDS, "some_kind"]) {
    for (const retry of RETRIES) {
      for (const jobid of [undefined, JOBID]) {
        for (const status of [undefined, 500]) {
          for (const suggestion of [undefined, WORDS]) {
            const fields = { kind, message: "m", retry, jobid, status, suggestion };
            yield Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined));
          }
        }
      }
    }
  }
}

const orders = (said) => said.includes("generate_video");
const repeatable = ({ retry }) => retry === "later" || retry === "after_change";

test("every kind of error has a headline of its own", () => {
  const headlines = KINDS.map((kind) => headline({ kind }));
  assert.ok(KINDS.length > 10);
  assert.equal(new Set([...headlines, headline({ kind: "some_kind" })]).size, KINDS.length + 1);
});

test("no text that orders is offered where money may have been spent, whatever the error", () => {
  let repeated = 0;
  for (const error of errors()) {
    for (const canLook of [true, false]) {
      const buttons = offered(failed(error, { canLook }));
      const about = `${JSON.stringify(error)} ${JSON.stringify(buttons)}`;
      assert.ok(buttons.length <= 1, about);
      const { kind, status, jobid } = error;
      // A job that has failed is no more; what is proposed in its place is ordered only as the person agrees.
      const lives = jobid && kind !== "job_failed";
      const unclear = !repeatable(error) || kind === "outcome_unknown" || (kind === "upstream" && !status);
      const [{ label, said } = { label: "", said: "" }] = buttons;
      if (lives || unclear || kind === "limit_reached" || kind === "forbidden") assert.ok(!orders(said), about);
      else {
        assert.ok(orders(said), about);
        repeated += 1;
      }
      if (kind === "job_failed" && orders(said)) assert.match(said, /when I agree/);
      if (lives && canLook) assert.equal(label, "Look again", about);
      else if (unclear && !lives && kind !== "limit_reached" && kind !== "forbidden") assert.equal(label, "Look for it", about);
      assert.ok(!(lives || unclear) || !/Trying again/.test(hint(error, view.openJob(failed(error)))), about);
    }
  }
  assert.ok(repeated > 0);
});

test("a jobid that is known from elsewhere counts like the error's own", () => {
  for (const { jobid: _, ...error } of errors()) {
    if (error.kind === "job_failed") continue;
    for (const canLook of [true, false]) {
      const before = failed(error, { canLook, job: { jobid: JOBID, request: WORDS } });
      const named = { ...failed(error, { canLook }), jobid: JOBID };
      const asked = failed(error, { canLook, args: { jobid: JOBID } });
      for (const card of [before, named, asked]) {
        for (const { said } of offered(card)) assert.ok(!orders(said), JSON.stringify(error));
      }
    }
  }
});

test("what surely was not ordered can be tried again", () => {
  const sure = [["network", "later"], ["capacity", "later"], ["unauthorized", "after_change"], ["payment_required", "after_change"]];
  for (const [kind, retry] of sure) assert.deepEqual(offered(failed({ kind, message: "m", retry })).map(({ label }) => label), ["Try again"]);
});
