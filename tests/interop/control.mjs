// What the tests see and move: counts, the last request, clients, the clock, and how politely devices poll.

import Provider, { errors } from 'oidc-provider';

import settings from './settings.mjs';

const counts = {
  token: {},
  token_errors: {},
  token_types: {},
  authentication: {},
  revocation: 0,
  pushed: 0,
  request_objects: 0,
  signed_responses: 0,
};
let lastRequest = {};
let ahead = 0;

const increment = (table, key) => {
  table[key] = (table[key] ?? 0) + 1;
};

// Everything in this process reads the time through Date: oidc-provider, and jose, which says `new Date()`.
const RealDate = Date;
globalThis.Date = class extends RealDate {
  constructor(...parts) {
    super(...(parts.length ? parts : [RealDate.now() + ahead]));
  }

  static now() {
    return RealDate.now() + ahead;
  }
};

async function readJson(request) {
  let body = '';
  for await (const chunk of request) body += chunk;
  return JSON.parse(body);
}

// A client of that id is replaced. `Client` refuses metadata that the provider would not take.
async function putClient(provider, metadata) {
  const client = new provider.Client(metadata);
  await provider.Client.adapter.upsert(client.clientId, metadata);
}

const routes = {
  '/__count': (ctx) => {
    ctx.body = counts;
  },
  '/__last': (ctx) => {
    ctx.body = lastRequest;
  },
  '/__advance': async (ctx) => {
    ahead += (await readJson(ctx.req)).seconds * 1000;
    ctx.body = { ahead: ahead / 1000 };
  },
  '/__clients': async (ctx, provider) => {
    try {
      await putClient(provider, await readJson(ctx.req));
      ctx.status = 204;
    } catch (error) {
      ctx.status = 400;
      ctx.body = { error: error.error_description ?? error.message };
    }
  },
};

function countToken(ctx) {
  increment(counts.token, ctx.oidc.params?.grant_type ?? 'none');
  if (ctx.status >= 400) increment(counts.token_errors, ctx.body?.error ?? String(ctx.status));
  else {
    increment(counts.token_types, ctx.body.token_type);
    increment(counts.authentication, ctx.oidc.client.clientAuthMethod);
  }
}

export function control(provider) {
  provider.on('authorization.accepted', (ctx) => {
    lastRequest = ctx.oidc.params.toPlainObject();
  });
  provider.on('authorization.success', (ctx) => {
    if (ctx.oidc.responseMode?.includes('jwt')) counts.signed_responses += 1;
  });
  return async (ctx, next) => {
    if (ctx.path in routes) return routes[ctx.path](ctx, provider);
    await next();
    const route = ctx.oidc?.route;
    if (route === 'token') countToken(ctx);
    if (route === 'revocation') counts.revocation += 1;
    if (route === 'pushed_authorization_request' && ctx.status < 300) counts.pushed += 1;
    if (ctx.oidc?.body?.request && ctx.status < 300) counts.request_objects += 1;
    return undefined;
  };
}

// RFC 8628, section 3.5: whoever polls too fast hears `slow_down`, and has to wait 5 seconds longer from then on.
export function politePolling(provider) {
  const polls = new Map();
  provider.on('device_authorization.success', (_ctx, body) => {
    body.interval = settings.deviceInterval;
    polls.set(body.device_code, { due: Date.now() + body.interval * 1000, interval: body.interval });
  });
  const { DeviceCode } = provider;
  const find = DeviceCode.find.bind(DeviceCode);
  DeviceCode.find = (value, ...options) => {
    const poll = Provider.ctx?.oidc.route === 'token' ? polls.get(value) : undefined;
    const hasty = poll !== undefined && Date.now() < poll.due;
    if (hasty) poll.interval += 5;
    if (poll) poll.due = Date.now() + poll.interval * 1000;
    if (hasty) throw new errors.SlowDown();
    return find(value, ...options);
  };
}
