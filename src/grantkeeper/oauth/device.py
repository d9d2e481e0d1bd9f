"""The device authorization endpoint's answer (RFC 8628 §3.2)."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from grantkeeper.clock import SECOND, Instant
from grantkeeper.errors import ProviderProtocolError
from grantkeeper.model import DeviceCode
from grantkeeper.oauth.client import Client
from grantkeeper.oauth.message import Response
from grantkeeper.oauth.token import good_answer

_INTERVAL = 5
_LONGEST_INTERVAL = 60
_LONGEST = 1800
"""Seconds for which a code is waited for, whatever the provider says."""
_DEVICE_CODE = re.compile(r"[\x20-\x7e]{1,4096}")
# Browsers read a backslash as a slash: it may lead to another host than it seems to.
_ADDRESS = re.compile(r"[!-\[\]-~]{1,1000}")


def device_authorization_response(client: Client, response: Response, now: Instant) -> tuple[DeviceCode, Instant]:
    """The codes, and when they end; the ProviderError that came instead of them."""
    document = good_answer(client, response, now, "when asked for a code")
    device_code, user_code = document.get("device_code"), document.get("user_code")
    if not isinstance(device_code, str) or not _DEVICE_CODE.fullmatch(device_code):
        raise ProviderProtocolError(f"{client.label} gave no device_code", code="no_device_code")
    if not isinstance(user_code, str) or not user_code.strip() or not user_code.isprintable() or len(user_code) > 40:
        raise ProviderProtocolError(f"{client.label} gave no user_code that can be shown", code="no_user_code")
    # Google's name for it came before the RFC's.
    uri = _page(document.get("verification_uri") or document.get("verification_url"))
    if uri is None:
        raise ProviderProtocolError(f"{client.label} does not say where the code goes", code="no_verification_uri")
    lifetime = _whole(document.get("expires_in"), _LONGEST, _LONGEST)
    given = DeviceCode(
        device_code=device_code,
        user_code=user_code.strip(),
        verification_uri=uri,
        verification_uri_complete=_page(document.get("verification_uri_complete")),
        interval=_whole(document.get("interval"), _INTERVAL, _LONGEST_INTERVAL),
    )
    return given, now + lifetime * SECOND


def _page(value: object) -> str | None:
    """An address that may be shown as a link: https, or this machine's (RFC 8252 §8.3)."""
    if not isinstance(value, str) or not _ADDRESS.fullmatch(value):
        return None
    try:
        parts = urlsplit(value)
        named = parts.hostname and parts.port != 0 and "@" not in parts.netloc
    except ValueError:
        return None
    loopback = parts.scheme == "http" and parts.hostname in ("127.0.0.1", "localhost", "::1")
    return value if named and (parts.scheme == "https" or loopback) else None


def _whole(value: object, otherwise: int, most: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int | float) or value < 1:
        return otherwise
    return min(int(value), most)
