"""What the provider saw: every refresh token it gave, every request that presented one, and what became of it.

Tokens are kept as digests only. Instants are microseconds since the epoch, of the machine's real clock.
"""

from __future__ import annotations

import hashlib
import time
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any


def instant() -> int:
    """The machine's clock, in microseconds."""
    return time.time_ns() // 1000


def digest(secret: str) -> bytes:
    """All that is kept of a token."""
    return hashlib.sha256(secret.encode()).digest()


@dataclass
class Spending:
    """One request that presented a refresh token.

    `serial` names the process that sent it, `family` the connection whose grant it is. `committed` is the
    instant just before the provider carried it out, None when it gave no tokens; `answered` when the last
    byte of the true answer had been handed to the socket; `withheld` that the lab kept that answer back.
    """

    serial: int
    token: bytes
    family: str
    arrived: int
    committed: int | None = None
    answered: int | None = None
    refused: str | None = None
    withheld: bool = False


@dataclass
class Ledger:
    """The book of one case."""

    families: dict[bytes, str] = field(default_factory=dict)
    spendings: list[Spending] = field(default_factory=list)
    by_family: dict[str, list[Spending]] = field(default_factory=lambda: defaultdict(list))
    access_tokens: dict[bytes, int] = field(default_factory=dict)
    """When each access token ends, as the provider said it."""
    issued: dict[bytes, int] = field(default_factory=dict)
    """When each access token was given."""
    newcomers: list[bytes] = field(default_factory=list)
    """Refresh tokens given for codes, whose connection is not known yet."""

    def adopt(self, refresh_token: str, connection: str, access_token: str, expires_at: int) -> None:
        """A grant that the lab gave to a connection."""
        self.families[digest(refresh_token)] = connection
        self.access_tokens[digest(access_token)] = expires_at

    def adopt_newcomer(self, connection: str) -> None:
        """The grant that a code was last exchanged for belongs to this connection."""
        self.families[self.newcomers.pop()] = connection

    def arrived(self, serial: int, refresh_token: str) -> Spending:
        """A request has come."""
        token = digest(refresh_token)
        spending = Spending(serial, token, self.families.get(token, "unknown"), instant())
        self.spendings.append(spending)
        self.by_family[spending.family].append(spending)
        return spending

    def carried_out(self, spending: Spending | None, began: int, status: int, document: dict[str, Any]) -> None:
        """The provider has answered: with tokens, or with a refusal."""
        if status != 200 or "access_token" not in document:
            if spending is not None:
                spending.refused = str(document.get("error", status))
            return
        access = digest(document["access_token"])
        self.issued[access] = began
        self.access_tokens[access] = began + int(document.get("expires_in", 3600)) * 1_000_000
        given = document.get("refresh_token")
        if spending is None:
            if given:
                self.newcomers.append(digest(given))
            return
        spending.committed = began
        if given:
            self.families[digest(given)] = spending.family

    @property
    def refreshes(self) -> int:
        """Requests that the provider carried out."""
        return sum(spending.committed is not None for spending in self.spendings)

    def presented_again(self) -> list[tuple[Spending, Spending]]:
        """Each request with a refresh token that an earlier one had spent already, and that earlier one."""
        first: dict[bytes, Spending] = {}
        again = []
        for spending in self.spendings:
            earlier = first.get(spending.token)
            if earlier is not None:
                again.append((earlier, spending))
            # The first that was carried out: what came before spent nothing.
            if spending.committed is not None and earlier is None:
                first[spending.token] = spending
        return again
