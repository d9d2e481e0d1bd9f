"""The keyring: which key signs when, what is published, and that no private key is told."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest
from joserfc import jwk
from joserfc.errors import JoseError

from grantkeeper.clock import DAY, HOUR, SECOND
from grantkeeper.crypto import RootKeyset, create_root_keyset
from grantkeeper.errors import ClientRejected, InvalidValue, ProviderUnavailable
from grantkeeper.keys import ClientKeyring
from grantkeeper.keys.keyring import OVERLAP
from grantkeeper.keys.software import ALGORITHMS
from grantkeeper.oauth.signing import ClientKeys
from grantkeeper.storage.client_keys import PUBLISHED_ON, ClientKeyStore
from grantkeeper.storage.vault import Vault
from grantkeeper.terms import SigningAlgorithm
from tests.keys.certificates import new_key, pem, self_signed
from tests.keys.rings import CLAIMS, PRIVATE_MEMBERS, Ring, checked


@pytest.mark.parametrize("algorithm", ALGORITHMS)
async def test_what_is_signed_can_be_checked(ring: Ring, algorithm: SigningAlgorithm) -> None:
    """By whoever has the JWKS and nothing else; the header tells algorithm, key and type."""
    key = await ring.keys.create(algorithm)
    token = await ring.signed(algorithm, "oauth-authz-req+jwt")
    assert token.claims == CLAIMS
    assert token.header == {"alg": algorithm, "kid": key.kid, "typ": "oauth-authz-req+jwt"}


async def test_the_keyring_is_what_requests_sign_with(ring: Ring) -> None:
    """It has the shape that the protocol's requests want."""
    keys: ClientKeys = ring.keys
    await ring.keys.create("ES256")
    assert (await keys.signer("ES256")).algorithm == "ES256"


@pytest.mark.parametrize("algorithm", ALGORITHMS)
async def test_nothing_private_is_published(ring: Ring, algorithm: SigningAlgorithm) -> None:
    """Only public members, with `kid`, `alg` and `use`; the kid is the key's thumbprint."""
    key = await ring.keys.create(algorithm)
    (published,) = (await ring.keys.published())["keys"]
    assert PRIVATE_MEMBERS.isdisjoint(published)
    assert (published["kid"], published["alg"], published["use"]) == (key.kid, algorithm, "sig")
    assert len(key.kid) == 43


async def test_rotation_leaves_no_moment_without_a_known_key(ring: Ring) -> None:
    """Hour by hour: what is signed is good by the JWKS of a provider that fetched it up to a day ago."""
    old = await ring.keys.create("ES256")
    ring.clock.advance(HOUR // SECOND)
    new = await ring.keys.create("ES256")
    signed_by, fetched = [], [await ring.keys.published()]
    for _ in range(60):
        ring.clock.advance(HOUR // SECOND)
        text = await (await ring.keys.signer("ES256")).sign(CLAIMS)
        fetched.append(await ring.keys.published())
        for jwks in fetched[-24:]:
            signed_by.append(checked(text, jwks).header["kid"])
    assert set(signed_by) == {old.kid, new.kid}
    kids = [{key["kid"] for key in jwks["keys"]} for jwks in fetched]
    hours = (OVERLAP + PUBLISHED_ON) // HOUR
    assert kids == [{old.kid, new.kid}] * hours + [{new.kid}] * (len(kids) - hours)


async def test_what_the_old_key_signed_last_is_still_good(ring: Ring) -> None:
    """For a day after it retired, and no longer."""
    await ring.keys.create("ES256")
    last = await (await ring.keys.signer("ES256")).sign(CLAIMS)
    await ring.keys.create("ES256", overlap=0)
    ring.clock.advance(PUBLISHED_ON // SECOND - 1)
    assert checked(last, await ring.keys.published()).claims == CLAIMS
    ring.clock.advance(1)
    with pytest.raises(JoseError):
        checked(last, await ring.keys.published())


async def test_another_process_takes_a_new_key_into_use_soon(ring: Ring) -> None:
    """What a command does reaches a running server within 30 seconds; until then it goes by what it read."""
    old = await ring.keys.create("ES256")
    assert (await ring.keys.signer("ES256")).kid == old.kid
    new = await ring.another().create("ES256", overlap=0)
    ring.clock.advance(29.9)
    assert (await ring.keys.signer("ES256")).kid == old.kid
    ring.clock.advance(0.1)
    assert (await ring.keys.signer("ES256")).kid == new.kid


async def test_no_key_says_what_to_do(ring: Ring) -> None:
    """One of another algorithm does not help; nor does a certificate of another name."""
    await ring.keys.create("EdDSA")
    with pytest.raises(ClientRejected, match="grantkeeper keys create --algorithm PS256"):
        await ring.keys.signer("PS256")
    with pytest.raises(ClientRejected, match="grantkeeper keys import-certificate bank"):
        await ring.keys.certificate("bank")


async def test_a_certificate_is_shown_and_published(ring: Ring) -> None:
    """Chain and key come back as imported; the JWKS has the chain and the thumbprint (RFC 8705 §2.2)."""
    key = new_key()
    chain = self_signed(key, ring.clock.now())
    stored = await ring.keys.import_certificate("bank", chain, pem(key))
    shown = await ring.keys.certificate("bank")
    assert (shown.chain.encode(), shown.private_key.encode(), shown.thumbprint) == (chain, pem(key), stored.kid)
    (published,) = (await ring.keys.published())["keys"]
    assert published["x5t#S256"] == stored.kid
    assert "".join(chain.decode().split("\n")[1:-2]) == published["x5c"][0]
    assert PRIVATE_MEMBERS.isdisjoint(published)


async def test_a_certificate_is_replaced(ring: Ring) -> None:
    """At once, or after an overlap; the one before stays published. The same key may have been certified again."""
    key = new_key()
    first = await ring.keys.import_certificate("bank", self_signed(key, ring.clock.now()), pem(key))
    second = await ring.keys.import_certificate("bank", self_signed(key, ring.clock.now()), pem(key))
    assert (await ring.keys.certificate("bank")).thumbprint == second.kid
    third = await ring.keys.import_certificate("bank", self_signed(key, ring.clock.now()), pem(key), overlap=DAY)
    assert (await ring.keys.certificate("bank")).thumbprint == second.kid
    assert {key["kid"] for key in (await ring.keys.published())["keys"]} == {first.kid, second.kid, third.kid}
    ring.clock.advance(DAY // SECOND)
    assert (await ring.keys.certificate("bank")).thumbprint == third.kid


async def test_a_certificate_that_has_ended_is_not_shown(ring: Ring) -> None:
    """The error says so, before a handshake fails for reasons that nobody tells."""
    key = new_key()
    await ring.keys.import_certificate("bank", self_signed(key, ring.clock.now(), ends=DAY), pem(key))
    ring.clock.advance(DAY // SECOND)
    with pytest.raises(ClientRejected, match="bank has ended; import the next"):
        await ring.keys.certificate("bank")


async def test_the_same_certificate_twice(ring: Ring) -> None:
    """It is refused, under whatever name, with where to look."""
    key = new_key()
    chain = self_signed(key, ring.clock.now())
    await ring.keys.import_certificate("bank", chain, pem(key))
    with pytest.raises(InvalidValue, match="grantkeeper keys list"):
        await ring.keys.import_certificate("other", chain, pem(key))


async def test_a_moved_private_key_signs_nothing(ring: Ring) -> None:
    """A sealed key copied to another row is the operator's matter, and no connection's."""
    one, two = await ring.keys.create("ES256"), await ring.keys.create("PS256")
    await ring.database.execute(
        "UPDATE client_keys SET sealed_key = (SELECT sealed_key FROM client_keys WHERE kid = :one) WHERE kid = :two",
        one=one.kid,
        two=two.kid,
    )
    with pytest.raises(ClientRejected, match="does not open"):
        await ring.keys.signer("PS256")
    assert (await ring.signed()).header["kid"] == one.kid


async def test_another_root_keyset_opens_nothing(ring: Ring, tmp_path: Path) -> None:
    """What is public is still published, but nothing is signed."""
    await ring.keys.create("ES256")
    create_root_keyset(tmp_path / "other.json")
    other = RootKeyset.parse((tmp_path / "other.json").read_text("utf-8"), "other")
    keys = ClientKeyring(ClientKeyStore(ring.database, Vault(ring.database, other)), ring.clock)
    assert len((await keys.published())["keys"]) == 1
    with pytest.raises(ClientRejected, match="wants root key"):
        await keys.signer("ES256")


async def test_a_database_that_is_away(ring: Ring) -> None:
    """What was read before goes on; a process that never read says that nothing was sent."""
    key = await ring.keys.create("ES256")
    assert (await ring.keys.signer("ES256")).kid == key.kid
    await ring.database.execute("ALTER TABLE client_keys RENAME TO away")
    ring.clock.advance(3600)
    assert (await ring.keys.signer("ES256")).kid == key.kid
    assert len((await ring.keys.published())["keys"]) == 1
    with pytest.raises(ProviderUnavailable) as caught:
        await ring.another().signer("ES256")
    assert not caught.value.sent


async def test_no_private_key_is_told(ring: Ring, caplog: pytest.LogCaptureFixture) -> None:
    """Not in the JWKS, a `repr`, a log line or an attribute of anything that holds one."""
    caplog.set_level(logging.DEBUG)
    key = new_key()
    imported = await ring.keys.import_certificate("bank", self_signed(key, ring.clock.now()), pem(key))
    stored = [imported, *[await ring.keys.create(algorithm) for algorithm in ALGORITHMS]]
    told = [*map(repr, stored), repr(await ring.keys.certificate("bank")), json.dumps(await ring.keys.published())]
    told += [repr(await ring.keys.signer(algorithm)) for algorithm in ALGORITHMS]
    told += [repr(vars(ring.keys)), repr(vars(ring.store)), caplog.text]
    secrets = {"PRIVATE KEY"}
    for row, kind in zip(stored, ("EC", "RSA", "RSA", "EC", "OKP"), strict=True):
        private = await ring.store.open_private_key(row)
        assert private is not None
        secrets |= private_members(jwk.JWKRegistry.import_key(private, kind))
    assert len(secrets) == 1 + 1 + 6 + 6 + 1 + 1
    assert [secret for secret in secrets if secret in "\n".join(told)] == []


def private_members(key: jwk.Key) -> set[str]:
    """The parts of a private key as a JWK writes them."""
    return {str(value) for name, value in key.as_dict(private=True).items() if name in PRIVATE_MEMBERS}
