"""What a front end is told of a provider beyond its name: what to ask the user, and how its API is called."""

from __future__ import annotations

from typing import Annotated, get_args

import msgspec
from msgspec import Meta

from grantkeeper.catalogue.schema import Provider
from grantkeeper.catalogue.tables import Api, Verification
from grantkeeper.oauth.client import Asked, Client
from grantkeeper.terms import GrantType, ValueType

PageUrl = Annotated[str, Meta(extra_json_schema={"format": "uri"})]
GrantWord = Annotated[
    str,
    Meta(
        description="How a connection is had: with a browser, by a code to type in elsewhere, or without a person.",
        extra_json_schema={"enum": list(get_args(GrantType))},
    ),
]
BasisWord = Annotated[
    str,
    Meta(
        description="`documentation`: the provider's own; `libraries`: only other software agrees on it; `operator`: "
        "whoever runs this service gave the endpoints; `product`: ships with Grantkeeper.",
        extra_json_schema={"enum": list(get_args(Verification.model_fields["basis"].annotation))},
    ),
]


class Choice(msgspec.Struct, frozen=True):
    """A value that a parameter may have, and what people call it."""

    value: str
    label: str


class AskedParameter(msgspec.Struct, frozen=True):
    """A value to ask the user for; it goes into the query of `authorization_url`, under its name."""

    name: Annotated[str, Meta(examples=["subdomain"])]
    label: Annotated[str, Meta(examples=["Subdomain"])]
    help: Annotated[str | None, Meta(description="Where the user finds it.")]
    type: Annotated[
        str,
        Meta(
            description="What kind of value it is. Of an address that is pasted whole, the part meant is taken.",
            extra_json_schema={"enum": list(get_args(ValueType))},
        ),
    ]
    pattern: Annotated[
        str | None,
        Meta(description="The regular expression that it matches as a whole; null where there are choices."),
    ]
    choices: Annotated[list[Choice], Meta(description="The values there are; empty: any that matches the pattern.")]
    default: Annotated[str | None, Meta(description="What stands where it is left out.")]
    example: str | None
    required: Annotated[bool, Meta(description="Whether it has no default.")]


class RequestedScope(msgspec.Struct, frozen=True):
    """A scope that is asked for, and what it allows in plain words."""

    name: str
    meaning: str | None


class ApiBody(msgspec.Struct, frozen=True):
    """How the provider's API is called with the tokens that are read here."""

    base_url: Annotated[
        str | None,
        Meta(description="Where its paths begin. `{name}` stands for what each connection has of its own."),
    ]
    hosts: Annotated[
        list[str],
        Meta(description="The hosts that the token may be sent to; `*.` stands for any name before the rest."),
    ]
    header: Annotated[str, Meta(description="The header that carries the token.", examples=["Authorization"])]
    scheme: Annotated[str, Meta(description="What stands before the token in it; may be empty.", examples=["Bearer"])]
    expired: Annotated[
        list[int], Meta(description="The statuses by which it says that the token is not good any more.")
    ]
    docs_url: PageUrl | None


class VerifiedBody(msgspec.Struct, frozen=True):
    """What the definition was checked against, and when."""

    basis: BasisWord
    page: PageUrl | None
    date: Annotated[str, Meta(extra_json_schema={"format": "date"})]


class DefinitionBody(msgspec.Struct, frozen=True):
    """What the catalogue knows of a provider."""

    category: Annotated[list[str], Meta(description="What it is about; the first counts.", examples=[["accounting"]])]
    docs_url: PageUrl | None
    grant: GrantWord
    together: Annotated[
        list[str],
        Meta(description="The providers whose connections come of the same consent, each a connection of its own."),
    ]
    parameters: list[AskedParameter]
    scopes: list[RequestedScope]
    api: ApiBody
    verified: VerifiedBody


def definition_body(provider: Provider, client: Client, together: list[str], api: Api) -> DefinitionBody:
    """A definition as front ends see it; `api` with all that the operator knows filled in.

    `together`: the providers whose token sets come with this one's here.
    """
    meaning, verified = provider.scopes.meaning, provider.verified
    return DefinitionBody(
        list(provider.category),
        provider.docs_url,
        client.grant,
        together,
        [_parameter(asked) for asked in client.asked],
        [RequestedScope(scope, meaning.get(scope)) for scope in client.scopes],
        ApiBody(api.base_url, list(api.hosts), api.header, api.scheme, list(api.expired), api.docs_url),
        VerifiedBody(verified.basis, verified.page, verified.date.isoformat()),
    )


def _parameter(asked: Asked) -> AskedParameter:
    return AskedParameter(
        asked.name,
        asked.label,
        asked.help,
        asked.type,
        None if asked.choices else asked.pattern,
        [Choice(value, label) for value, label in asked.choices.items()],
        asked.default,
        asked.example,
        asked.default is None,
    )
