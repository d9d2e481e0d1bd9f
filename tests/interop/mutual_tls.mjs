// Certificates of clients (RFC 8705): asked for in every handshake, demanded only of the clients that need one.

import { readFileSync } from 'node:fs';
import { createServer as createHttpServer } from 'node:http';
import { createServer as createHttpsServer } from 'node:https';

import settings from './settings.mjs';

export function createServer() {
  if (!settings.tls) return createHttpServer();
  return createHttpsServer({
    key: readFileSync(settings.tls.key),
    cert: readFileSync(settings.tls.certificate),
    ca: readFileSync(settings.tls.authority),
    requestCert: true,
    rejectUnauthorized: false,
    minVersion: 'TLSv1.2',
  });
}

export const certificateOf = (ctx) => ctx.socket.getPeerX509Certificate?.();

// Node prints a subject from its root down, a line for each name; RFC 4514 writes it the other way round.
function certificateSubjectMatches(ctx, property, expected) {
  const certificate = certificateOf(ctx);
  if (property === 'tls_client_auth_subject_dn') {
    return certificate.subject.split('\n').reverse().join(',') === expected;
  }
  return property === 'tls_client_auth_san_dns' && certificate.checkHost(expected) === expected;
}

export const features = {
  enabled: Boolean(settings.tls),
  certificateBoundAccessTokens: true,
  selfSignedTlsClientAuth: true,
  tlsClientAuth: true,
  getCertificate: certificateOf,
  certificateAuthorized: (ctx) => ctx.socket.authorized,
  certificateSubjectMatches,
};
