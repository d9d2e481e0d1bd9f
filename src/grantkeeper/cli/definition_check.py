"""`grantkeeper providers check`: are definitions right in themselves, and do their servers still agree."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from grantkeeper.cli.exits import CommandFailed, ExitCode
from grantkeeper.cli.options import Options, json_option, pass_options
from grantkeeper.cli.output import print_json, shown
from grantkeeper.errors import ConfigError
from grantkeeper.model import Record

if TYPE_CHECKING:
    from grantkeeper.catalogue.catalogue import Catalogue
    from grantkeeper.cli.definition_drift import Compared

_FEW = 12
"""So many are named one by one; of more only those are that have problems, or differences."""


class _Checked(Record, frozen=True):
    """What was looked at: the good ones, and the problems of the others by name."""

    catalogue: Catalogue
    good: list[str]
    problems: dict[str, list[str]]


@click.command("check", short_help="Check definitions, and what their servers announce.")
@click.argument("targets", nargs=-1, metavar="[FILE|DIRECTORY|NAME]…")
@click.option("--online", is_flag=True, help="Compare with the metadata that the issuers publish as well.")
@json_option
@pass_options
def check(options: Options, targets: tuple[str, ...], online: bool, as_json: bool) -> None:
    """Check provider definitions: yours in files, in directories, by name, or all that are known.

    Every problem of every file is told. With `--online` the metadata of each issuer are fetched, and each difference
    is a line: the key, what the definition says, what the server says. Ends in 1 where a definition has a problem, or
    says what its server contradicts; a server that does not answer, or publishes no metadata, contradicts nothing.
    """
    checked = _checked(options, targets)
    compared: dict[str, Compared] = {}
    if online:
        from grantkeeper.cli.definition_drift import compare_all

        compared = asyncio.run(compare_all(options.settings(), checked.catalogue, checked.good))
    if as_json:
        print_json([*_records(checked, compared)])
    else:
        for line in (*_problem_lines(checked), *_drift_lines(checked, compared), *_summary(checked, compared)):
            click.echo(shown(line))
    if checked.problems or any(one.bad for one in compared.values()):
        raise click.exceptions.Exit(ExitCode.FAILED)


def _checked(options: Options, targets: Sequence[str]) -> _Checked:
    from grantkeeper.catalogue.load import read_files

    files, names = _sorted(targets)
    found = read_files(files, options.settings().providers_dir)
    wanted = [*names, *(file.name.removesuffix(".toml") for file in files)] if targets else None
    everything = found.catalogue.names | found.problems.keys()
    if wanted is not None and (unknown := [name for name in wanted if name not in everything]):
        raise CommandFailed(
            f"There is no file, directory or provider {unknown[0]}; see `grantkeeper providers list`.",
            ExitCode.NOT_FOUND,
        )
    good: list[str] = []
    problems: dict[str, list[str]] = {}
    for name in sorted(everything) if wanted is None else dict.fromkeys(wanted):
        if bad := found.problems.get(name) or _unreadable(found.catalogue, name):
            problems[name] = bad
        else:
            good.append(name)
    return _Checked(catalogue=found.catalogue, good=good, problems=problems)


def _sorted(targets: Iterable[str]) -> tuple[list[Path], list[str]]:
    """The files and the names among what was asked for."""
    files: list[Path] = []
    names: list[str] = []
    for target in targets:
        path = Path(target)
        if path.is_dir():
            files += sorted(file for file in path.glob("*.toml") if not file.name.startswith("."))
        elif path.is_file() or path.suffix == ".toml":
            files.append(path)
        else:
            names.append(target)
    return files, names


def _unreadable(catalogue: Catalogue, name: str) -> list[str]:
    """The problems of a shipped definition, which has none unless somebody has changed it."""
    try:
        catalogue[name]
    except ConfigError as error:
        return error.problems
    return []


def _problem_lines(checked: _Checked) -> Iterator[str]:
    for problems in checked.problems.values():
        yield from problems
    if len(checked.good) <= _FEW:
        for name in checked.good:
            verified = checked.catalogue[name].verified
            page = f", {verified.page}" if verified.page else ""
            yield f"{name}: no problem; verified by {verified.basis}, {verified.date}{page}"


def _drift_lines(checked: _Checked, compared: Mapping[str, Compared]) -> Iterator[str]:
    for name, one in compared.items():
        for found in one.differences:
            weight = "differs" if found.wrong else "look at it"
            yield f"{name}: {found.key}: the definition says {found.ours}, the server {found.theirs} ({weight})"
        if one.reason is not None and (one.wrong or len(checked.good) <= _FEW):
            yield f"{name}: {one.reason}"
        elif not one.differences and one.reason is None and len(checked.good) <= _FEW:
            yield f"{name}: agrees with what its server announces"


def _summary(checked: _Checked, compared: Mapping[str, Compared]) -> Iterator[str]:
    total = len(checked.good) + len(checked.problems)
    bases = Counter(checked.catalogue[name].verified.basis for name in checked.good)
    counts = "".join(f", {bases[basis]} verified by {basis}" for basis in sorted(bases))
    yield f"{total} checked, {len(checked.problems)} with problems{counts}."
    if compared:
        asked = [one for one in compared.values() if one.reason is None or one.wrong]
        bad = sum(one.bad for one in asked)
        yield (
            f"{len(asked)} compared with their servers, {bad} contradicted; {len(compared) - len(asked)} have no "
            "issuer, publish nothing, or did not answer."
        )


def _records(checked: _Checked, compared: Mapping[str, Compared]) -> Iterator[dict[str, object]]:
    for name, problems in checked.problems.items():
        yield {"name": name, "problems": problems}
    for name in checked.good:
        verified = checked.catalogue[name].verified
        record: dict[str, object] = {"name": name, "problems": [], "verified": verified.model_dump(mode="json")}
        if (one := compared.get(name)) is not None:
            record["online"] = {"differences": one.differences, "reason": one.reason, "wrong": one.bad}
        yield record
