"""A TLS server on loopback that says what it saw of whoever came."""

from __future__ import annotations

import asyncio
import hashlib
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from joserfc.util import urlsafe_b64encode

from grantkeeper.oauth.signing import ClientCertificate
from tests.support.certificates import Pair


@dataclass
class Visit:
    """One connection that completed its handshake: by TLS version, and our certificate if any."""

    version: str
    thumbprint: str | None
    requests: int = 0


@dataclass
class TlsServer:
    """What `tls_server` serves: 204 to every request."""

    port: int = 0
    names: list[str | None] = field(default_factory=list)
    visits: list[Visit] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer until the client leaves."""
        connection: ssl.SSLObject = writer.get_extra_info("ssl_object")
        shown = connection.getpeercert(binary_form=True)
        visit = Visit(connection.version() or "", thumbprint_of(shown) if shown else None)
        self.visits.append(visit)
        try:
            while await reader.readuntil(b"\r\n\r\n"):
                visit.requests += 1
                writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
        except (asyncio.IncompleteReadError, OSError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def tls_server(context: ssl.SSLContext) -> AsyncIterator[TlsServer]:
    """A server on 127.0.0.1 with that context."""
    served = TlsServer()
    context.sni_callback = lambda _connection, name, _context: served.names.append(name)
    async with await asyncio.start_server(served.serve, "127.0.0.1", 0, ssl=context) as server:
        served.port = server.sockets[0].getsockname()[1]
        yield served


def server_context(pair: Pair, clients: str | None = None) -> ssl.SSLContext:
    """A server's context; `clients`: the authority (PEM) whose certificates it demands."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with TemporaryDirectory() as folder:
        file = Path(folder) / "server.pem"
        file.write_text(pair.private_key + pair.certificate)
        context.load_cert_chain(file)
    if clients is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(cadata=clients)
    return context


def thumbprint_of(der: bytes) -> str:
    """A certificate's `x5t#S256` (RFC 8705 §3.1)."""
    return urlsafe_b64encode(hashlib.sha256(der).digest()).decode()


def shown_as(pair: Pair) -> ClientCertificate:
    """A pair as the product holds it."""
    thumbprint = thumbprint_of(_der(pair))
    return ClientCertificate(chain=pair.certificate, private_key=pair.private_key, thumbprint=thumbprint)


def _der(pair: Pair) -> bytes:
    return ssl.PEM_cert_to_DER_cert(pair.certificate)
