"""The only path that refreshes: reader or worker → lease → provider → journal → store.

`refresher` is what readers and the worker call, `attempt` is one refresh under a lease, `recovery` settles what
a crash or an outage left open, `breaker` protects providers, `history` tells afterwards. docs/refresh.md draws it.
"""

from grantkeeper.refresh.refresher import Refresher

__all__ = ["Refresher"]
