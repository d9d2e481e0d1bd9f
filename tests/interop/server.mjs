// The real oidc-provider on loopback, for the interoperability tests: plain OpenID Connect, FAPI 2.0 with private_key_jwt,
// mutual TLS, DPoP and signed messages, the device flow, client credentials, and dynamic registration.
//
// Settings come from the environment (settings.mjs). When it serves, it prints one JSON line with its issuer.
// What the tests ask it besides OAuth is in control.mjs.

import { once } from 'node:events';

import Provider, { errors } from 'oidc-provider';

import { api } from './api.mjs';
import { configuration } from './configuration.mjs';
import { control, politePolling } from './control.mjs';
import { createServer } from './mutual_tls.mjs';
import { interactions } from './pages.mjs';
import settings from './settings.mjs';

const server = createServer();
server.listen(settings.port, '127.0.0.1');
await once(server, 'listening');

const issuer = `${settings.tls ? 'https' : 'http'}://127.0.0.1:${server.address().port}`;
const configured = configuration(issuer, errors);
const provider = new Provider(issuer, configured);
provider.on('server_error', (_ctx, error) => console.error(error));
provider.use(control(provider));
provider.use(interactions(provider));
provider.use(api(issuer, configured.jwks.keys));
politePolling(provider);
server.on('request', provider.callback());
console.log(JSON.stringify({ ready: true, issuer }));

process.on('SIGTERM', () => process.exit(0));
