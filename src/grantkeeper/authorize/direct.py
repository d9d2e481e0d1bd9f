"""Grants that are had without a person at the provider: what the user says for them, and the grant that makes."""

from __future__ import annotations

from grantkeeper.errors import InvalidValue
from grantkeeper.model import Record, Renewal
from grantkeeper.oauth.client import Client

LONGEST_HINT = 255
"""The longest name for somebody at a provider, in characters."""


class DirectNeeds(Record, frozen=True):
    """What is asked of the user for a grant that needs no person at the provider.

    `source`: the provider whose connections' tokens are exchanged; None: no other connection is used.
    `source_offered`: it can be connected here.
    """

    label: str
    subject: bool
    source: str | None
    source_label: str | None
    source_offered: bool = False


def renewal_for(client: Client, subject: str | None, source_uuid: str | None) -> Renewal:
    """The grant to ask for, now and for each next token set; InvalidValue names what the user has to give."""
    if client.grant == "jwt_bearer":
        asked = client.assertion.subject == "asked"
        subject = (subject or "").strip()
        if asked and not (subject and subject.isprintable() and len(subject) <= LONGEST_HINT):
            raise InvalidValue({"subject": [f"Say for whom to connect {client.label}, such as an e-mail address."]})
        return Renewal(grant="jwt_bearer", subject=subject if asked else None)
    if client.grant == "token_exchange":
        if not source_uuid or not source_uuid.isprintable():
            raise InvalidValue({"source": ["Choose the connection whose access is to be exchanged."]})
        return Renewal(grant="token_exchange", source_uuid=source_uuid.strip().lower())
    return Renewal(grant="client_credentials")
