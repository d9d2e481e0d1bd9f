"""The client keys as everybody else sees them: which signs now, which certificate is shown, what is published."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, cast

from grantkeeper.clock import DAY, Clock, Instant
from grantkeeper.errors import ClientRejected, InvalidValue, NotFound, ProviderUnavailable, SealError, StorageError
from grantkeeper.keys import software
from grantkeeper.keys.aws_kms import KmsSigner, find_key
from grantkeeper.keys.certificates import check_name, not_after, read_certificate, self_signed
from grantkeeper.oauth.signing import ClientCertificate, Signer
from grantkeeper.storage.client_keys import ClientKey, ClientKeyStore, Retired
from grantkeeper.terms import SigningAlgorithm

OVERLAP = DAY
"""For so long a new key is published before it signs: providers that keep our JWKS must have fetched it again."""

_FRESH = 30.0
"""Seconds for which a process goes by what it read, so that a key made by a command is used soon, and each request
to a provider does not cost a look into the database."""


class ClientKeyring:
    """Implements `oauth.signing.ClientKeys` over the stored keys, and makes, replaces and retires them."""

    def __init__(self, store: ClientKeyStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._rows: list[ClientKey] = []
        self._fresh_until: float | None = None
        self._signers: dict[str, Signer] = {}
        self._certificates: dict[str, tuple[ClientCertificate, Instant]] = {}

    async def signer(self, algorithm: SigningAlgorithm) -> Signer:
        """The key to sign with now: of those in use the one that began last.

        ClientRejected, saying what to do, where there is none; ProviderUnavailable, not sent, where the database
        is away and was never read.
        """
        row = await self._in_use("signing", "", algorithm)
        if row is None:
            command = f"grantkeeper keys create --algorithm {algorithm}"
            raise ClientRejected(f"there is no client key for {algorithm}; make one: {command}")
        signer = self._signers.get(row.kid)
        if signer is None:
            signer = self._signers[row.kid] = await self._open_signer(row, algorithm)
        return signer

    async def certificate(self, name: str) -> ClientCertificate:
        """The certificate to show now of those imported under that name.

        ClientRejected, saying what to do, where there is none or it has ended; ProviderUnavailable as for `signer`.
        """
        row = await self._in_use("certificate", name, None)
        command = f"grantkeeper keys import-certificate {name}"
        if row is None:
            raise ClientRejected(f"there is no client certificate {name}; import it: {command}")
        found = self._certificates.get(row.kid)
        if found is None:
            found = self._certificates[row.kid] = await self._open_certificate(row)
        certificate, ends = found
        if ends <= self._clock.now():
            raise ClientRejected(f"the client certificate {name} has ended; import the next: {command}")
        return certificate

    async def published(self) -> Mapping[str, list[dict[str, Any]]]:
        """The JWKS (RFC 7517 §5) of what providers are to know now, certificates with `x5c` (RFC 8705 §2.2)."""
        rows, now = await self._read(), self._clock.now()
        return {"keys": [json.loads(row.public_jwk) for row in rows if row.published(now)]}

    async def list_keys(self) -> list[ClientKey]:
        """Every key that has not been forgotten, as the database has them this moment."""
        return await self._store.list_keys()

    async def create(
        self, algorithm: SigningAlgorithm, *, kms_key: str | None = None, overlap: int = OVERLAP
    ) -> ClientKey:
        """A new key to sign with, kept here or in AWS KMS; InvalidValue where KMS's is not fit, or is known already.

        Published at once. It signs `overlap` microseconds later, at once where none signs yet; then those before it
        retire.
        """
        if kms_key is not None:
            found = await find_key(kms_key, algorithm)
            return await self._add_signing(algorithm, found.public_jwk, None, overlap, found.arn)
        key = software.generate(algorithm)
        return await self._add_signing(algorithm, key.as_dict(private=False), software.private_pem(key), overlap)

    async def import_certificate(self, name: str, chain: bytes, private_key: bytes, *, overlap: int = 0) -> ClientKey:
        """A certificate (PEM, leaf first) with its key; InvalidValue where they are not fit. It replaces what was
        imported under that name before, `overlap` microseconds after it is published.
        """
        now = self._clock.now()
        read = read_certificate(chain, private_key, now)
        key = ClientKey(
            kid=read.certificate.thumbprint,
            kind="certificate",
            name=check_name(name),
            created_at=now,
            signs_from=now,
            public_jwk=json.dumps(read.public_jwk),
            chain=read.certificate.chain,
        )
        return await self._add(key, read.certificate.private_key.encode(), overlap)

    async def certified(self, kid: str, name: str, days: int) -> str:
        """A self-signed certificate (PEM) of a key that signs, for a provider that wants one in place of a JWKS.

        As `certificates.self_signed`. NotFound where there is no such key, InvalidValue where it is kept elsewhere.
        """
        row = next((row for row in await self._store.list_keys() if row.kid == kid), None)
        if row is None or row.kind != "signing":
            raise NotFound(f"There is no key {kid} that signs; see `grantkeeper keys list`.")
        if row.kms_key is not None:
            raise InvalidValue({"kid": [f"The key {kid} is kept in AWS KMS: have it certified there."]})
        return self_signed(await self._private_key(row), name, self._clock.now(), days)

    async def retire(self, kid: str, *, withdraw: bool = False, force: bool = False) -> Retired:
        """End a key's use at once; as `ClientKeyStore.retire`."""
        self._fresh_until = None
        return await self._store.retire(kid, self._clock.now(), withdraw=withdraw, force=force)

    async def _add_signing(
        self,
        algorithm: SigningAlgorithm,
        public_members: Mapping[str, Any],
        private_key: bytes | None,
        overlap: int,
        arn: str | None = None,
    ) -> ClientKey:
        now, kid = self._clock.now(), software.thumbprint(public_members)
        key = ClientKey(
            kid=kid,
            kind="signing",
            algorithm=algorithm,
            created_at=now,
            signs_from=now,
            public_jwk=json.dumps(software.public_jwk(public_members, kid, alg=algorithm)),
            kms_key=arn,
        )
        return await self._add(key, private_key, overlap)

    async def _add(self, key: ClientKey, private_key: bytes | None, overlap: int) -> ClientKey:
        self._fresh_until = None
        added = await self._store.add(key, private_key, overlap)
        if added is None:
            raise InvalidValue({"key": [f"The key {key.kid} is here already; see `grantkeeper keys list`."]})
        return added

    async def _in_use(self, kind: str, name: str, algorithm: str | None) -> ClientKey | None:
        try:
            rows = await self._read()
        except StorageError:
            raise ProviderUnavailable("the client keys cannot be read now", sent=False) from None
        now, wanted = self._clock.now(), (kind, name, algorithm)
        fit = [row for row in rows if (row.kind, row.name, row.algorithm) == wanted and row.in_use(now)]
        return max(fit, key=lambda row: (row.signs_from, row.created_at, row.kid), default=None)

    async def _read(self) -> list[ClientKey]:
        """What is stored, at most 30 seconds old; older where the database is away, as nobody changes it then."""
        if self._fresh_until is None or self._clock.monotonic() >= self._fresh_until:
            try:
                rows = await self._store.list_keys()
            except StorageError:
                if self._fresh_until is None:
                    raise
                return self._rows
            self._rows, self._fresh_until = rows, self._clock.monotonic() + _FRESH
            self._forget_but({row.kid for row in rows})
        return self._rows

    def _forget_but(self, kids: set[str]) -> None:
        self._signers = {kid: signer for kid, signer in self._signers.items() if kid in kids}
        self._certificates = {kid: found for kid, found in self._certificates.items() if kid in kids}

    async def _open_signer(self, row: ClientKey, algorithm: SigningAlgorithm) -> Signer:
        if row.kms_key is not None:
            return KmsSigner(row.kid, algorithm, row.kms_key, json.loads(row.public_jwk))
        return software.SoftwareSigner.load(row.kid, algorithm, await self._private_key(row))

    async def _open_certificate(self, row: ClientKey) -> tuple[ClientCertificate, Instant]:
        chain, pem = cast(str, row.chain), await self._private_key(row)
        certificate = ClientCertificate(chain=chain, private_key=pem.decode(), thumbprint=row.kid)
        return certificate, not_after(chain)

    async def _private_key(self, row: ClientKey) -> bytes:
        try:
            pem = await self._store.open_private_key(row)
        except SealError as error:
            raise ClientRejected(f"{error.message}; restore it from a backup, or make a new key") from None
        except StorageError:
            raise ProviderUnavailable("the client keys cannot be read now", sent=False) from None
        if pem is None:
            raise ClientRejected(f"client key {row.kid} has lost its private key; make a new one")
        return pem
