"""A token endpoint in memory, which decides on a request when it is told to: for the refresh protocol's tests."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Literal

import msgspec

from grantkeeper.clock import SECOND
from grantkeeper.model import TokenSet
from grantkeeper.oauth.message import Response

if TYPE_CHECKING:
    from tests.engine.simulated_process import Process

Mode = Literal["strict", "grace", "successor"]
"""What a provider does when a spent refresh token comes again. `strict`: it ends the grant. `grace`: it gives another
token set. `successor`: the same, until one of those it gave for it has been used."""


class Call(msgspec.Struct, eq=False):
    """One request to the provider; `safe`: what it was answered is durable somewhere; `lost`: nobody heard it.

    `second`: it goes out because the provider has just refused the stored refresh token.
    """

    process: Process
    token: Token
    sent_at: int
    answer: asyncio.Future[Response]
    response: Response | None = None
    child: Token | None = None
    safe: bool = False
    lost: bool = False
    second: bool = False
    identity: int = 0


class Token(msgspec.Struct, eq=False):
    """A refresh token; `given` in answer to which request, `calls` are those that the provider took it from."""

    name: str
    family: Family
    parent: Token | None = None
    given: Call | None = None
    calls: list[Call] = []
    over: bool = False


class Family(msgspec.Struct, eq=False):
    """One consent and all refresh tokens that came of it; `ended`: the provider honours none of them any more."""

    number: int
    tokens: list[Token] = []
    ended: bool = False


class Provider:
    """The token endpoint. `families`: by consent, the newest last."""

    def __init__(self, mode: Mode) -> None:
        self.mode = mode
        self.families: list[Family] = []
        self.tokens: dict[str, Token] = {}

    def consent(self) -> Token:
        """A new grant."""
        family = Family(len(self.families) + 1)
        self.families.append(family)
        return self._issue(family, None)

    def commit(self, call: Call) -> None:
        """Decide what a request is answered."""
        token = call.token
        spent = bool(token.calls)
        if token.family.ended or token.over or (spent and self.mode == "strict"):
            # A spent token that comes again ends the grant (RFC 9700 §4.14.2).
            token.family.ended |= self.mode == "strict"
            call.response = json_response(400, error="invalid_grant")
            return
        token.calls.append(call)
        if self.mode == "successor" and token.parent is not None:
            for other in token.family.tokens:
                other.over |= other is token.parent or (other.parent is token.parent and other is not token)
        call.child = self._issue(token.family, token)
        call.child.given = call
        call.response = json_response(200, **token_body(call.child))

    def _issue(self, family: Family, parent: Token | None) -> Token:
        token = Token(f"refresh-{family.number}-{len(family.tokens) + 1}", family, parent)
        family.tokens.append(token)
        self.tokens[token.name] = token
        return token


def json_response(status: int, **members: object) -> Response:
    """An answer of the token endpoint."""
    return Response(status=status, headers={"content-type": "application/json"}, body=msgspec.json.encode(members))


def token_body(token: Token) -> dict[str, object]:
    """What comes with a refresh token; its access token ends in the same words."""
    access = token.name.replace("refresh", "access")
    return {"access_token": access, "refresh_token": token.name, "token_type": "Bearer", "expires_in": 100}


def new_token_set(refresh_token: str, now: int) -> TokenSet:
    """A token set as the provider gives one for a consent."""
    return TokenSet(
        access_token=refresh_token.replace("refresh", "access"),
        token_type="Bearer",
        refresh_token=refresh_token,
        issued_at=now,
        access_token_expires_at=now + 100 * SECOND,
    )
