// Tests for the official TypeScript client, which signs in to a deployment with its own OAuth flow and makes videos.
//
// tests/cluster runs this file. It sets URL (the address for clients), REPLICAS (the URLs of two replicas), LOGIN (the
// user who signs in) and STRANGER (another user).

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";

import { Client, StreamableHTTPClientTransport, UnauthorizedError } from "@modelcontextprotocol/client";
import { createTaskSessionFromClient, resultFromTaskOutcome } from "@modelcontextprotocol/ext-tasks/client";

import { CLIENT_INFO, FRAMING, MODERN, VERSIONS } from "./connect_v2.mjs";
import { recordMessages } from "./recorder.mjs";
import { INVALID_REQUEST, assertRefusal, assertVideo } from "./shared_tests.mjs";

const { URL: SERVER, LOGIN, STRANGER } = process.env;
const REPLICAS = process.env.REPLICAS.split(" ");
const REDIRECT = "http://127.0.0.1/signed-in";
const INVALID_PARAMS = -32602;
const METHOD_NOT_FOUND = -32601;

/**
 * Creates an OAuth provider for the client. Instead of a person's browser, it follows the redirects itself.
 *
 * `granted`: the scopes that the user grants at the first sign-in; all by default. `requested`: the scopes that the
 * client has requested at each sign-in.
 */
function createAuthProvider(login, granted) {
  let information, tokens, verifier, discovery, callback;
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
    saveDiscoveryState: (saved) => (discovery = saved),
    discoveryState: () => discovery,
    async redirectToAuthorization(url) {
      assert.equal(url.searchParams.get("code_challenge_method"), "S256");
      assert.equal(url.searchParams.get("resource"), SERVER);
      url.searchParams.set("login_hint", login);
      const scopes = url.searchParams.get("scope");
      if (granted && requested.length === 0) url.searchParams.set("scope", granted);
      requested.push(scopes.split(" "));
      callback = await followRedirects(url);
    },
    callback: () => callback,
  };
}

/** Follows redirects, with cookies, until they lead back to the client. Returns the parameters for the client. */
async function followRedirects(url) {
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
  throw new Error("the sign-in has too many redirects");
}

/** Connects a client to a URL. Returns undefined if the server requires a sign-in; the provider then has the tokens. */
async function connectTo(url, provider, mode) {
  const transport = new StreamableHTTPClientTransport(new URL(url), { authProvider: provider });
  const recorder = recordMessages(transport);
  const client = new Client(CLIENT_INFO, { versionNegotiation: { mode } });
  try {
    await client.connect(transport);
  } catch (error) {
    if (!(error instanceof UnauthorizedError)) throw error;
    await transport.finishAuth(provider.callback());
    return undefined;
  }
  const callTool = (name, args, options) => client.callTool({ name, arguments: args }, options);
  return { client, transport, recorder, callTool };
}

/** Connects and signs in. That takes two connections: the first one is refused and leads to the sign-in. */
async function signIn(mode, login = LOGIN, granted = undefined) {
  const provider = createAuthProvider(login, granted);
  const connection = (await connectTo(SERVER, provider, mode)) ?? (await connectTo(SERVER, provider, mode));
  assert.ok(connection, "the client is not connected after it has signed in");
  return { ...connection, provider };
}

for (const [version, mode] of Object.entries(VERSIONS)) {
  describe(`@modelcontextprotocol/client 2.x at ${version}, signed in as ${LOGIN}`, () => {
    let client, provider, callTool, reader;
    before(async () => ({ client, provider, callTool } = await signIn(mode)));
    after(async () => {
      await client?.close();
      await reader?.client.close();
    });

    test("lists the tools, without options and tools for files on the server's machine", async () => {
      const { tools } = await client.listTools();
      const names = tools.map((tool) => tool.name);
      assert.deepEqual(names, ["generate_video", "get_job", "list_jobs", "delete_job", "list_options"]);
      assert.ok(!("save" in tools[0].inputSchema.properties));
    });

    test("gets a refusal that suggests an order that works", async () => {
      assertRefusal(await callTool("generate_video", INVALID_REQUEST));
    });

    test("orders a video, sees progress, finds it at another replica, and deletes it", async () => {
      const reports = [];
      const order = { prompt: `a fox in the snow, ${version}`, wait_seconds: 50 };
      const result = await callTool("generate_video", order, { onprogress: (report) => reports.push(report) });
      assertVideo(result);
      assert.ok(reports.length > 0, "there was no progress");

      const { jobid } = result.structuredContent;
      const otherReplica = await connectTo(REPLICAS[1], provider, mode);
      assertVideo(await otherReplica.callTool("get_job", { jobid }));
      await otherReplica.client.close();

      const { jobs } = (await callTool("list_jobs", {})).structuredContent;
      assert.ok(jobs.some((job) => job.jobid === jobid));
      assert.ok(!(await callTool("delete_job", { jobid })).isError);
    });

    test("obtains the scope for ordering with its first order", async () => {
      reader = await signIn(mode, LOGIN, "luma:read");
      assert.equal(reader.provider.tokens().scope, "luma:read");
      assert.ok((await reader.client.listTools()).tools.length > 0);
      const order = { prompt: `a heron at dawn, ${version}`, wait_seconds: 50 };

      // The client opens the sign-in page itself. The app then gives it the parameters of the redirect.
      await assert.rejects(reader.callTool("generate_video", order), UnauthorizedError);
      await reader.transport.finishAuth(reader.provider.callback());
      assertVideo(await reader.callTool("generate_video", order));

      // Each request also has the scope for offline access, which gets a refresh token. So the scopes are not equal.
      const { requested, tokens } = reader.provider;
      assert.equal(requested.length, 2);
      for (const scopes of [requested[1], tokens().scope.split(" ")]) {
        assert.ok(scopes.includes("luma:read") && scopes.includes("luma:generate"), scopes);
      }
    });
  });
}

describe("tasks of the official tasks client, signed in", () => {
  const closeables = [];
  let provider;
  const openSession = async (url, provider, mode = MODERN) => {
    const { client, recorder, callTool } = await connectTo(url, provider, mode);
    const modern = { rawDispatch: recorder.dispatch, v2RequestFraming: FRAMING };
    const session = createTaskSessionFromClient(client, { endpointId: "luma", ...(mode === MODERN && modern) });
    closeables.push(session, client);
    return { session, recorder, callTool };
  };
  before(async () => {
    const connection = await signIn(MODERN);
    provider = connection.provider;
    closeables.push(connection.client);
  });
  after(async () => {
    for (const closeable of closeables) await closeable.close();
  });

  test("a task from one replica is resumed at the other, which returns its result", async () => {
    const first = await openSession(REPLICAS[0], provider);
    const second = await openSession(REPLICAS[1], provider);
    const execution = await first.session.callTool("generate_video", { prompt: "an otter as a task" });
    assert.equal(execution.kind, "task");
    const { taskId } = execution.handle;
    let reference;
    await execution.handoff((persisted) => void (reference = persisted));

    const statuses = [];
    const resumed = await second.session.resumeTask(reference);
    const { outcome } = await resumed.settle({ onEvent: (event) => void statuses.push(event.task?.status) });

    const result = resultFromTaskOutcome(outcome);
    assertVideo(result);
    assert.equal(result.structuredContent.jobid, taskId);
    assert.ok(statuses.includes("working"), statuses);
  });

  test("a refusal comes at once, without a task", async () => {
    const { session } = await openSession(REPLICAS[1], provider);
    const execution = await session.callTool("generate_video", INVALID_REQUEST);
    assert.equal(execution.kind, "immediate");
    assertRefusal(resultFromTaskOutcome(await execution.result()));
  });

  test("another user cannot use a task; its owner can cancel it at the other replica", async () => {
    const first = await openSession(REPLICAS[0], provider);
    const second = await openSession(REPLICAS[1], provider);
    const execution = await first.session.callTool("generate_video", { prompt: "a lynx simulate:stuck" });
    const { taskId } = execution.handle;
    await execution.detach();

    const stranger = await signIn(MODERN, STRANGER);
    closeables.push(stranger.client);
    for (const url of REPLICAS) {
      const { session } = await openSession(url, stranger.provider);
      const task = session.task(taskId);
      for (const attempt of [() => task.snapshot(), () => task.cancel(), () => task.update({})]) {
        await assert.rejects(attempt, { code: INVALID_PARAMS });
      }
    }

    await second.session.task(taskId).cancel();
    const task = await first.session.task(taskId).snapshot();
    assert.equal(task.status, "working", "a running generation cannot be stopped");
  });

  test("at 2025-11-25 a call returns the ordinary result, and the other replica finds the job", async () => {
    const first = await openSession(REPLICAS[0], provider, "legacy");
    const order = { prompt: "a badger without a task", wait_seconds: 0 };
    const execution = await first.session.callTool("generate_video", order);
    assert.equal(execution.kind, "immediate");
    const { state, jobid } = resultFromTaskOutcome(await execution.result()).structuredContent;
    assert.equal(state, "running");

    for (const method of ["tasks/get", "tasks/result", "tasks/cancel"]) {
      const { error } = await first.recorder.dispatch({ method, params: { taskId: jobid } });
      assert.equal(error?.code, METHOD_NOT_FOUND, method);
    }
    const second = await openSession(REPLICAS[1], provider, "legacy");
    assertVideo(await second.callTool("get_job", { jobid, wait_seconds: 50 }));
  });
});
