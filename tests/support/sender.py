"""Senders for tests: with the keys they are given or none, over a socket that writes down instead of sending."""

from __future__ import annotations

from collections.abc import Mapping

from grantkeeper.clock import Clock
from grantkeeper.errors import ClientRejected, ProviderError
from grantkeeper.oauth.client import Client
from grantkeeper.oauth.message import Call, Request, Response
from grantkeeper.oauth.sender import Http, Sender
from grantkeeper.oauth.signing import ClientCertificate, Signer
from grantkeeper.terms import SigningAlgorithm
from grantkeeper.testing import FakeClock


class HeldKeys:
    """An installation with these keys and certificates, and no others."""

    def __init__(self, *signers: Signer, certificates: Mapping[str, ClientCertificate] | None = None) -> None:
        self._signers = {signer.algorithm: signer for signer in signers}
        self._certificates = certificates or {}

    async def signer(self, algorithm: SigningAlgorithm) -> Signer:
        """The one of that algorithm."""
        if algorithm not in self._signers:
            raise ClientRejected(f"there is no key for {algorithm}")
        return self._signers[algorithm]

    async def certificate(self, name: str) -> ClientCertificate:
        """The one of that name."""
        if name not in self._certificates:
            raise ClientRejected(f"there is no certificate {name}")
        return self._certificates[name]


class Recorder:
    """Keeps each request with the certificate shown, and gives these answers in turn; 200 when there are no more."""

    timeout = 1.0

    def __init__(self, *answers: Response | ProviderError) -> None:
        self.requests: list[Request] = []
        self.certificates: list[ClientCertificate | None] = []
        self._answers = list(answers)

    async def send(self, request: Request, certificate: ClientCertificate | None = None) -> Response:
        """Nothing goes out."""
        self.requests.append(request)
        self.certificates.append(certificate)
        answer = self._answers.pop(0) if self._answers else Response(status=200, headers={}, body=b"{}")
        if isinstance(answer, ProviderError):
            raise answer
        return answer


def keyless(http: Http, clock: Clock) -> Sender:
    """A sender over that socket which can sign nothing."""
    return Sender(http, HeldKeys(), clock)


async def written_request(client: Client, call: Call, keys: HeldKeys | None = None) -> Request:
    """A call as it goes over the wire."""
    recorder = Recorder()
    await Sender(recorder, keys or HeldKeys(), FakeClock()).call(client, call)
    return recorder.requests[0]
