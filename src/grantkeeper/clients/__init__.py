"""Our registrations: what the catalogue says of a provider, joined with what the operator settled for it.

And, where either leaves it to discovery, with what the provider says of itself (`learn`). `Clients` is the one place
where these meet.
"""

from grantkeeper.clients.clients import Clients
from grantkeeper.clients.found import Found, Wanted

__all__ = ["Clients", "Found", "Wanted"]
