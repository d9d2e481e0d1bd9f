"""GET / and POST /settings of the fake provider, for whoever tries the demo."""

from __future__ import annotations

from collections.abc import Mapping

from grantkeeper.testing.asgi import Request, Response, redirect
from grantkeeper.testing.ground import Ground
from grantkeeper.testing.pages import FormGuard, page, problem

LIFETIMES: Mapping[int, str] = {30: "30 seconds", 300: "5 minutes", 3600: "1 hour"}
"""The access token lifetimes a person can choose, by seconds."""

_SUBJECT_MATTER = "settings"


class SettingsPage:
    """Shows the clients and the live grants; switches the access token lifetime; withdraws a grant."""

    def __init__(self, ground: Ground, guard: FormGuard) -> None:
        self._base = ground.base
        self._store = ground.store
        self._policy = ground.policy
        self._clock = ground.clock
        self._guard = guard
        self._clients = ground.clients
        self._names = {subject: person.name for subject, person in ground.people.items()}

    def show(self, request: Request) -> Response:
        """The page."""
        key = self._guard.browser_key(request)
        live = [grant for grant in self._store.grants() if grant.revoked_at is None]
        return page(
            "settings.html",
            headers=self._guard.cookie(key),
            base=self._base,
            form_code=self._guard.code(key, _SUBJECT_MATTER),
            lifetimes=sorted(self._lifetimes().items()),
            lifetime=self._policy.access_token_lifetime,
            clients=list(self._clients.values()),
            grants=live[::-1],
            names={grant.subject: self._names.get(grant.subject) for grant in live},
        )

    def save(self, request: Request) -> Response:
        """Carry out what was chosen and show the page again."""
        form = request.form()
        if not self._guard.accepts(request, form.get("form_code"), _SUBJECT_MATTER):
            return problem(403, "This form was not shown to this browser", "Reload the page and try again.")
        lifetime, grant_id = form.get("access_token_lifetime"), form.get("revoke")
        if lifetime is not None:
            if lifetime not in {str(seconds) for seconds in self._lifetimes()}:
                return problem(400, "That lifetime is not on the list", "Choose one of the lifetimes shown.")
            self._policy.access_token_lifetime = int(lifetime)
        if grant_id is not None:
            self._store.revoke_grants(self._clock.now(), grant_id)
        return redirect(f"{self._base}/")

    def _lifetimes(self) -> Mapping[int, str]:
        """What can be chosen: the list, and what is in force if that is not on it."""
        current = self._policy.access_token_lifetime
        return {current: f"{current} seconds", **LIFETIMES}
