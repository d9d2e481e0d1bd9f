"""The gallery: what can be connected here, by category, and what a search leaves of it."""

from __future__ import annotations

import unicodedata

import msgspec

from grantkeeper.catalogue import Provider
from grantkeeper.clients import Clients
from grantkeeper.model import Record
from grantkeeper.oauth.client import Client

LONGEST_SEARCH = 100
"""Characters of a search that are looked at."""
FEW = 8
"""So many services are seen at a glance: nobody has to search among them."""

_SHORT = 4
_SPELT = {"crm": "CRM", "hr": "Human resources"}


class AskedScope(Record, frozen=True):
    """A scope that is asked for: in plain words, or as the provider calls it where nobody has explained it."""

    words: str
    explained: bool


class Offer(Record, frozen=True):
    """A provider in the gallery. `searched`: what a search looks through; `found`: the search leaves it."""

    label: str
    logo: str
    connect: str
    asks_person: bool
    asks: tuple[str, ...]
    scopes: tuple[AskedScope, ...]
    searched: str
    found: bool = True

    @property
    def at_once(self) -> int:
        """How many scopes are shown at once; the rest when somebody wants to see it, if that is more than one."""
        return _SHORT if len(self.scopes) > _SHORT + 1 else len(self.scopes)


class Group(Record, frozen=True):
    """A category with its providers, by label."""

    anchor: str
    heading: str
    offers: tuple[Offer, ...]

    @property
    def found(self) -> int:
        """How many of its providers the search leaves."""
        return sum(offer.found for offer in self.offers)


class Gallery(Record, frozen=True):
    """Every provider that can be connected here. `search`: what was looked for, as it was typed."""

    groups: tuple[Group, ...]
    search: str = ""

    @property
    def total(self) -> int:
        """How many providers there are."""
        return sum(len(group.offers) for group in self.groups)

    @property
    def found(self) -> int:
        """How many of them the search leaves."""
        return sum(group.found for group in self.groups)

    @property
    def searchable(self) -> bool:
        """Whether there are so many that they are searched."""
        return self.total > FEW

    @property
    def in_one_way(self) -> bool | None:
        """Whether a person signs in at each of them, or at none; None: it depends."""
        ways = {offer.asks_person for group in self.groups for offer in group.offers}
        return ways.pop() if len(ways) == 1 else None


def gallery(clients: Clients, search: str = "") -> Gallery:
    """The gallery as a search leaves it: every word of it is in an offer's name, label or category."""
    search = search[:LONGEST_SEARCH]
    words = plain(search).split()
    groups: dict[str, list[Offer]] = {}
    for name, label in clients.offers():
        offer = _offer(clients, name, label)
        offer = msgspec.structs.replace(offer, found=all(word in offer.searched for word in words))
        groups.setdefault(clients.catalogue[name].category[0], []).append(offer)
    found = [
        Group(anchor=f"category-{slug}", heading=heading(slug), offers=tuple(offers)) for slug, offers in groups.items()
    ]
    return Gallery(groups=tuple(sorted(found, key=lambda group: group.heading.casefold())), search=search)


def heading(category: str) -> str:
    """A category as people call it."""
    return _SPELT.get(category, category.replace("-", " ").capitalize())


def plain(text: str) -> str:
    """A text as searches compare it, as static/gallery.js does too: no accents, no capitals."""
    letters = unicodedata.normalize("NFKD", text)
    return "".join(letter for letter in letters if not unicodedata.category(letter).startswith("M")).lower()


def _scopes(provider: Provider, client: Client) -> list[AskedScope]:
    meaning = provider.scopes.meaning
    return [AskedScope(words=meaning.get(scope, scope), explained=scope in meaning) for scope in client.scopes]


def _offer(clients: Clients, name: str, label: str) -> Offer:
    provider, client = clients.catalogue[name], clients.offered(name)
    scopes = _scopes(provider, client)
    for other in clients.together(client):
        scopes += _scopes(clients.catalogue[other.name], other)
    categories = " ".join(f"{slug} {heading(slug)}" for slug in provider.category)
    return Offer(
        label=label,
        logo=f"/imgs/{name}.svg",
        connect=f"/oauth/{name}/authorize",
        asks_person=client.asks_person,
        asks=tuple(asked.label for asked in client.asked),
        scopes=tuple(sorted(dict.fromkeys(scopes), key=lambda scope: not scope.explained)),
        searched=plain(f"{label} {name} {categories}"),
    )
