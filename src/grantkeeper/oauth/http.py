"""The only socket to a provider: bounded in time and size, no redirects, certificates verified."""

from __future__ import annotations

import asyncio
import functools
import ssl
from http.cookiejar import CookieJar, DefaultCookiePolicy

import httpx2

from grantkeeper import logs
from grantkeeper.clock import Clock
from grantkeeper.errors import ProviderProtocolError, ProviderUnavailable
from grantkeeper.oauth.message import Request, Response

LARGEST_BODY = 1024 * 1024
"""Bytes of an answer; no token response comes near it."""


@functools.cache
def _tls() -> ssl.SSLContext:
    """The machine's certificate authorities; reading them takes a tenth of a second, so once for a process."""
    return ssl.create_default_context()


class ProviderHttp:
    """Sends requests to providers. `timeout` is in seconds, from connecting to the last byte."""

    def __init__(self, clock: Clock, timeout: float) -> None:
        self._clock = clock
        self.timeout = timeout
        self._client = httpx2.AsyncClient(
            follow_redirects=False,
            timeout=httpx2.Timeout(timeout),
            trust_env=False,
            # A cookie that came with one account's answer must not go along with another's request.
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
            verify=_tls(),
            # Idle ones are dropped before servers do it (Node after 5 s): a request that meets a closing connection
            # fails, and a code is good for one request only.
            limits=httpx2.Limits(max_connections=200, max_keepalive_connections=50, keepalive_expiry=2),
            # Plain bodies only, so that what was read is what was counted.
            headers={"user-agent": "grantkeeper", "accept-encoding": "identity"},
        )

    async def send(self, request: Request) -> Response:
        """The provider's answer, or ProviderUnavailable when there is none."""
        began = self._clock.monotonic()
        outcome = "?"
        try:
            async with asyncio.timeout(self.timeout):
                response = await self._exchange(request)
            outcome = str(response.status)
            return response
        except TimeoutError:
            outcome = "timeout"
        except httpx2.TimeoutException:
            outcome = "timeout"
        except (httpx2.HTTPError, httpx2.InvalidURL, OSError, ssl.SSLError) as error:
            outcome = type(error).__name__
        finally:
            logs.event(
                "provider.request",
                level=logs.DEBUG,
                method=request.method,
                url=request.url.partition("?")[0],
                outcome=outcome,
                seconds=round(self._clock.monotonic() - began, 4),
            )
        raise ProviderUnavailable(f"the provider did not answer: {outcome}")

    async def _exchange(self, request: Request) -> Response:
        async with self._client.stream(
            request.method, request.url, headers=request.headers, content=request.body
        ) as stream:
            body = bytearray()
            async for chunk in stream.aiter_bytes():
                body += chunk
                if len(body) > LARGEST_BODY:
                    raise ProviderProtocolError(f"the provider's answer is larger than {LARGEST_BODY} bytes")
            headers = {name.lower(): value for name, value in stream.headers.items()}
            return Response(status=stream.status_code, headers=headers, body=bytes(body))

    async def close(self) -> None:
        """Close every connection."""
        await self._client.aclose()
