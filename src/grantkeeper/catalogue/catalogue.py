"""The providers that are known, each read when it is first asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from grantkeeper.catalogue.schema import Provider


def by_label(provider: Provider) -> tuple[str, str]:
    """The key that sorts providers as people look for them."""
    return provider.label.casefold(), provider.name


class Catalogue(Mapping[str, Provider]):
    """Every known provider by name. Cannot be changed.

    Looking one up reads one file, once; `in`, `len` and `names` read none. Whoever goes through it has them all read,
    and finds them in the order of their labels.
    """

    def __init__(
        self,
        providers: Mapping[str, Provider],
        unread: Mapping[str, Callable[[], Provider]] | None = None,
    ) -> None:
        self._providers = dict(providers)
        self._unread = {name: read for name, read in (unread or {}).items() if name not in providers}
        self._order: tuple[str, ...] | None = None

    def __getitem__(self, name: str) -> Provider:
        if (found := self._providers.get(name)) is None:
            found = self._providers[name] = self._unread[name]()
        return found

    def __contains__(self, name: object) -> bool:
        return name in self._providers or name in self._unread

    def __iter__(self) -> Iterator[str]:
        if self._order is None:
            everything = [self[name] for name in self.names]
            self._order = tuple(provider.name for provider in sorted(everything, key=by_label))
        return iter(self._order)

    def __len__(self) -> int:
        return len(self.names)

    def __repr__(self) -> str:
        return f"Catalogue({', '.join(sorted(self.names))})"

    @property
    def names(self) -> frozenset[str]:
        """The names of all, read or not."""
        return frozenset((*self._providers, *self._unread))

    @property
    def read(self) -> frozenset[str]:
        """The names of those that were read so far."""
        return frozenset(self._providers)

    def beside(self, providers: Mapping[str, Provider]) -> Catalogue:
        """This catalogue, with these in it as well; nothing is read for that."""
        return Catalogue({**self._providers, **providers}, self._unread)
