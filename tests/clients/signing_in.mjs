// The official TypeScript client signs in through its own OAuth flow, and makes a video with a deployment.
//
// tests/cluster runs it, with URL (what clients connect to), OTHER (one of the replicas) and LOGIN (who signs in).

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";

import { Client, StreamableHTTPClientTransport, UnauthorizedError } from "@modelcontextprotocol/client";

import { IDENTITY, NEWER } from "./connected_v2.mjs";
import { IMPOSSIBLE, judgeRefusal, judgeVideo } from "./story.mjs";

const { URL: SERVER, OTHER, LOGIN } = process.env;
const REDIRECT = "http://127.0.0.1/signed-in";

/** What a client keeps about its sign-in. A browser that only follows redirects stands in for the person. */
function newSignIn() {
  let information, tokens, verifier, callback;
  return {
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
    async redirectToAuthorization(url) {
      assert.equal(url.searchParams.get("code_challenge_method"), "S256");
      assert.equal(url.searchParams.get("resource"), SERVER);
      url.searchParams.set("login_hint", LOGIN);
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

async function signIn(mode) {
  const provider = newSignIn();
  const connect = async () => {
    const transport = new StreamableHTTPClientTransport(new URL(SERVER), { authProvider: provider });
    const client = new Client(IDENTITY, { versionNegotiation: { mode } });
    try {
      await client.connect(transport);
      return client;
    } catch (error) {
      if (!(error instanceof UnauthorizedError)) throw error;
      await transport.finishAuth(provider.callback());
      return undefined;
    }
  };
  const client = (await connect()) ?? (await connect());
  assert.ok(client, "the client is not connected after it has signed in");
  return { client, provider };
}

for (const [version, mode] of [["2026-07-28", NEWER], ["2025-11-25", "legacy"]]) {
  describe(`@modelcontextprotocol/client 2.x at ${version}, signed in as ${LOGIN}`, () => {
    let client, provider;
    const call = (name, values, options) => client.callTool({ name, arguments: values }, options);
    before(async () => ({ client, provider } = await signIn(mode)));
    after(() => client?.close());

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
      const transport = new StreamableHTTPClientTransport(new URL(OTHER), {
        requestInit: { headers: { authorization: `Bearer ${provider.tokens().access_token}` } },
      });
      const elsewhere = new Client(IDENTITY, { versionNegotiation: { mode } });
      await elsewhere.connect(transport);
      judgeVideo(await elsewhere.callTool({ name: "get_job", arguments: { jobid } }));
      await elsewhere.close();

      const { jobs } = (await call("list_jobs", {})).structuredContent;
      assert.ok(jobs.some((job) => job.jobid === jobid));
      assert.ok(!(await call("delete_job", { jobid })).isError);
    });
  });
}
