"""What `doctor` looks at on this side: settings, database, keys, clock. Nothing here changes anything."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Literal

from grantkeeper.cli.output import when
from grantkeeper.clock import DAY, SECOND, Clock, Instant, SystemClock
from grantkeeper.config import Settings
from grantkeeper.crypto import RootKeyset, load_root_keyset
from grantkeeper.errors import ConfigError, StorageError
from grantkeeper.model import MustAct, Record
from grantkeeper.storage.database import Database
from grantkeeper.storage.inspection import (
    SKEW_HARMFUL,
    SKEW_TOLERATED,
    check_writable,
    inspected,
    noted_clock,
    skew_of,
)
from grantkeeper.storage.migrate import check_revision, current_revision, known_revisions
from grantkeeper.storage.refreshes import read_provider_states
from grantkeeper.storage.timekeeping import BEHIND_TOLERATED
from grantkeeper.storage.vault import Vault

Level = Literal["ok", "warn", "fail"]
OK: Level = "ok"
WARN: Level = "warn"
FAIL: Level = "fail"

BUILT = 20_700 * DAY
"""An instant before this release was made, in September 2026: a clock that shows less is wrong."""


class Finding(Record, frozen=True):
    """One thing that was looked at."""

    level: Level
    subject: str
    found: str
    advice: str = ""


def ok(subject: str, found: str) -> Finding:
    """All is well."""
    return Finding(level=OK, subject=subject, found=found)


def warned(subject: str, found: str, advice: str) -> Finding:
    """It works, but somebody should look at it."""
    return Finding(level=WARN, subject=subject, found=found, advice=advice)


def failed(subject: str, found: str, advice: str) -> Finding:
    """It does not work until somebody acts."""
    return Finding(level=FAIL, subject=subject, found=found, advice=advice)


def check_settings(settings: Settings) -> list[Finding]:
    """What is allowed, and yet hardly meant."""
    found = [ok("settings", f"public_url {settings.public_url}, listening on {settings.host}:{settings.port}")]
    if settings.host not in ("127.0.0.1", "::1", "localhost") and not settings.secure:
        found.append(
            warned(
                "settings",
                f"listens on {settings.host}, but public_url is only for this machine",
                "set public_url to the https address that people use",
            )
        )
    if settings.worker == "off":
        found.append(warned("settings", "worker is off", "run `grantkeeper worker` somewhere, or tokens expire"))
    return found


async def check_installation(settings: Settings, clock: Clock | None = None) -> list[Finding]:
    """Database, keys and clock."""
    clock = clock or SystemClock()
    found = [_check_clock(_wall(clock))]
    root = _root_keyset(settings, found)
    where = "SQLite" if settings.database.startswith("sqlite:///") else "PostgreSQL"
    try:
        async with inspected(settings.database) as database:
            if database is None:
                path = settings.database.removeprefix("sqlite:///")
                found.append(failed("database", f"there is none at {path}", "run `grantkeeper init`"))
            else:
                found += [finding async for finding in _check_database(settings, database, root, clock)]
    except StorageError as error:
        found.append(failed("database", f"{where}: {error.message}", "start it, or correct database_url"))
    return found


def _wall(clock: Clock) -> Instant:
    """What the machine's own clock shows, which is what the operator can set."""
    return clock.wall() if isinstance(clock, SystemClock) else clock.now()


def _check_clock(now: Instant) -> Finding:
    if BUILT <= now <= BUILT + 50 * 365 * DAY:
        return ok("clock", "plausible")
    return failed("clock", "shows a time before this release, or far from now", "set it; run a time service (NTP)")


def _root_keyset(settings: Settings, found: list[Finding]) -> RootKeyset | None:
    given = settings.root_keyset.get_secret_value() if settings.root_keyset else None
    try:
        root = load_root_keyset(given, settings.keyset_path)
    except ConfigError as error:
        advice = "do what it says; never make a new keyset for an old database"
        found.append(failed("root keyset", error.message, advice))
        return None
    source = "the setting root_keyset" if given else str(settings.keyset_path)
    found.append(ok("root keyset", f"key {root.primary_key_id} of {len(root.key_ids)}, from {source}"))
    return root


async def _check_database(
    settings: Settings, database: Database, root: RootKeyset | None, clock: Clock
) -> AsyncIterator[Finding]:
    revision = await current_revision(database)
    try:
        current = check_revision(revision)
    except ConfigError as error:
        yield failed("database", error.message, "install the newer release")
        return
    if not current:
        yield _not_migrated(database, revision)
        return
    yield ok("database", f"{database.dialect}, schema {revision}")
    yield await _check_writing(database)
    for finding in _check_file(settings):
        yield finding
    if root is not None:
        yield await _check_fit(database, root)
    for finding in [*await _check_skew(database, clock), *await _check_note(database, clock)]:
        yield finding
    for finding in await _check_blocked(database):
        yield finding


def _not_migrated(database: Database, revision: str | None) -> Finding:
    found = f"has schema {revision or 'none'}; this release wants {known_revisions()[-1]}"
    if database.dialect == "sqlite":
        return warned("database", found, "nothing: the next start migrates it; back it up before")
    return failed("database", found, "run `grantkeeper migrate`")


async def _check_writing(database: Database) -> Finding:
    try:
        await check_writable(database)
    except StorageError as error:
        return failed("database", error.message, "free space, correct permissions, or end what locks it")
    return ok("database", "can be written")


def _check_file(settings: Settings) -> list[Finding]:
    path = Path(settings.database.removeprefix("sqlite:///"))
    if not settings.database.startswith("sqlite:///") or not (mode := path.stat().st_mode & 0o077):
        return []
    return [warned("database", f"others may read it (mode {0o600 | mode:04o})", f"run: chmod 600 {path}")]


async def _check_fit(database: Database, root: RootKeyset) -> Finding:
    try:
        await Vault(database, root).check()
    except ConfigError as error:
        return failed("root keyset", error.message, "restore it from the backup of this installation")
    return ok("root keyset", "fits the database")


async def _check_skew(database: Database, clock: Clock) -> list[Finding]:
    skew = await skew_of(database, lambda: _wall(clock))
    if skew is None:
        return []
    apart = abs(skew.ahead)
    found = f"{apart / SECOND:.1f} s apart from the database's"
    if apart <= SKEW_TOLERATED:
        return [ok("clock", found)]
    advice = "run a time service (NTP) on this machine, on the database's and on every replica's"
    return [(failed if apart > SKEW_HARMFUL else warned)("clock", found, advice)]


async def _check_note(database: Database, clock: Clock) -> list[Finding]:
    noted, now = await noted_clock(database), _wall(clock)
    if noted is None or noted - now <= BEHIND_TOLERATED:
        return []
    found = f"{(noted - now) / SECOND:.0f} s behind the time when this installation last ran"
    return [failed("clock", found, "set it; run a time service (NTP); restart what runs")]


async def _check_blocked(database: Database) -> list[Finding]:
    """Providers that are left alone: paused until the operator acts, or blocked while they do not answer."""
    found = []
    for state in await read_provider_states(database):
        if state.blocked_at is not None:
            name, paused = state.provider, state.must_act is MustAct.OPERATOR
            advice = (
                f"correct clients.{name} (id, secret, scopes), restart, then run `grantkeeper providers resume {name}`"
                if paused
                else "nothing: one connection tries it from time to time, and all go on once it answers"
            )
            told = f"{'paused' if paused else 'blocked'} since {when(state.blocked_at)}: {state.reason}"
            found.append(warned(name, told, advice))
    return found
