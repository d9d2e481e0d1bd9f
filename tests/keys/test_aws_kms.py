"""Keys in AWS KMS, played by moto: signatures that anybody can check, and what becomes of KMS's errors."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, cast

import boto3
import moto.kms.utils
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, padding
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.hashes import SHA256
from joserfc.jwk import ECKey
from moto import mock_aws

from grantkeeper.errors import ClientRejected, InvalidValue, ProviderError, ProviderUnavailable
from grantkeeper.keys.aws_kms import KmsSigner
from grantkeeper.terms import SigningAlgorithm
from tests.keys.rings import CLAIMS, Ring
from tests.support.process import free_port

SPECS = {"RS256": "RSA_2048", "PS256": "RSA_3072", "ES256": "ECC_NIST_P256"}
SECRET = "wJalrXUtnFEMI-secret-of-aws"


def _rsa_digest(self: Any, message: bytes, signing_algorithm: str) -> bytes:
    """As AWS: what is given is the digest, and the salt of PSS is as long as it."""
    assert len(message) == 32
    pss = padding.PSS(padding.MGF1(SHA256()), SHA256.digest_size)
    pad = pss if "PSS" in signing_algorithm else padding.PKCS1v15()
    signature: bytes = self.private_key.sign(message, pad, Prehashed(SHA256()))
    return signature


def _ec_digest(self: Any, message: bytes, signing_algorithm: str) -> bytes:
    """As AWS: what is given is the digest."""
    assert len(message) == 32
    signature: bytes = self.private_key.sign(message, ec.ECDSA(Prehashed(SHA256())))
    return signature


@pytest.fixture
def credentials(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """AWS settings that are the test's own, whatever this machine has."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")


@pytest.fixture
def aws(credentials: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A client of KMS as an operator has one, in an account of its own."""
    # moto 5.2 ignores MessageType=DIGEST and hashes the digest once more, which AWS does not.
    monkeypatch.setattr(moto.kms.utils.RSAPrivateKey, "sign", _rsa_digest)
    monkeypatch.setattr(moto.kms.utils.ECDSAPrivateKey, "sign", _ec_digest)
    with mock_aws():
        yield boto3.client("kms")


def new_key(aws: Any, spec: str, usage: str = "SIGN_VERIFY") -> str:
    """The ARN of a key that was just made in KMS."""
    arn: str = aws.create_key(KeySpec=spec, KeyUsage=usage)["KeyMetadata"]["Arn"]
    return arn


@pytest.mark.parametrize("algorithm", SPECS)
async def test_what_kms_signs_can_be_checked(ring: Ring, aws: Any, algorithm: SigningAlgorithm) -> None:
    """By whoever has the JWKS: the public key came from KMS, and the private one stays there."""
    arn = new_key(aws, SPECS[algorithm])
    key = await ring.keys.create(algorithm, kms_key=arn)
    token = await ring.signed(algorithm)
    assert token.claims == CLAIMS
    assert token.header == {"alg": algorithm, "kid": key.kid, "typ": "JWT"}
    assert (key.kms_key, key.sealed_key) == (arn, None)
    assert isinstance(await ring.keys.signer(algorithm), KmsSigner)


async def test_es256_is_always_64_bytes(ring: Ring, aws: Any) -> None:
    """DER leaves out zeros at the beginning of a number, a JWS does not (RFC 7518 §3.4)."""
    await ring.keys.create("ES256", kms_key=new_key(aws, "ECC_NIST_P256"))
    signer = await ring.keys.signer("ES256")
    signatures = [(await signer.sign(CLAIMS)).rpartition(".")[2] for _ in range(40)]
    assert {len(signature) for signature in signatures} == {86}


async def test_claims_longer_than_kms_takes(ring: Ring, aws: Any) -> None:
    """KMS takes messages of 4096 bytes: it is given the digest, so a long request object can be signed, too."""
    await ring.keys.create("PS256", kms_key=new_key(aws, "RSA_2048"))
    signer = await ring.keys.signer("PS256")
    assert len(await signer.sign({**CLAIMS, "authorization_details": ["x" * 10_000]})) > 13_000


async def test_an_alias_is_resolved_once(ring: Ring, aws: Any) -> None:
    """Pointed elsewhere later it does not change which key signs: the public one is published by then."""
    first, second = new_key(aws, "ECC_NIST_P256"), new_key(aws, "ECC_NIST_P256")
    aws.create_alias(AliasName="alias/bank", TargetKeyId=first)
    key = await ring.keys.create("ES256", kms_key="alias/bank")
    aws.update_alias(AliasName="alias/bank", TargetKeyId=second)
    assert key.kms_key == first
    assert (await ring.signed()).header["kid"] == key.kid


async def test_a_key_of_another_region(ring: Ring, aws: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The region is the ARN's, whatever this machine's settings say."""
    arn = new_key(boto3.client("kms", region_name="us-east-2"), "ECC_NIST_P256")
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    await ring.keys.create("ES256", kms_key=arn)
    assert (await ring.signed()).claims == CLAIMS


@pytest.mark.parametrize(
    ("algorithm", "spec", "problem"),
    [
        ("ES256", "RSA_2048", "ES256 needs a key of the kind ECC_NIST_P256"),
        ("ES256", "ECC_SECG_P256K1", "ES256 needs a key of the kind ECC_NIST_P256"),
        ("PS256", "ECC_NIST_P256", "PS256 needs an RSA key"),
        ("EdDSA", "ECC_NIST_P256", "not with EdDSA"),
    ],
)
async def test_a_key_that_does_not_fit(
    ring: Ring, aws: Any, algorithm: SigningAlgorithm, spec: str, problem: str
) -> None:
    """It is refused when it is taken into use, and nothing is published."""
    with pytest.raises(InvalidValue, match=problem):
        await ring.keys.create(algorithm, kms_key=new_key(aws, spec))
    assert await ring.keys.list_keys() == []


async def test_a_key_twice(ring: Ring, aws: Any) -> None:
    """A key is for one algorithm: taken again, for another, it is refused."""
    arn = new_key(aws, "RSA_2048")
    await ring.keys.create("RS256", kms_key=arn)
    with pytest.raises(InvalidValue, match="is here already"):
        await ring.keys.create("PS256", kms_key=arn)


async def test_a_key_that_is_not_there(ring: Ring, aws: Any) -> None:
    """It is the operator's matter; the message names it."""
    with pytest.raises(ClientRejected, match=r"alias/none \(NotFoundException\); check the key"):
        await ring.keys.create("ES256", kms_key="alias/none")


class TestErrors:
    """What KMS answers, or fails to, by a server in its place."""

    @pytest.mark.parametrize(
        ("status", "code", "error"),
        [
            (400, "AccessDeniedException", ClientRejected),
            (400, "DisabledException", ClientRejected),
            (400, "UnrecognizedClientException", ClientRejected),
            (400, "KMSInvalidStateException", ClientRejected),
            (400, "ThrottlingException", ProviderUnavailable),
            (400, "KeyUnavailableException", ProviderUnavailable),
            (500, "KMSInternalException", ProviderUnavailable),
            (503, "Whatever", ProviderUnavailable),
        ],
    )
    async def test_refused(self, kms: KmsServer, status: int, code: str, error: type[ProviderError]) -> None:
        """Who must act is told apart; the message has the kind, and nothing else of what AWS wrote."""
        kms.status, kms.code = status, code
        with pytest.raises(error, match=rf"{ARN}.*\({code}\)") as caught:
            await signer().sign(CLAIMS)
        assert SECRET not in str(caught.value)
        assert not isinstance(caught.value, ProviderUnavailable) or not caught.value.sent

    async def test_not_reached(self, credentials: None, monkeypatch: pytest.MonkeyPatch) -> None:
        """Nobody listens there: nothing was sent to the provider, and it may be tried again."""
        monkeypatch.setenv("AWS_ENDPOINT_URL_KMS", f"http://127.0.0.1:{free_port()}")
        with pytest.raises(ProviderUnavailable, match="does not answer") as caught:
            await signer().sign(CLAIMS)
        assert not caught.value.sent

    async def test_no_credentials(self, kms: KmsServer, monkeypatch: pytest.MonkeyPatch) -> None:
        """This machine's AWS settings are the operator's matter."""
        monkeypatch.delenv("AWS_ACCESS_KEY_ID")
        monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
        with pytest.raises(ClientRejected, match=r"\(NoCredentialsError\); check this machine's AWS settings"):
            await signer().sign(CLAIMS)

    async def test_not_installed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Without boto3 the message says what to install."""
        monkeypatch.setitem(sys.modules, "boto3", None)
        with pytest.raises(ClientRejected, match=r"install grantkeeper\[aws\]"):
            await signer().sign(CLAIMS)

    async def test_the_loop_goes_on(self, kms: KmsServer) -> None:
        """While KMS takes its time, other requests are answered."""
        kms.status, kms.code = 400, "DisabledException"
        kms.may_answer.clear()
        signing = asyncio.ensure_future(signer().sign(CLAIMS))
        await asyncio.to_thread(kms.asked.wait)
        assert not signing.done()
        kms.may_answer.set()
        with pytest.raises(ClientRejected):
            await signing


ARN = "arn:aws:kms:eu-west-1:111122223333:key/bank"


def signer() -> KmsSigner:
    """A signer over a key in KMS that is not asked for its public key."""
    public = ECKey.generate_key("P-256").as_dict(private=False)
    return KmsSigner("kid", "ES256", ARN, public)


class KmsServer(ThreadingHTTPServer):
    """Answers every request with one error, in which AWS quotes a secret; once it may."""

    status = 400
    code = "DisabledException"

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Refuse)
        self.asked, self.may_answer = threading.Event(), threading.Event()
        self.may_answer.set()


class _Refuse(BaseHTTPRequestHandler):
    """One request to `KmsServer`."""

    def do_POST(self) -> None:
        server = cast(KmsServer, self.server)
        self.rfile.read(int(self.headers["content-length"]))
        server.asked.set()
        server.may_answer.wait()
        body = json.dumps({"__type": server.code, "message": f"signed with {SECRET}"}).encode()
        self.send_response(server.status)
        self.send_header("content-type", "application/x-amz-json-1.1")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def kms(credentials: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[KmsServer]:
    """A server on loopback that boto3 takes for KMS."""
    with KmsServer() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        monkeypatch.setenv("AWS_ENDPOINT_URL_KMS", f"http://127.0.0.1:{server.server_port}")
        yield server
        server.may_answer.set()
        server.shutdown()
        thread.join()
