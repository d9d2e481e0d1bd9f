"""Finding out how a provider is connected, so that an operator need not write it down.

Metadata of issuers (RFC 8414, OpenID Connect Discovery) and of resources (RFC 9728), their public keys, and
registration (RFC 7591). All of it is kept in the database, shared by every process; nothing that works stops working
because it cannot be fetched again. And taking over the operator's definitions as they are edited.
"""

from grantkeeper.discovery.definitions import Definitions
from grantkeeper.discovery.discovery import Discovery
from grantkeeper.discovery.kept import learn_all_kept

__all__ = ["Definitions", "Discovery", "learn_all_kept"]
