// The official TypeScript client signs in through its own OAuth flow, and makes videos with a deployment.
//
// tests/cluster runs it, with URL (what clients connect to), REPLICAS (the URLs of two), LOGIN (who signs in) and
// STRANGER (somebody else).

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";

import { Client, StreamableHTTPClientTransport, UnauthorizedError } from "@modelcontextprotocol/client";
import { createTaskSessionFromClient, resultFromTaskOutcome } from "@modelcontextprotocol/ext-tasks/client";

import { FRAMING, IDENTITY, NEWER } from "./connected_v2.mjs";
import { IMPOSSIBLE, judgeRefusal, judgeVideo } from "./story.mjs";
import { tapped } from "./wire.mjs";

const { URL: SERVER, LOGIN, STRANGER } = process.env;
const REPLICAS = process.env.REPLICAS.split(" ");
const REDIRECT = "http://127.0.0.1/signed-in";
const INVALID_PARAMS = -32602;
const METHOD_NOT_FOUND = -32601;

/**
 * What a client keeps about its sign-in. A browser that only follows redirects stands in for the person.
 *
 * `granted`: the scopes that the person grants at the first sign-in, if not all. `requested`: those that the client has
 * requested each time.
 */
function newSignIn(login, granted) {
  let information, tokens, verifier, discovered, callback;
  const requested = [];
  return {
    requested,
    redirectUrl: REDIRECT,
    clientMetadata: {
      client_name: "client-v2",
      redirect_uris: [REDIRECT],
      grant_types: ["authorization_code", "refresh_token"],
      response_types: ["code"],
      token_endpoint_auth_method: "none",
      application_type: "native",
    },
    clientInformation: () => information,
    saveClientInformation: (saved) => (information = saved),
    tokens: () => tokens,
    saveTokens: (saved) => (tokens = saved),
    saveCodeVerifier: (saved) => (verifier = saved),
    codeVerifier: () => verifier,
    saveDiscoveryState: (saved) => (discovered = saved),
    discoveryState: () => discovered,
    async redirectToAuthorization(url) {
      assert.equal(url.searchParams.get("code_challenge_method"), "S256");
      assert.equal(url.searchParams.get("resource"), SERVER);
      url.searchParams.set("login_hint", login);
      const scopes = url.searchParams.get("scope");
      if (granted && requested.length === 0) url.searchParams.set("scope", granted);
      requested.push(scopes.split(" "));
      callback = await browse(url);
    },
    callback: () => callback,
  };
}

/** Follow redirects with cookies until they lead back to the client; the parameters that it gets there. */
async function browse(url) {
  const cookies = new Map();
  for (let step = 0; step < 10; step++) {
    if (String(url).startsWith(REDIRECT)) return url.searchParams;
    const cookie = [...cookies].map(([name, value]) => `${name}=${value}`).join("; ");
    const response = await fetch(url, { redirect: "manual", headers: { cookie } });
    for (const set of response.headers.getSetCookie()) {
      const [name, value] = set.split(";")[0].split("=");
      cookies.set(name, value);
    }
    const location = response.headers.get("location");
    assert.ok(location, `${url} answers ${response.status}: ${await response.text()}`);
    url = new URL(location, url);
  }
  throw new Error("the sign-in does not end");
}

/** A client at one of the URLs, with what a sign-in has got. */
async function connectedTo(url, provider, mode) {
  const transport = new StreamableHTTPClientTransport(new URL(url), { authProvider: provider });
  const wire = tapped(transport);
  const client = new Client(IDENTITY, { versionNegotiation: { mode } });
  try {
    await client.connect(transport);
  } catch (error) {
    if (!(error instanceof UnauthorizedError)) throw error;
    await transport.finishAuth(provider.callback());
    return undefined;
  }
  const call = (name, values, options) => client.callTool({ name, arguments: values }, options);
  return { client, transport, wire, call };
}

/** Sign in, which takes two connections: the first one learns where. */
async function signedIn(mode, login = LOGIN, granted = undefined) {
  const provider = newSignIn(login, granted);
  const connected = (await connectedTo(SERVER, provider, mode)) ?? (await connectedTo(SERVER, provider, mode));
  assert.ok(connected, "the client is not connected after it has signed in");
  return { ...connected, provider };
}

for (const [version, mode] of [["2026-07-28", NEWER], ["2025-11-25", "legacy"]]) {
  describe(`@modelcontextprotocol/client 2.x at ${version}, signed in as ${LOGIN}`, () => {
    let client, provider, call, reader;
    before(async () => ({ client, provider, call } = await signedIn(mode)));
    after(async () => {
      await client?.close();
      await reader?.client.close();
    });

    test("lists the tools, without those for files of the server's machine", async () => {
      const { tools } = await client.listTools();
      const names = tools.map((tool) => tool.name);
      assert.deepEqual(names, ["generate_video", "get_job", "list_jobs", "delete_job", "list_options"]);
      assert.ok(!("save" in tools[0].inputSchema.properties));
    });

    test("gets a refusal with an order that works", async () => {
      judgeRefusal(await call("generate_video", IMPOSSIBLE));
    });

    test("orders a video, sees progress, finds it at another replica, and deletes it", async () => {
      const seen = [];
      const order = { prompt: `a fox in the snow, ${version}`, wait_seconds: 50 };
      const result = await call("generate_video", order, { onprogress: (progress) => seen.push(progress) });
      judgeVideo(result);
      assert.ok(seen.length > 0, "no progress was seen");

      const { jobid } = result.structuredContent;
      const elsewhere = await connectedTo(REPLICAS[1], provider, mode);
      judgeVideo(await elsewhere.call("get_job", { jobid }));
      await elsewhere.client.close();

      const { jobs } = (await call("list_jobs", {})).structuredContent;
      assert.ok(jobs.some((job) => job.jobid === jobid));
      assert.ok(!(await call("delete_job", { jobid })).isError);
    });

    test("obtains the scope for ordering when it orders", async () => {
      reader = await signedIn(mode, LOGIN, "luma:read");
      assert.equal(reader.provider.tokens().scope, "luma:read");
      assert.ok((await reader.client.listTools()).tools.length > 0);
      const order = { prompt: `a heron at dawn, ${version}`, wait_seconds: 50 };

      // It opens the sign-in page by itself, and its app passes on what comes back.
      await assert.rejects(reader.call("generate_video", order), UnauthorizedError);
      await reader.transport.finishAuth(reader.provider.callback());
      judgeVideo(await reader.call("generate_video", order));

      // Each time it requests offline access as well, for a token that can be renewed.
      const { requested, tokens } = reader.provider;
      assert.equal(requested.length, 2);
      for (const scopes of [requested[1], tokens().scope.split(" ")]) {
        assert.ok(scopes.includes("luma:read") && scopes.includes("luma:generate"), scopes);
      }
    });
  });
}

describe("tasks of the official tasks client, signed in", () => {
  const opened = [];
  let provider;
  const sessionAt = async (url, signIn, mode = NEWER) => {
    const { client, wire, call } = await connectedTo(url, signIn, mode);
    const modern = { rawDispatch: wire.dispatch, v2RequestFraming: FRAMING };
    const session = createTaskSessionFromClient(client, { endpointId: "luma", ...(mode === NEWER && modern) });
    opened.push(session, client);
    return { session, wire, call };
  };
  before(async () => {
    const first = await signedIn(NEWER);
    provider = first.provider;
    opened.push(first.client);
  });
  after(async () => {
    for (const each of opened) await each.close();
  });

  test("a task of one replica is continued at the other, which has its result", async () => {
    const here = await sessionAt(REPLICAS[0], provider);
    const there = await sessionAt(REPLICAS[1], provider);
    const execution = await here.session.callTool("generate_video", { prompt: "an otter as a task" });
    assert.equal(execution.kind, "task");
    const { taskId } = execution.handle;
    let reference;
    await execution.handoff((persisted) => void (reference = persisted));

    const seen = [];
    const resumed = await there.session.resumeTask(reference);
    const { outcome } = await resumed.settle({ onEvent: (event) => void seen.push(event.task?.status) });

    const result = resultFromTaskOutcome(outcome);
    judgeVideo(result);
    assert.equal(result.structuredContent.jobid, taskId);
    assert.ok(seen.includes("working"), seen);
  });

  test("a refusal is no task", async () => {
    const { session } = await sessionAt(REPLICAS[1], provider);
    const execution = await session.callTool("generate_video", IMPOSSIBLE);
    assert.equal(execution.kind, "immediate");
    judgeRefusal(resultFromTaskOutcome(await execution.result()));
  });

  test("a task is unknown to somebody else, and its owner can cancel it at the other replica", async () => {
    const here = await sessionAt(REPLICAS[0], provider);
    const there = await sessionAt(REPLICAS[1], provider);
    const execution = await here.session.callTool("generate_video", { prompt: "a lynx simulate:stuck" });
    const { taskId } = execution.handle;
    await execution.detach();

    const stranger = await signedIn(NEWER, STRANGER);
    opened.push(stranger.client);
    for (const url of REPLICAS) {
      const { session } = await sessionAt(url, stranger.provider);
      const task = session.task(taskId);
      for (const attempt of [() => task.snapshot(), () => task.cancel(), () => task.update({})]) {
        await assert.rejects(attempt, { code: INVALID_PARAMS });
      }
    }

    await there.session.task(taskId).cancel();
    assert.equal((await here.session.task(taskId).snapshot()).status, "working", "nothing stops a generation");
  });

  test("at 2025-11-25 it gets the ordinary result, and the job is found at the other replica", async () => {
    const here = await sessionAt(REPLICAS[0], provider, "legacy");
    const order = { prompt: "a badger without a task", wait_seconds: 0 };
    const execution = await here.session.callTool("generate_video", order);
    assert.equal(execution.kind, "immediate");
    const { state, jobid } = resultFromTaskOutcome(await execution.result()).structuredContent;
    assert.equal(state, "running");

    for (const method of ["tasks/get", "tasks/result", "tasks/cancel"]) {
      const { error } = await here.wire.dispatch({ method, params: { taskId: jobid } });
      assert.equal(error?.code, METHOD_NOT_FOUND, method);
    }
    const there = await sessionAt(REPLICAS[1], provider, "legacy");
    judgeVideo(await there.call("get_job", { jobid, wait_seconds: 50 }));
  });
});
