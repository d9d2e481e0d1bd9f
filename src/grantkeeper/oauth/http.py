"""The only socket to a provider: bounded in time and size, no redirects, certificates verified.

Time limits are ours, not the HTTP client's: a process that was frozen past them (a paused machine, SIGSTOP)
would find the answer in its socket and throw it away, and with it a refresh token that is not given twice.
"""

from __future__ import annotations

import asyncio
import functools
import ssl
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any

import httpx2

from grantkeeper import logs
from grantkeeper.clock import Clock, steady_ns
from grantkeeper.errors import ProviderProtocolError, ProviderUnavailable
from grantkeeper.oauth.message import Request, Response

LARGEST_BODY = 1024 * 1024
"""Bytes of an answer; no token response comes near it."""

SEND_BY = 0.5
"""The part of the time limit after which a request is no longer begun: its answer would come too late to be read."""
OVERSLEPT = 0.1
"""Seconds after a time limit that say that the process did not run when it passed."""
DRAIN = 1.0
"""Seconds for reading what came while the process did not run."""


@functools.cache
def _tls() -> ssl.SSLContext:
    """The machine's certificate authorities; reading them takes a tenth of a second, so once for a process."""
    return ssl.create_default_context()


class _TooLate(Exception):
    """The time for beginning to send is over; nothing was sent."""


class _Exchange:
    """One request and its answer; knows whether the provider may have heard of it."""

    def __init__(self, client: httpx2.AsyncClient, request: Request, timeout: float) -> None:
        self._client = client
        self._request = request
        self._send_by = steady_ns() + round(timeout * SEND_BY * 1e9)
        self.sent = False

    async def run(self) -> Response:
        """The whole answer."""
        async with self._client.stream(
            self._request.method,
            self._request.url,
            headers=self._request.headers,
            content=self._request.body,
            extensions={"trace": self._trace},
        ) as stream:
            body = bytearray()
            async for chunk in stream.aiter_bytes():
                body += chunk
                if len(body) > LARGEST_BODY:
                    raise ProviderProtocolError(f"the provider's answer is larger than {LARGEST_BODY} bytes")
            headers = {name.lower(): value for name, value in stream.headers.items()}
            return Response(status=stream.status_code, headers=headers, body=bytes(body))

    async def _trace(self, step: str, _details: Any) -> None:
        """Told of each step of the HTTP client. What is not connecting is sending, or comes after it."""
        if self.sent or step.startswith("connection."):
            return
        # Frozen while it connected, a process must not send what another may have sent since.
        if steady_ns() > self._send_by:
            raise _TooLate
        self.sent = True


class ProviderHttp:
    """Sends requests to providers. `timeout` is in seconds, from connecting to the last byte."""

    def __init__(self, clock: Clock, timeout: float) -> None:
        self._clock = clock
        self.timeout = timeout
        self._client = httpx2.AsyncClient(
            follow_redirects=False,
            timeout=httpx2.Timeout(None, connect=timeout * SEND_BY, pool=timeout * SEND_BY),
            trust_env=False,
            # A cookie that came with one account's answer must not go along with another's request.
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
            verify=_tls(),
            # Idle ones are dropped before servers do it (Node after 5 s): a request that meets a closing connection
            # fails, and a code is good for one request only.
            limits=httpx2.Limits(max_connections=200, max_keepalive_connections=200, keepalive_expiry=2),
            # Plain bodies only, so that what was read is what was counted.
            headers={"user-agent": "grantkeeper", "accept-encoding": "identity"},
        )

    async def send(self, request: Request) -> Response:
        """The provider's answer, or ProviderUnavailable when there is none; its `sent` says what that means.

        Where the process was frozen past the time limit, what came meanwhile is still read.
        """
        began = self._clock.monotonic()
        outcome = "?"
        exchange = _Exchange(self._client, request, self.timeout)
        try:
            response = await self._in_time(exchange)
            outcome = str(response.status)
            return response
        except (TimeoutError, httpx2.TimeoutException, _TooLate):
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
        raise ProviderUnavailable(f"the provider did not answer: {outcome}", sent=exchange.sent)

    async def _in_time(self, exchange: _Exchange) -> Response:
        """The answer of one exchange, which has ended when this returns or raises."""
        deadline = steady_ns() + round(self.timeout * 1e9)
        running = asyncio.create_task(exchange.run())
        # Whoever waited may be gone by then, and with them all interest in how it ended.
        running.add_done_callback(lambda ended: ended.cancelled() or ended.exception())
        try:
            await asyncio.wait({running}, timeout=self.timeout)
            if exchange.sent and steady_ns() - deadline > OVERSLEPT * 1e9:
                await asyncio.wait({running}, timeout=DRAIN)
        finally:
            if not running.done():
                running.cancel()
                await asyncio.wait({running})
        if running.cancelled():
            raise TimeoutError
        return running.result()

    async def close(self) -> None:
        """Close every connection."""
        await self._client.aclose()
