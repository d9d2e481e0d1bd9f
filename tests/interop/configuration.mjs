// The provider's configuration: every profile at once. What one client must do stands in that client's metadata.

import { generateKeyPairSync, randomBytes } from 'node:crypto';

import settings from './settings.mjs';
import { features as mutualTls } from './mutual_tls.mjs';
import { deviceFlow } from './pages.mjs';

export const RESOURCE_SCOPES = 'read write';

// The RSA key names no algorithm, so that it signs both RS256 and PS256.
function signingKeys() {
  const pairs = {
    rsa: generateKeyPairSync('rsa', { modulusLength: 2048 }),
    ec: generateKeyPairSync('ec', { namedCurve: 'P-256' }),
    ed: generateKeyPairSync('ed25519'),
  };
  return Object.entries(pairs).map(([kid, pair]) => ({ ...pair.privateKey.export({ format: 'jwk' }), kid, use: 'sig' }));
}

// The API below the issuer is the one resource server (RFC 8707); its tokens are JWTs (RFC 9068).
function resourceIndicators(issuer, errors) {
  return {
    enabled: true,
    getResourceServerInfo(_ctx, resource) {
      if (resource !== `${issuer}/api`) throw new errors.InvalidTarget();
      return { scope: RESOURCE_SCOPES, audience: resource, accessTokenFormat: 'jwt', jwt: { sign: { alg: 'ES256' } } };
    },
  };
}

// What was consented goes into the token as it is (RFC 9396).
const richAuthorizationRequests = {
  enabled: true,
  types: { account_information: { validate() {} } },
  authorizationDetailsForGrantSource: (ctx) => JSON.parse(ctx.oidc.params.authorization_details ?? '[]'),
  authorizationDetailsForAccessToken: (_ctx, _token, source) => source?.rar,
  authorizationDetailsForIntrospection: (_ctx, token) => token.rar,
};

function features(issuer, errors) {
  return {
    claimsParameter: { enabled: true },
    clientCredentials: { enabled: true },
    devInteractions: { enabled: false },
    deviceFlow,
    dPoP: { enabled: true, nonceSecret: randomBytes(32), requireNonce: () => true },
    fapi: { enabled: true, profile: (_ctx, client) => client?.fapi_profile },
    jwtResponseModes: { enabled: true },
    mTLS: mutualTls,
    pushedAuthorizationRequests: { enabled: true, requirePushedAuthorizationRequests: settings.require.has('par') },
    registration: { enabled: true, initialAccessToken: settings.initialAccessToken ?? false },
    registrationManagement: { enabled: true },
    requestObjects: { enabled: true, requireSignedRequestObject: settings.require.has('jar') },
    resourceIndicators: resourceIndicators(issuer, errors),
    revocation: { enabled: true },
    richAuthorizationRequests,
  };
}

function firstClient() {
  return {
    client_id: settings.clientId,
    client_secret: settings.clientSecret,
    redirect_uris: settings.redirectUris,
    grant_types: ['authorization_code', 'refresh_token'],
    response_types: ['code'],
    token_endpoint_auth_method: 'client_secret_basic',
  };
}

function lifetimes({ accessTokenTtl, refreshTokenTtl }) {
  return {
    AccessToken: accessTokenTtl,
    AuthorizationCode: 60,
    ClientCredentials: accessTokenTtl,
    DeviceCode: 600,
    Grant: refreshTokenTtl,
    IdToken: 3600,
    Interaction: 600,
    RefreshToken: refreshTokenTtl,
    Session: 3600,
  };
}

// The other name of this host stands for the separate host that clients with a certificate go to (RFC 8705, section 5).
function mutualTlsAliases(issuer) {
  const base = issuer.replace('127.0.0.1', 'localhost');
  const alias = { token: '/token', revocation: '/token/revocation', pushed_authorization_request: '/request' };
  return Object.fromEntries(Object.entries(alias).map(([name, path]) => [`${name}_endpoint`, base + path]));
}

export function configuration(issuer, errors) {
  return {
    clients: [firstClient()],
    jwks: { keys: signingKeys() },
    cookies: {
      keys: [randomBytes(32).toString('base64url')],
      // Cookies know no ports: names of its own keep them apart from those of another server on this host.
      names: { session: 'op_session', interaction: 'op_interaction', resume: 'op_resume' },
    },
    // By default tokens are honoured 15 seconds past their end; here both sides share one clock.
    clockTolerance: 0,
    claims: { openid: ['sub'], profile: ['name', 'preferred_username'], email: ['email'] },
    scopes: ['openid', 'offline_access', 'profile'],
    clientAuthMethods: [
      'client_secret_basic',
      'client_secret_post',
      'client_secret_jwt',
      'private_key_jwt',
      'none',
      ...(settings.tls ? ['tls_client_auth', 'self_signed_tls_client_auth'] : []),
    ],
    discovery: settings.tls ? { mtls_endpoint_aliases: mutualTlsAliases(issuer) } : {},
    extraClientMetadata: { properties: ['fapi_profile'] },
    features: features(issuer, errors),
    // Its own dispatcher reaches no loopback address, where the clients of the tests have their keys.
    fetch: (url, { dispatcher, ...options }) => globalThis.fetch(url, options),
    findAccount: (_ctx, sub) => ({
      accountId: sub,
      claims: () => ({ sub, name: `Person ${sub}`, preferred_username: sub, email: `${sub}@example.com` }),
    }),
    interactions: { url: (_ctx, interaction) => `/interaction/${interaction.uid}` },
    pkce: { required: (_ctx, client) => client.grantTypeAllowed('authorization_code') },
    rotateRefreshToken: true,
    ttl: lifetimes(settings),
  };
}

