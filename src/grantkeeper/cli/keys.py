"""`grantkeeper keys`: what proves to providers that we are who we say, and when each key is used."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, cast, get_args
from urllib.parse import urlsplit

import click

from grantkeeper.cli.exits import CommandFailed, ExitCode
from grantkeeper.cli.options import Options, json_option, pass_options
from grantkeeper.cli.output import print_json, print_table, timestamp, when
from grantkeeper.clock import DAY, HOUR, Instant
from grantkeeper.terms import SigningAlgorithm

if TYPE_CHECKING:
    from grantkeeper.app import Services
    from grantkeeper.storage.client_keys import ClientKey, Retired

ENDS_SOON = 30 * DAY
"""A certificate that ends sooner is worth a word."""

_TAKES_KID: dict[str, Any] = {"ignore_unknown_options": True, "help_option_names": ["--help"]}
"""A KID may begin with a hyphen: it is never taken for an option, nor `-h` for a call for help."""

_file = click.Path(path_type=Path, dir_okay=False, exists=True)


@click.group()
def keys() -> None:
    """Keys and certificates with which Grantkeeper proves itself to providers."""


@keys.command("create")
@click.option(
    "--algorithm",
    type=click.Choice(get_args(SigningAlgorithm)),
    default="ES256",
    show_default=True,
    help="What it signs with.",
)
@click.option(
    "--kms-key",
    metavar="NAME",
    help="Sign with this key in AWS KMS, which keeps it: its ARN, its id, or alias/NAME. Needs `grantkeeper[aws]`.",
)
@click.option(
    "--overlap",
    "hours",
    type=click.IntRange(0, 24 * 30),
    default=24,
    show_default=True,
    metavar="HOURS",
    help="How long it is published before it signs, where another signs now.",
)
@click.option("--now", is_flag=True, help="Sign with it at once, though providers may not know it yet.")
@json_option
@pass_options
def create(options: Options, algorithm: str, kms_key: str | None, hours: int, now: bool, as_json: bool) -> None:
    """Make a key to sign with. The first of an algorithm signs at once; a further one replaces it.

    A further one is published at once and signs after the overlap, when providers have fetched it. Then the one
    before it retires; it stays published for another 24 hours.
    """
    overlap = 0 if now else hours * HOUR

    async def work(services: Services) -> tuple[ClientKey, Instant]:
        key = await services.keys.create(cast(SigningAlgorithm, algorithm), kms_key=kms_key, overlap=overlap)
        return key, services.clock.now()

    key, at = options.run(work)
    if as_json:
        print_json(_record(key, at))
        return
    click.echo(key.kid)
    click.echo(f"Published at /.well-known/jwks.json; {_beginning(key, at, 'signs')}.", err=True)


@keys.command("list")
@json_option
@pass_options
def list_(options: Options, as_json: bool) -> None:
    """List keys and certificates that are used or still published; never the private keys."""

    async def work(services: Services) -> tuple[list[ClientKey], Instant]:
        return await services.keys.list_keys(), services.clock.now()

    found, now = options.run(work)
    if as_json:
        print_json([_record(key, now) for key in found])
        return
    print_table(
        ("For", "State", "Kept", "Used from", "Used until", "Published until", "Ends", "KID"),
        [
            (
                key.algorithm or f"certificate {key.name}",
                state(key, now),
                _kept(key),
                when(key.signs_from),
                when(key.retired_at),
                when(key.withdrawn_at),
                when(_ends(key)),
                key.kid,
            )
            for key in found
        ],
        "No keys yet; `grantkeeper keys create` makes one.",
    )


@keys.command("retire", context_settings=_TAKES_KID)
@click.argument("kid")
@click.option("--withdraw", is_flag=True, help="Unpublish it, too: it was stolen, and nobody is to trust it any more.")
@click.option("--force", is_flag=True, help="Even if nothing is left for its algorithm, or under its name.")
@pass_options
def retire(options: Options, kid: str, withdraw: bool, force: bool) -> None:
    """End the use of a key or certificate at once. A key that waits to replace it begins at once.

    Its private key is deleted. Running servers stop using it within 30 seconds. Unless withdrawn it stays published
    for 24 hours, so that what it signed just before is accepted.
    """

    async def work(services: Services) -> Retired:
        return await services.keys.retire(kid, withdraw=withdraw, force=force)

    outcome = options.run(work)
    if outcome == "unknown":
        raise CommandFailed(f"There is no key {kid}; see `grantkeeper keys list`.", ExitCode.NOT_FOUND)
    if outcome == "last":
        raise CommandFailed(f"Nothing would be left to do what {kid} does; make another first, or give --force.")
    click.echo(f"Retired {kid}{', and unpublished it' if withdraw else ''}.")


@keys.command("certificate", context_settings=_TAKES_KID)
@click.argument("kid")
@click.option(
    "--days", type=click.IntRange(1, 3650), default=730, show_default=True, metavar="DAYS", help="How long it is good."
)
@pass_options
def certificate(options: Options, kid: str, days: int) -> None:
    """Print a self-signed certificate of a key that signs, for a provider that wants one uploaded.

    Most providers fetch /.well-known/jwks.json instead. After each new key such a provider must be given another.
    """

    async def work(services: Services) -> str:
        name = urlsplit(services.settings.public_url).hostname or "grantkeeper"
        return await services.keys.certified(kid, name, days)

    click.echo(options.run(work), nl=False)


@keys.command("import-certificate")
@click.argument("name")
@click.option("--certificate", type=_file, required=True, help="The certificate and those that vouch for it, in PEM.")
@click.option("--key", "key_file", type=_file, required=True, help="Its private key in PEM, not encrypted.")
@click.option(
    "--overlap",
    "hours",
    type=click.IntRange(0, 24 * 30),
    default=0,
    show_default=True,
    metavar="HOURS",
    help="How long it is published before it replaces the one of that name; for self-signed ones.",
)
@json_option
@pass_options
def import_certificate(
    options: Options, name: str, certificate: Path, key_file: Path, hours: int, as_json: bool
) -> None:
    """Import a client certificate for mutual TLS; NAME is what settings call it. It replaces one of that name.

    Both files may be deleted afterwards: the private key is kept sealed.
    """
    chain, private_key = certificate.read_bytes(), key_file.read_bytes()

    async def work(services: Services) -> tuple[ClientKey, Instant]:
        key = await services.keys.import_certificate(name, chain, private_key, overlap=hours * HOUR)
        return key, services.clock.now()

    key, now = options.run(work)
    ends = _ends(key)
    if as_json:
        print_json(_record(key, now))
        return
    click.echo(key.kid)
    click.echo(f"It ends {when(ends)}; {_beginning(key, now, 'is used')}.", err=True)
    if ends is not None and ends - now < ENDS_SOON:
        click.echo(f"That is in {(ends - now) // DAY} days: get the next one soon.", err=True)


def state(key: ClientKey, now: Instant) -> str:
    """In one word, what a key does."""
    if not key.published(now):
        return "withdrawn"
    if key.retired(now):
        return "retired"
    return "in use" if key.in_use(now) else "waits"


def _beginning(key: ClientKey, now: Instant, verb: str) -> str:
    return f"{verb} from {when(key.signs_from)}" if key.signs_from > now else f"{verb} from now on"


def _kept(key: ClientKey) -> str:
    if key.kms_key is not None:
        return key.kms_key
    return "here" if key.sealed_key is not None else "nowhere"


def _ends(key: ClientKey) -> Instant | None:
    from grantkeeper.keys.certificates import not_after

    return not_after(key.chain) if key.chain is not None else None


def _record(key: ClientKey, now: Instant) -> dict[str, object]:
    return {
        "kid": key.kid,
        "kind": key.kind,
        "algorithm": key.algorithm,
        "name": key.name or None,
        "state": state(key, now),
        "kept": _kept(key),
        "created_at": timestamp(key.created_at),
        "used_from": timestamp(key.signs_from),
        "used_until": timestamp(key.retired_at),
        "published_until": timestamp(key.withdrawn_at),
        "ends_at": timestamp(_ends(key)),
    }
