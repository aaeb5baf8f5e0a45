// The identity provider of make cluster: an authorization server with people who are signed in without a password.
//
// Run it with PORT and RESOURCE (the URL that tokens are for). Besides the usual endpoints, GET /mint signs a token
// with whatever claims its query states, so that tests can have wrong ones as well.

import { createServer } from "node:http";

import { SignJWT, UnsecuredJWT, exportJWK, generateKeyPair } from "jose";
import Provider from "oidc-provider";

const { PORT, RESOURCE } = process.env;
const ISSUER = `http://127.0.0.1:${PORT}`;
const SCOPES = "luma:read luma:generate";
const LIFETIME = 3600;
const PEOPLE = {
  alice: { email: "alice@studio.example", groups: ["directors"] },
  bob: { email: "bob@studio.example", groups: ["editors"] },
};
const ALGORITHM = "RS256";
const KEY_ID = "key-1";

const { publicKey, privateKey } = await generateKeyPair(ALGORITHM, { extractable: true });
const stranger = await generateKeyPair(ALGORITHM, { extractable: true });
const jwk = { ...(await exportJWK(privateKey)), kid: KEY_ID, alg: ALGORITHM, use: "sig" };

const provider = new Provider(ISSUER, {
  jwks: { keys: [jwk] },
  cookies: { keys: ["only for this machine"] },
  scopes: ["openid", "offline_access", ...SCOPES.split(" ")],
  // The Python client names itself a public client that listens on a port of its own.
  clientDefaults: { token_endpoint_auth_method: "none" },
  features: {
    devInteractions: { enabled: false },
    registration: { enabled: true, initialAccessToken: false },
    resourceIndicators: {
      enabled: true,
      defaultResource: () => RESOURCE,
      useGrantedResource: () => true,
      getResourceServerInfo(_, resource) {
        if (resource !== RESOURCE) throw new Error(`${resource} is not the resource of this provider`);
        return {
          scope: SCOPES,
          audience: RESOURCE,
          accessTokenFormat: "jwt",
          accessTokenTTL: LIFETIME,
          jwt: { sign: { alg: ALGORITHM } },
        };
      },
    },
  },
  findAccount: (_, id) => id in PEOPLE && { accountId: id, claims: () => ({ sub: id, ...PEOPLE[id] }) },
  extraTokenClaims: (_, token) => PEOPLE[token.accountId],
  interactions: { url: (_, interaction) => `/interaction/${interaction.uid}` },
  routes: { authorization: "/authorize" },
});

/** Sign in whom login_hint names, with everything that the client has requested: a browser only follows redirects. */
async function signIn(request, response) {
  const { uid, params, prompt, grantId } = await provider.interactionDetails(request, response);
  const accountId = params.login_hint in PEOPLE ? params.login_hint : "alice";
  if (prompt.name === "login") {
    return provider.interactionFinished(request, response, { login: { accountId } });
  }
  const grant = grantId ? await provider.Grant.find(grantId) : new provider.Grant({ accountId, clientId: params.client_id });
  grant.addOIDCScope(params.scope ?? "");
  for (const [resource, scopes] of Object.entries(prompt.details.missingResourceScopes ?? {})) {
    grant.addResourceScope(resource, scopes.join(" "));
  }
  return provider.interactionFinished(request, response, { consent: { grantId: await grant.save() } });
}

/** Sign a token. Of the query: `user`, `scope`, `aud`, `iss`, `expires` (seconds from now), `by` (stranger, nobody). */
async function mint(url) {
  const query = Object.fromEntries(url.searchParams);
  const now = Math.floor(Date.now() / 1000);
  const user = query.user ?? "alice";
  const claims = {
    ...PEOPLE[user],
    client_id: "minted",
    iss: query.iss ?? ISSUER,
    aud: query.aud ?? RESOURCE,
    sub: user,
    scope: query.scope ?? SCOPES,
    iat: now,
    exp: now + Number(query.expires ?? LIFETIME),
  };
  if (query.by === "nobody") return new UnsecuredJWT(claims).encode();
  const key = query.by === "stranger" ? stranger.privateKey : privateKey;
  return new SignJWT(claims).setProtectedHeader({ alg: ALGORITHM, kid: KEY_ID, typ: "at+jwt" }).sign(key);
}

const serve = provider.callback();
createServer(async (request, response) => {
  const url = new URL(request.url, ISSUER);
  try {
    if (url.pathname === "/mint") return response.end(await mint(url));
    if (url.pathname.startsWith("/interaction/")) return await signIn(request, response);
    return await serve(request, response);
  } catch (error) {
    console.error(error);
    return response.writeHead(500).end(String(error.message));
  }
}).listen(Number(PORT), "127.0.0.1", () => console.log(ISSUER));
