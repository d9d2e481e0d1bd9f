"""The keys and certificates with which we prove ourselves to providers: made, rotated, published, used.

`keyring` is what everybody else asks, `software` signs with a key that is sealed in the database, `aws_kms` with one
that never leaves AWS, `certificates` reads what an operator imports. docs/operations.md tells how to use them.
"""

from grantkeeper.keys.keyring import ClientKeyring

__all__ = ["ClientKeyring"]
