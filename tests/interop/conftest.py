"""One provider over TLS for all tests of profiles: starting it costs a second."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.interop.bank import AUTHORITY, CALLBACK, LIFETIME
from tests.support.oidc_provider import OidcProvider


@pytest.fixture(scope="session")
def bank_server() -> Iterator[OidcProvider]:
    """The provider behind `bank`; its clock only ever goes on."""
    with OidcProvider([CALLBACK], authority=AUTHORITY, access_token_ttl=LIFETIME) as provider:
        yield provider
