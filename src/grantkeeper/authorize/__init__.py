"""How connections come about: with a browser, with a code typed in elsewhere, or without a person.

Owns the attempts in flight and what becomes of what a provider gives. Must not know pages: they call `Authorizations`.
"""

from grantkeeper.authorize.authorizations import Authorizations
from grantkeeper.authorize.device import DevicePrompt
from grantkeeper.authorize.landing import LIFETIME, Completed, Landing, OtherIdentity
from grantkeeper.authorize.target import allowed_target

__all__ = ["LIFETIME", "Authorizations", "Completed", "DevicePrompt", "Landing", "OtherIdentity", "allowed_target"]
