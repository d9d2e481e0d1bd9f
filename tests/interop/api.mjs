// A protected resource below the issuer: GET /api says what the access token holds, after checking what it is bound to.

import { createHash } from 'node:crypto';

import { EmbeddedJWK, calculateJwkThumbprint, createLocalJWKSet, jwtVerify } from 'jose';

import { certificateOf } from './mutual_tls.mjs';

const digest = (data) => createHash('sha256').update(data).digest('base64url');

class Refused extends Error {}

const insist = (holds, why) => {
  if (!holds) throw new Refused(why);
};

// RFC 9449, section 4.3, without nonces: those are asked for at /me.
async function checkProof(ctx, token, thumbprint, seen) {
  const { payload, protectedHeader } = await jwtVerify(ctx.get('dpop'), EmbeddedJWK, {
    typ: 'dpop+jwt',
    algorithms: ['ES256', 'EdDSA', 'Ed25519'],
    maxTokenAge: 300,
  });
  insist((await calculateJwkThumbprint(protectedHeader.jwk)) === thumbprint, 'another key');
  insist(payload.htm === ctx.method && payload.htu === ctx.href.split('?')[0], 'another request');
  insist(payload.ath === digest(token), 'another token');
  insist(payload.jti && !seen.has(payload.jti), 'a replay');
  seen.add(payload.jti);
}

async function checkBinding(ctx, scheme, token, confirmation, seen) {
  insist(scheme === (confirmation?.jkt ? 'DPoP' : 'Bearer'), 'another token type');
  if (confirmation?.jkt) await checkProof(ctx, token, confirmation.jkt, seen);
  const bound = confirmation?.['x5t#S256'];
  if (bound) insist(certificateOf(ctx) && digest(certificateOf(ctx).raw) === bound, 'another certificate');
}

export function api(issuer, signingKeys) {
  const keys = createLocalJWKSet({ keys: signingKeys.map(({ d, p, q, dp, dq, qi, ...publicKey }) => publicKey) });
  const seen = new Set();
  return async (ctx, next) => {
    if (ctx.path !== '/api') return next();
    try {
      const [scheme, token] = ctx.get('authorization').split(' ');
      const { payload } = await jwtVerify(token ?? '', keys, { issuer, audience: `${issuer}/api`, typ: 'at+jwt' });
      await checkBinding(ctx, scheme, token, payload.cnf, seen);
      ctx.body = payload;
    } catch (error) {
      ctx.status = 401;
      ctx.set('www-authenticate', 'DPoP error="invalid_token", Bearer error="invalid_token"');
      ctx.body = { error: 'invalid_token', why: error.message };
    }
    return undefined;
  };
}
