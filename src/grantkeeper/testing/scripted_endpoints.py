"""What a test can make the fake provider's endpoints do besides answering: wait, fail, talk nonsense."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Sequence
from typing import Literal

import msgspec

from grantkeeper.testing.asgi import Response, json_response
from grantkeeper.testing.tally import Tally
from grantkeeper.testing.vocabulary import SeenRequest

When = Literal["before", "after"]
SEEN_LIMIT = 10_000
"""How many requests are remembered one by one; the counts go on."""


class _Gate:
    def __init__(self, when: When) -> None:
        self.when = when
        self.opened = asyncio.Event()


class _ScriptedAnswer(msgspec.Struct, frozen=True):
    response: Response
    commit: bool


class ScriptedEndpoints:
    """The part of `FakeProvider` that a test holds, makes fail and asks what it saw.

    An endpoint is named by its path without the slash; unless another is named, it is `token`.
    """

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        """Requests by endpoint, all that arrived, held and failed ones too."""
        self.refresh_counts: Counter[tuple[str, int]] = Counter()
        """Refresh requests by (grant_id, generation of the refresh token presented)."""
        self.seen: deque[SeenRequest] = deque(maxlen=SEEN_LIMIT)
        self._arrived: dict[str, Tally] = {}
        self._held: dict[str, Tally] = {}
        self._gates: dict[str, _Gate] = {}
        self._answers: dict[str, deque[_ScriptedAnswer]] = {}

    def hold(self, endpoint: str = "token", *, when: When = "before") -> None:
        """Make requests wait until `release`: before they are carried out, or after and unanswered."""
        self.release(endpoint)
        self._gates[endpoint] = _Gate(when)

    def release(self, endpoint: str = "token") -> None:
        """Let every held request go on, and later ones pass."""
        gate = self._gates.pop(endpoint, None)
        if gate is not None:
            gate.opened.set()

    async def wait_for_held(self, least: int = 1, endpoint: str = "token") -> None:
        """Return once at least `least` requests are being held."""
        await self._held.setdefault(endpoint, Tally()).reach(least)

    async def wait_for_requests(self, least: int = 1, endpoint: str = "token") -> None:
        """Return once at least `least` requests have arrived since the provider was made."""
        await self._arrived.setdefault(endpoint, Tally()).reach(least)

    def fail_next(
        self,
        times: int = 1,
        *,
        status: int = 503,
        error: str | None = None,
        headers: Sequence[tuple[str, str]] = (),
        endpoint: str = "token",
        commit: bool = False,
    ) -> None:
        """Answer the next requests with an error: RFC 6749's JSON if `error` is given, else plain text.

        With `commit` the request is carried out all the same, and what it gave is lost.
        """
        response = Response(
            status=status, headers=(("content-type", "text/plain"), *headers), body=b"No answer today.\n"
        )
        if error is not None:
            response = json_response(status, {"error": error}, tuple(headers))
        self._script(endpoint, times, _ScriptedAnswer(response, commit))

    def answer_with(
        self,
        body: bytes,
        *,
        status: int = 200,
        headers: Sequence[tuple[str, str]] = (("content-type", "application/json"),),
        times: int = 1,
        endpoint: str = "token",
        commit: bool = False,
    ) -> None:
        """Answer the next requests with just this."""
        response = Response(status=status, headers=tuple(headers), body=body)
        self._script(endpoint, times, _ScriptedAnswer(response, commit))

    def forget_script(self, endpoint: str = "token") -> None:
        """Answer as usual again, whatever was scripted."""
        self._answers.pop(endpoint, None)

    def _script(self, endpoint: str, times: int, answer: _ScriptedAnswer) -> None:
        self._answers.setdefault(endpoint, deque()).extend([answer] * times)

    def _note(self, request: SeenRequest) -> None:
        self.counts[request.endpoint] += 1
        self.seen.append(request)
        if request.grant_id is not None and request.generation is not None:
            self.refresh_counts[request.grant_id, request.generation] += 1
        self._arrived.setdefault(request.endpoint, Tally()).add()

    async def _carry_out(self, endpoint: str, handle: Callable[[], Response]) -> Response:
        """Answer one request as scripted; what was scripted is fixed on arrival, in order of arrival."""
        scripted = self._answers.get(endpoint)
        answer = scripted.popleft() if scripted else None
        gate = self._gates.get(endpoint)
        if gate is not None and gate.when == "before":
            await self._wait(endpoint, gate)
        response = handle() if answer is None or answer.commit else answer.response
        if gate is not None and gate.when == "after":
            await self._wait(endpoint, gate)
        return answer.response if answer else response

    async def _wait(self, endpoint: str, gate: _Gate) -> None:
        held = self._held.setdefault(endpoint, Tally())
        held.add()
        try:
            await gate.opened.wait()
        finally:
            held.add(-1)
