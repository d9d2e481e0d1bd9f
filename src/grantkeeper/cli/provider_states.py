"""How providers stand with the refresh engine: refreshed as usual, blocked, or paused until the operator acts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from grantkeeper.cli.output import timestamp, when
from grantkeeper.model import MustAct

if TYPE_CHECKING:
    from grantkeeper.clients import Clients
    from grantkeeper.clock import Instant
    from grantkeeper.config import Settings
    from grantkeeper.storage.refreshes import ProviderState


async def blocked_providers(settings: Settings) -> dict[str, ProviderState]:
    """Those that are left alone, by name; none where there is no database of ours yet. StorageError."""
    from grantkeeper.storage.inspection import inspected
    from grantkeeper.storage.migrate import current_revision, known_revisions
    from grantkeeper.storage.refreshes import read_provider_states

    async with inspected(settings.database) as database:
        if database is None or await current_revision(database) != known_revisions()[-1]:
            return {}
        return {state.provider: state for state in await read_provider_states(database) if state.blocked_at is not None}


async def learn_stored(settings: Settings, clients: Clients) -> None:
    """Complete clients with what is stored of their providers, as far as there is a database. GrantkeeperError."""
    from grantkeeper.crypto import load_root_keyset
    from grantkeeper.discovery import learn_all_kept
    from grantkeeper.storage.inspection import inspected
    from grantkeeper.storage.migrate import current_revision, known_revisions
    from grantkeeper.storage.provider_metadata import ProviderMetadataStore
    from grantkeeper.storage.vault import Vault

    keyset = settings.root_keyset.get_secret_value() if settings.root_keyset else None
    async with inspected(settings.database) as database:
        if database is None or await current_revision(database) != known_revisions()[-1]:
            return
        vault = Vault(database, load_root_keyset(keyset, settings.keyset_path))
        await learn_all_kept(ProviderMetadataStore(database, vault), clients)


def standing(state: ProviderState | None) -> str:
    """In one word, or two."""
    if state is None or state.blocked_at is None:
        return "as usual"
    return "paused" if state.must_act is MustAct.OPERATOR else "blocked"


def next_try(state: ProviderState, now: Instant) -> str:
    """When one connection finds out whether the provider works again."""
    until = state.blocked_until
    return "at the next refresh" if until is None or until <= now else f"{when(until)}"


def sentence(state: ProviderState, now: Instant) -> str:
    """All of it, for a line below a table."""
    who = "you must act" if state.must_act is MustAct.OPERATOR else "nobody must act"
    since, word, name = when(state.blocked_at), standing(state), state.provider
    return f"{name} is {word} since {since}; {who}. Reason: {state.reason}. Tried again: {next_try(state, now)}."


def facts(state: ProviderState | None, now: Instant) -> dict[str, object]:
    """The same, for a list of facts."""
    if state is None or state.blocked_at is None:
        return {"Refreshed": standing(state)}
    return {
        "Refreshed": f"{standing(state)} since {when(state.blocked_at)}",
        "Reason": state.reason,
        "Who must act": "you" if state.must_act is MustAct.OPERATOR else "nobody",
        "Tried again": next_try(state, now),
        "Tries that failed": state.probes,
    }


def record(state: ProviderState | None) -> dict[str, object] | None:
    """The same, for programs; None: refreshed as usual."""
    if state is None or state.blocked_at is None:
        return None
    return {
        "since": timestamp(state.blocked_at),
        "until": timestamp(state.blocked_until),
        "reason": state.reason,
        "must_act": state.must_act.value,
        "probes": state.probes,
    }
