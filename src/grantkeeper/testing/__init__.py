"""Real parts to test against, shipped so that users can test their own programs with them too.

`FakeClock` stands still until it is moved. `FakeProvider` is an authorization server, `Features` what it can do
beyond the code flow, `Quirks` how it differs from the standards; `server.ProviderServer` serves it, or any ASGI
application, on loopback.
`hostile.HostileServer` is a provider on its worst day.
"""

from grantkeeper.testing.clock import FakeClock
from grantkeeper.testing.features import Features
from grantkeeper.testing.provider import FakeProvider
from grantkeeper.testing.quirks import Quirks
from grantkeeper.testing.vocabulary import (
    DEMO_PEOPLE,
    DEMO_SCOPES,
    FakeClient,
    FakeGrant,
    IssuedTokens,
    Person,
    SeenRequest,
    TokenFacts,
)

__all__ = [
    "DEMO_PEOPLE",
    "DEMO_SCOPES",
    "FakeClient",
    "FakeClock",
    "FakeGrant",
    "FakeProvider",
    "Features",
    "IssuedTokens",
    "Person",
    "Quirks",
    "SeenRequest",
    "TokenFacts",
]
