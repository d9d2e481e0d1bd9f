// The pages that a person sees: sign in, consent, and the two of the device flow.

const escape = (text) => String(text).replace(/[&<>"']/g, (character) => `&#${character.codePointAt(0)};`);

const layout = (title, body) => `<!DOCTYPE html>
<html lang="en">
<head><meta charset="utf-8"><title>${title}</title><link rel="icon" href="data:,"></head>
<body>
<h1>${title}</h1>
${body}
</body>
</html>`;

function interactionPage({ prompt, params }) {
  const hint = escape(params.login_hint ?? '');
  const login = prompt.name === 'login';
  const question = login
    ? `<p><label>Login <input name="login" value="${hint}" required autofocus autocomplete="off"></label></p>`
    : `<p>${escape(params.client_id)} asks for: ${escape(params.scope)}</p>`;
  const [title, accept] = login ? ['Sign in', 'Sign in'] : ['Consent', 'Allow'];
  return layout(
    title,
    `<form method="post">
${question}
<button name="decision" value="allow">${accept}</button>
<button name="decision" value="deny" formnovalidate>Cancel</button>
</form>`,
  );
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
  for (const [resource, scopes] of Object.entries(details.missingResourceScopes ?? {})) {
    grant.addResourceScope(resource, scopes.join(' '));
  }
  for (const detail of details.rar ?? []) grant.addRar(detail);
  return { consent: { grantId: await grant.save() } };
}

async function outcome(provider, interaction, form) {
  if (form.get('decision') !== 'allow') {
    return { error: 'access_denied', error_description: 'the person declined' };
  }
  if (interaction.prompt.name === 'login') return { login: { accountId: form.get('login') } };
  return consented(provider, interaction);
}

export function interactions(provider) {
  return async (ctx, next) => {
    if (!ctx.path.startsWith('/interaction/')) return next();
    const interaction = await provider.interactionDetails(ctx.req, ctx.res);
    ctx.set('cache-control', 'no-store');
    if (ctx.method !== 'POST') {
      ctx.type = 'html';
      ctx.body = interactionPage(interaction);
      return undefined;
    }
    const result = await outcome(provider, interaction, await readForm(ctx.req));
    ctx.status = 303;
    ctx.set('location', await provider.interactionResult(ctx.req, ctx.res, result));
    ctx.body = '';
    return undefined;
  };
}

export const deviceFlow = {
  enabled: true,
  charset: 'base-20',
  mask: '****-****',
  userCodeInputSource(ctx, form, _out, error) {
    if (error) ctx.body = layout('Not connected', `<p>${escape(error.message)}</p>`);
    else ctx.body = layout('Code', `${form}<button form="op.deviceInputForm">Continue</button>`);
  },
  userCodeConfirmSource(ctx, form, client, _device, userCode) {
    ctx.body = layout(
      'Device',
      `<p>${escape(client.clientId)} shows ${escape(userCode)}</p>${form}
<button form="op.deviceConfirmForm">Continue</button>`,
    );
  },
  successSource(ctx) {
    ctx.body = layout('Connected', '<p>Go back to the device.</p>');
  },
};
