// What the test harness wants of the provider, from the environment. Times are seconds.
//
//   OIDC_CLIENT_ID, OIDC_CLIENT_SECRET, OIDC_REDIRECT_URIS (separated by spaces): the client that is there at once
//   OIDC_PORT (0: any free one), OIDC_ACCESS_TOKEN_TTL, OIDC_REFRESH_TOKEN_TTL
//   OIDC_TLS_KEY, OIDC_TLS_CERTIFICATE, OIDC_TLS_AUTHORITY: PEM files; without them it speaks plain http
//   OIDC_REQUIRE: of every client, any of "par" and "jar"; a client's own metadata may require the same of it alone
//   OIDC_DEVICE_INTERVAL: how long a device waits between two polls; the provider itself knows no such thing
//   OIDC_INITIAL_ACCESS_TOKEN: without it anybody may register a client

const setting = (name, fallback) => {
  const value = process.env[name] ?? fallback;
  if (value === undefined) throw new Error(`${name} is not set`);
  return value;
};

const settings = {
  clientId: setting('OIDC_CLIENT_ID'),
  clientSecret: setting('OIDC_CLIENT_SECRET'),
  redirectUris: setting('OIDC_REDIRECT_URIS').split(' '),
  port: Number(setting('OIDC_PORT', '0')),
  accessTokenTtl: Number(setting('OIDC_ACCESS_TOKEN_TTL', '5')),
  refreshTokenTtl: Number(setting('OIDC_REFRESH_TOKEN_TTL', '1209600')),
  tls: process.env.OIDC_TLS_KEY && {
    key: setting('OIDC_TLS_KEY'),
    certificate: setting('OIDC_TLS_CERTIFICATE'),
    authority: setting('OIDC_TLS_AUTHORITY'),
  },
  require: new Set(setting('OIDC_REQUIRE', '').split(' ')),
  deviceInterval: Number(setting('OIDC_DEVICE_INTERVAL', '5')),
  initialAccessToken: process.env.OIDC_INITIAL_ACCESS_TOKEN,
};

export default settings;
