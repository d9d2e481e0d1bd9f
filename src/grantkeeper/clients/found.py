"""What is to be found out about a provider before its client is complete, and what was."""

from __future__ import annotations

from grantkeeper.model import Record
from grantkeeper.oauth.metadata import ResourceMetadata, ServerMetadata
from grantkeeper.oauth.registration import Registration


class Wanted(Record, frozen=True):
    """What says where to look: the issuer that is pinned, or a resource that names one; either, or both.

    `client`: whether the client is to be found as well, as the settings name none.
    """

    issuer: str | None
    resource: str | None
    client: bool = False


class Found(Record, frozen=True):
    """What was found; `trouble` says why something is missing. `scope`: what the resource's challenge asks for."""

    metadata: ServerMetadata | None = None
    resource: ResourceMetadata | None = None
    scope: str | None = None
    registration: Registration | None = None
    trouble: str | None = None
