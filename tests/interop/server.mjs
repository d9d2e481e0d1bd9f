// The real oidc-provider on loopback, for the interoperability tests.
//
// Settings come from the environment: OIDC_CLIENT_ID, OIDC_CLIENT_SECRET, OIDC_REDIRECT_URIS (separated by
// spaces), OIDC_ACCESS_TOKEN_TTL and OIDC_REFRESH_TOKEN_TTL in seconds, OIDC_PORT (0: any free one).
// When it serves, it prints one JSON line with its issuer. GET /__count tells what it was asked so far.

import { generateKeyPairSync, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { createServer } from 'node:http';

import Provider from 'oidc-provider';

const setting = (name, fallback) => {
  const value = process.env[name] ?? fallback;
  if (value === undefined) throw new Error(`${name} is not set`);
  return value;
};

const counts = { token: {}, token_errors: {}, revocation: 0 };
const increment = (table, key) => {
  table[key] = (table[key] ?? 0) + 1;
};

function configuration() {
  const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
  const accessTokenTtl = Number(setting('OIDC_ACCESS_TOKEN_TTL', '5'));
  const refreshTokenTtl = Number(setting('OIDC_REFRESH_TOKEN_TTL', '1209600'));
  return {
    clients: [
      {
        client_id: setting('OIDC_CLIENT_ID'),
        client_secret: setting('OIDC_CLIENT_SECRET'),
        redirect_uris: setting('OIDC_REDIRECT_URIS').split(' '),
        grant_types: ['authorization_code', 'refresh_token'],
        response_types: ['code'],
        token_endpoint_auth_method: 'client_secret_basic',
      },
    ],
    jwks: { keys: [{ ...privateKey.export({ format: 'jwk' }), use: 'sig', alg: 'RS256' }] },
    cookies: {
      keys: [randomBytes(32).toString('base64url')],
      // Cookies know no ports: names of its own keep them apart from those of another server on this host.
      names: { session: 'op_session', interaction: 'op_interaction', resume: 'op_resume' },
    },
    // By default tokens are honoured 15 seconds past their end; here both sides share one clock.
    clockTolerance: 0,
    claims: { openid: ['sub'], profile: ['name', 'preferred_username'] },
    scopes: ['openid', 'offline_access', 'profile'],
    features: { devInteractions: { enabled: false }, revocation: { enabled: true } },
    findAccount: (_ctx, sub) => ({
      accountId: sub,
      claims: () => ({ sub, name: `Person ${sub}`, preferred_username: sub }),
    }),
    interactions: { url: (_ctx, interaction) => `/interaction/${interaction.uid}` },
    pkce: { required: () => true },
    rotateRefreshToken: true,
    ttl: {
      AccessToken: accessTokenTtl,
      AuthorizationCode: 60,
      Grant: refreshTokenTtl,
      IdToken: 3600,
      Interaction: 600,
      RefreshToken: refreshTokenTtl,
      Session: 3600,
    },
  };
}

const escape = (text) => String(text).replace(/[&<>"']/g, (character) => `&#${character.codePointAt(0)};`);

function page({ prompt, params }) {
  const question =
    prompt.name === 'login'
      ? '<p><label>Login <input name="login" required autofocus autocomplete="off"></label></p>'
      : `<p>${escape(params.client_id)} asks for: ${escape(params.scope)}</p>`;
  const [title, accept] = prompt.name === 'login' ? ['Sign in', 'Sign in'] : ['Consent', 'Allow'];
  return `<!DOCTYPE html>
<html lang="en">
<head><meta charset="utf-8"><title>${title}</title><link rel="icon" href="data:,"></head>
<body>
<h1>${title}</h1>
<form method="post">
${question}
<button name="decision" value="allow">${accept}</button>
<button name="decision" value="deny" formnovalidate>Cancel</button>
</form>
</body>
</html>`;
}

async function readForm(request) {
  let body = '';
  for await (const chunk of request) body += chunk;
  return new URLSearchParams(body);
}

async function consented(provider, { grantId, session, params, prompt: { details } }) {
  const grant = grantId
    ? await provider.Grant.find(grantId)
    : new provider.Grant({ accountId: session.accountId, clientId: params.client_id });
  if (details.missingOIDCScope) grant.addOIDCScope(details.missingOIDCScope.join(' '));
  if (details.missingOIDCClaims) grant.addOIDCClaims(details.missingOIDCClaims);
  return { consent: { grantId: await grant.save() } };
}

async function outcome(provider, interaction, form) {
  if (form.get('decision') !== 'allow') {
    return { error: 'access_denied', error_description: 'the person declined' };
  }
  if (interaction.prompt.name === 'login') return { login: { accountId: form.get('login') } };
  return consented(provider, interaction);
}

function interactions(provider) {
  return async (ctx, next) => {
    if (!ctx.path.startsWith('/interaction/')) return next();
    const interaction = await provider.interactionDetails(ctx.req, ctx.res);
    ctx.set('cache-control', 'no-store');
    if (ctx.method !== 'POST') {
      ctx.type = 'html';
      ctx.body = page(interaction);
      return undefined;
    }
    const result = await outcome(provider, interaction, await readForm(ctx.req));
    ctx.status = 303;
    ctx.set('location', await provider.interactionResult(ctx.req, ctx.res, result));
    ctx.body = '';
    return undefined;
  };
}

async function count(ctx, next) {
  if (ctx.path === '/__count') {
    ctx.body = counts;
    return;
  }
  await next();
  if (ctx.oidc?.route === 'revocation') counts.revocation += 1;
  if (ctx.oidc?.route !== 'token') return;
  increment(counts.token, ctx.oidc.params?.grant_type ?? 'none');
  if (ctx.status >= 400) increment(counts.token_errors, ctx.body?.error ?? String(ctx.status));
}

const server = createServer();
server.listen(Number(setting('OIDC_PORT', '0')), '127.0.0.1');
await once(server, 'listening');

const issuer = `http://127.0.0.1:${server.address().port}`;
const provider = new Provider(issuer, configuration());
provider.on('server_error', (_ctx, error) => console.error(error));
provider.use(count);
provider.use(interactions(provider));
server.on('request', provider.callback());
console.log(JSON.stringify({ ready: true, issuer }));

process.on('SIGTERM', () => process.exit(0));
