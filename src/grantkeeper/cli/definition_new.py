"""`grantkeeper providers new`: a definition out of what a server announces, or out of answers."""

from __future__ import annotations

import asyncio
import datetime
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import click

from grantkeeper.cli.exits import CommandFailed, ExitCode
from grantkeeper.cli.options import Options, pass_options

if TYPE_CHECKING:
    from grantkeeper.config import Settings
    from grantkeeper.oauth.message import Request, Response
    from grantkeeper.oauth.metadata import ServerMetadata

_COLOUR = "#475569"


@click.command("new", short_help="Write a definition.")
@click.argument("name", required=False)
@click.option("--issuer", metavar="URL", help="Take it from the metadata of this issuer.")
@click.option("--ask", is_flag=True, help="Ask for it.")
@click.option("--label", help="The name that people know.")
@click.option("--category", help="What it is about, such as accounting.")
@click.option("--stdout", "to_stdout", is_flag=True, help="Print it, also where `providers_dir` is set.")
@pass_options
def new(
    options: Options,
    name: str | None,
    issuer: str | None,
    ask: bool,
    label: str | None,
    category: str | None,
    to_stdout: bool,
) -> None:
    """Write a provider's definition, from what its issuer announces, or by asking.

    It goes into `providers_dir` as NAME.toml, or to standard output where that setting is not made. It is checked
    before it is written, and no file is ever overwritten. What to do next is said on standard error.
    """
    if ask == (issuer is not None):
        raise click.UsageError("Give --issuer URL, or --ask.")
    settings = options.settings()
    notes: list[str] = []
    if issuer is not None:
        name = name or _name_of(issuer)
        _must_be_free(_place(settings, name, to_stdout))
        tables, notes = _from_issuer(settings, issuer)
        about = {"label": label or name.replace("-", " ").title(), "category": [category or "other"]}
    else:
        from grantkeeper.cli.definition_questions import ask_about, ask_definition, ask_name

        name = ask_name(name)
        _must_be_free(_place(settings, name, to_stdout))
        about = ask_about(name, label, category)
        tables = ask_definition()
    text = _checked_text(name, about, tables)
    place = _place(settings, name, to_stdout)
    _write(place, text)
    _tell(options, settings, name, place, notes)


def _from_issuer(settings: Settings, issuer: str) -> tuple[dict[str, Any], list[str]]:
    from grantkeeper.discovery.draft import draft, remarks
    from grantkeeper.urls import issuer_problem

    if problem := issuer_problem(issuer):
        raise CommandFailed(f"--issuer: {problem}", ExitCode.USAGE)
    metadata, page = asyncio.run(_metadata(settings, issuer))
    # A link to the document that was read, and no other page.
    tables = {"verified": {"basis": "documentation", "page": page}} | draft(metadata)
    documentation = metadata.others.get("service_documentation")
    if isinstance(documentation, str):
        tables = {"docs_url": documentation} | tables
    return tables, list(remarks(metadata))


async def _metadata(settings: Settings, issuer: str) -> tuple[ServerMetadata, str]:
    """What the issuer announces, and where that stands; ProviderError."""
    from grantkeeper.clients import Wanted
    from grantkeeper.clock import SystemClock
    from grantkeeper.discovery.finder import Finder, found_in
    from grantkeeper.oauth.http import ProviderHttp

    http = ProviderHttp(
        settings.provider_timeout, allowed=settings.provider_networks, ca_file=settings.provider_ca_file
    )
    asked = _Asked(http.send)
    wanted = Wanted(issuer=issuer, resource=None)
    try:
        found = found_in(await Finder(asked, SystemClock()).find(wanted, None), wanted)
    finally:
        await http.close()
    assert found is not None
    assert found.metadata is not None
    return found.metadata, asked.last


class _Asked:
    """Sends requests, and knows the last one's URL: whoever finds a document asks for nothing more."""

    def __init__(self, send: Any) -> None:
        self._send = send
        self.last = ""

    async def plain(self, request: Request) -> Response:
        """The answer, or ProviderUnavailable."""
        self.last = request.url
        response: Response = await self._send(request)
        return response


def _name_of(issuer: str) -> str:
    """The part of the host that is most likely the provider's name."""
    labels = (urlsplit(issuer).hostname or "").split(".")
    word = labels[-2] if len(labels) > 1 and not labels[-1].isdigit() else labels[0]
    return re.sub(r"[^a-z0-9]+", "-", word.lower()).strip("-") or "provider"


def _checked_text(name: str, about: dict[str, Any], tables: dict[str, Any]) -> str:
    """The definition as TOML; CommandFailed with everything that is wrong with it."""
    from grantkeeper.catalogue.load import text_problems
    from grantkeeper.catalogue.writing import toml_text

    docs_url = tables.pop("docs_url", None)
    verified = tables.pop("verified", None) or (
        {"basis": "documentation", "page": docs_url} if docs_url else {"basis": "operator"}
    )
    document = {
        "schema": 1,
        "name": name,
        **about,
        **({"docs_url": docs_url} if docs_url else {}),
        "colour": _COLOUR,
        "verified": {**verified, "date": _today()},
        **tables,
    }
    text = toml_text(document)
    if problems := text_problems(name, text):
        lines = "\n".join(f"  - {problem}" for problem in problems)
        raise CommandFailed(f"This would be no definition; nothing was written.\n{lines}")
    return text


def _today() -> datetime.date:
    from grantkeeper.clock import SECOND, SystemClock

    return datetime.datetime.fromtimestamp(SystemClock().now() // SECOND, datetime.UTC).date()


def _place(settings: Settings, name: str, to_stdout: bool) -> Path | None:
    return None if to_stdout or settings.providers_dir is None else settings.providers_dir / f"{name}.toml"


def _must_be_free(place: Path | None) -> None:
    if place is not None and place.exists():
        raise CommandFailed(f"{place} is there already; nothing was written. Remove it first, or choose another name.")


def _write(place: Path | None, text: str) -> None:
    if place is None:
        click.echo(text, nl=False)
        return
    try:
        with place.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        _must_be_free(place)
    except OSError as error:
        raise CommandFailed(f"{place} cannot be written: {error.strerror}") from None


def _tell(options: Options, settings: Settings, name: str, place: Path | None, notes: list[str]) -> None:
    ours = " ".join(["grantkeeper", *options.repeated()])
    told = [
        f"Wrote {place}." if place else f"To use it, save it as {name}.toml in the directory that providers_dir names.",
        *notes,
        "",
        "Next:",
        "  1. Look it over: label, category, colour, the scopes and what they mean.",
        f"  2. Register an OAuth 2 client there, with the redirect URI {settings.public_url}/oauth/{name}/callback",
        f"  3. Put its client id and secret into the settings, [clients.{name}], and restart.",
        f"  4. {ours} providers check {name} --online",
    ]
    for line in told:
        click.echo(line, err=True)
