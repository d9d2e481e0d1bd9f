"""The OAuth 2.0 protocol as pure functions: each message is a request function and a response function.

Owns what goes over the wire to a provider and what its answers mean. Must not know storage, settings
or pages. `http` is the only module with a socket.
"""
