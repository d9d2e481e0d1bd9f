"""The device authorization grant (RFC 8628): /device_authorization, the page /device, and polling."""

from __future__ import annotations

import secrets

import msgspec

from grantkeeper.clock import SECOND
from grantkeeper.testing.asgi import Request, Response, json_response
from grantkeeper.testing.asked import details_asked, required, resources_asked, scopes_asked
from grantkeeper.testing.ground import Ground
from grantkeeper.testing.pages import FormGuard, page, problem
from grantkeeper.testing.provider_store import DeviceRow, digest
from grantkeeper.testing.token_endpoint import Outcome, TokenRequest
from grantkeeper.testing.vocabulary import OAuthError, Terms, TokenFacts

SLOWER = 5
"""Seconds added to the interval of a client that polls too fast (§3.5)."""

_LETTERS = "BCDFGHJKLMNPQRSTVWXZ"  # no vowels: no words (§6.1)


class DeviceEndpoint:
    """Gives device and user codes, asks a person, answers polls."""

    def __init__(self, ground: Ground, guard: FormGuard) -> None:
        self._ground = ground
        self._devices = ground.store.devices
        self._guard = guard

    def start(self, request: Request) -> Response:
        """POST /device_authorization (§3.1, §3.2)."""
        form, client = self._ground.authentication.request(request)
        features, now = self._ground.features, self._ground.clock.now()
        terms = Terms(
            resources=resources_asked(self._ground, form),
            authorization_details=details_asked(self._ground, form),
            offline=self._ground.quirks.refresh_tokens,
            tenant=request.tenant,
        )
        device_code, user_code = f"fake-device-{secrets.token_urlsafe(32)}", _new_user_code()
        row = DeviceRow(
            user_code=user_code,
            client_id=client.client_id,
            scopes=" ".join(scopes_asked(self._ground, form)),
            expires_at=now + features.device_lifetime * SECOND,
            interval=features.device_interval,
            terms=terms,
        )
        # An expired code is remembered for as long again, to be told from an unknown one.
        kept_until = row.expires_at + features.device_lifetime * SECOND
        self._devices.put(digest(device_code), row, now=now, expires_at=kept_until)
        self._devices.put(digest(user_code), row, now=now, expires_at=kept_until)
        page_url = f"{self._ground.issuer}/device"
        return json_response(
            200,
            {
                "device_code": device_code,
                "user_code": user_code,
                "verification_uri": page_url,
                "verification_uri_complete": f"{page_url}?user_code={user_code}",
                "expires_in": features.device_lifetime,
                "interval": features.device_interval,
            },
        )

    def poll(self, asked: TokenRequest) -> Outcome:
        """`grant_type=…device_code` (§3.4, §3.5)."""
        key = digest(required(asked.form, "device_code"))
        row = self._devices.get(key)
        now = self._ground.clock.now()
        if row is None or row.client_id != asked.client.client_id or row.terms.tenant != asked.tenant:
            return OAuthError("invalid_grant", "The device code is unknown.")
        if row.state == "spent":
            return OAuthError("invalid_grant", "The device code has been used before.")
        if row.expires_at <= now:
            return OAuthError("expired_token", "The device code has expired.")
        too_fast = row.polled_at is not None and now < row.polled_at + row.interval * SECOND
        row = msgspec.structs.replace(row, polled_at=now, interval=row.interval + SLOWER * too_fast)
        decision = self._devices.get(digest(row.user_code)) or row
        if too_fast:
            outcome: Outcome = OAuthError("slow_down", "Poll less often.")
        elif decision.state == "pending":
            outcome = OAuthError("authorization_pending", "Nobody has decided yet.")
        elif decision.state == "denied":
            outcome = OAuthError("access_denied", "Somebody denied it.")
        else:
            outcome = self._grant(asked, decision)
            row = msgspec.structs.replace(row, state="spent")
        self._devices.put(key, row, now=now, expires_at=row.expires_at)
        return outcome

    def decide(self, user_code: str, subject: str | None) -> None:
        """What this person decides on the page; None: no. ValueError for a code that is not waiting."""
        key = digest(_normal(user_code))
        row = self._devices.get(key)
        if row is None or row.state != "pending" or row.expires_at <= self._ground.clock.now():
            raise ValueError("No device waits with that code.")
        if subject is not None and subject not in self._ground.people:
            raise ValueError("Nobody of that name is here.")
        terms = msgspec.structs.replace(row.terms, auth_time=self._ground.clock.now() // SECOND)
        row = msgspec.structs.replace(row, subject=subject, state="allowed" if subject else "denied", terms=terms)
        self._devices.put(key, row, expires_at=row.expires_at)

    def show(self, request: Request) -> Response:
        """GET /device: asks for the code, and then for consent (§3.3)."""
        user_code = _normal(request.query.get("user_code") or "")
        row = self._devices.get(digest(user_code)) if user_code else None
        client = self._ground.clients.get(row.client_id) if row else None
        if row is None or client is None or row.state != "pending" or row.expires_at <= self._ground.clock.now():
            return page("device_code.html", base=self._ground.base, user_code=user_code)
        key = self._guard.browser_key(request)
        return page(
            "device_consent.html",
            headers=self._guard.cookie(key),
            base=self._ground.base,
            client=client.name,
            scopes=[(scope, self._ground.scopes[scope]) for scope in row.scopes.split()],
            people=list(self._ground.people.values()),
            user_code=user_code,
            form_code=self._guard.code(key, f"device {user_code}"),
        )

    def save(self, request: Request) -> Response:
        """POST /device: takes the person's decision."""
        form = request.form()
        user_code = _normal(form.get("user_code") or "")
        if not self._guard.accepts(request, form.get("form_code"), f"device {user_code}"):
            return problem(403, "This form was not shown to this browser", "Reload the page and try again.")
        allowed = form.get("decision") == "allow"
        try:
            self.decide(user_code, form.get("subject") if allowed else None)
        except ValueError as refusal:
            return problem(400, "This cannot be done", str(refusal))
        return page("device_done.html", allowed=allowed)

    def _grant(self, asked: TokenRequest, row: DeviceRow) -> Outcome:
        public = "none" in asked.client.auth_methods
        grant_id = self._ground.store.add_grant(
            client_id=row.client_id,
            subject=row.subject or "",
            scopes=row.scopes,
            now=self._ground.clock.now(),
            terms=msgspec.structs.replace(row.terms, dpop_jkt=asked.jkt if public else None),
        )
        return self._ground.tokens.issue(
            grant_id,
            tuple(row.scopes.split()),
            generation=None if "refresh_token" in self._ground.policy.omit or not row.terms.offline else 1,
            facts=TokenFacts(jkt=asked.jkt, audience=row.terms.resources),
        )


def _new_user_code() -> str:
    letters = "".join(secrets.choice(_LETTERS) for _ in range(8))
    return f"{letters[:4]}-{letters[4:]}"


def _normal(user_code: str) -> str:
    """As it was given out, however a person has typed it (§6.1)."""
    letters = "".join(letter for letter in user_code.upper() if letter.isalnum())
    return f"{letters[:4]}-{letters[4:]}" if letters else ""
