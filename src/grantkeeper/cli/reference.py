"""docs/cli.md and docs/settings.md, written from the code: `python -m grantkeeper.cli.reference docs`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import click

from grantkeeper.cli.command import grantkeeper
from grantkeeper.cli.exits import ExitCode
from grantkeeper.cli.settings_file import settings_tables

_CLI = """\
# The command line

Written from the code by `python -m grantkeeper.cli.reference docs`; change it there.

`grantkeeper COMMAND --help` says the same as this page. `python -m grantkeeper` is the same command.

- `--config` and `--data-dir` may stand before every command's name, and behind `init`, `serve`, `demo`,
  `worker`, `migrate` and `doctor` as well; what stands behind wins.
- With `--json` standard output holds nothing but JSON, on one line: an object, or an array of objects. Its
  times are UTC, ISO 8601. Without it output is for people, and may change.
- Errors and logs go to standard error. Logs are one JSON object a line.
- A password is never an option: it would stand in the list of processes. It is asked for, or read with
  `--password-stdin`; where neither is possible one is made up and shown once.
- USER is an e-mail address or a UUID. Secrets are shown only by the command that creates them.
- Commands work on the database themselves, and may be used while the service runs. A running service sees
  their changes at once; a revoked token, within a second; keys, within 30 seconds.

## Exit codes
"""

_SETTINGS = """\
# Settings

Written from the code by `python -m grantkeeper.cli.reference docs`; the descriptions stand in `config.py`.

A setting comes from the first of these that has it: an option of the command, the environment, the settings
file, the default. The file is `grantkeeper.toml` in the data directory, or the one that `--config` or
`GRANTKEEPER_CONFIG` names; `grantkeeper init` writes one. In the environment a setting's name is in capitals
with `GRANTKEEPER_` before it, and `__` steps into a table: `GRANTKEEPER_CLIENTS__XERO__CLIENT_ID`. Lists are
TOML arrays, or words with commas between them.

The secrets `database_url`, `root_keyset`, `metrics_token` and `client_secret` may be given as a file instead,
such as one that a secret store mounts: the same name with `_file` at its end in the settings file, with `_FILE`
in the environment (`GRANTKEEPER_DATABASE_URL_FILE`).

Every problem is reported in one go: unknown names, with the nearest known one, and values that cannot be.
`grantkeeper doctor` looks at the rest.

## The settings

"""


def cli_reference() -> str:
    """docs/cli.md."""
    codes = [f"| {code.value} | {code.meaning} |" for code in ExitCode]
    parts = [_CLI + "\n| code | meaning |\n|---|---|\n" + "\n".join(codes) + "\n"]
    parts.append("## Options of every command\n\n" + "\n".join(_options(grantkeeper)) + "\n")
    parts += [_section(path, command) for path, command in commands()]
    return "\n".join(parts)


def settings_reference() -> str:
    """docs/settings.md."""
    return _SETTINGS + settings_tables() + "\n"


def commands() -> Iterator[tuple[str, click.Command]]:
    """Every command that does something, by what one types."""
    yield from _below("grantkeeper", grantkeeper)


def _below(path: str, command: click.Command) -> Iterator[tuple[str, click.Command]]:
    if not isinstance(command, click.Group):
        yield path, command
        return
    context = click.Context(command)
    for name in command.list_commands(context):
        yield from _below(f"{path} {name}", command.commands[name])


def _section(path: str, command: click.Command) -> str:
    usage = " ".join([path, *command.collect_usage_pieces(click.Context(command))])
    # As click does: a paragraph's lines are one line, to be broken by whoever shows it.
    paragraphs = [" ".join(part.split()) for part in (command.help or "").split("\n\n")]
    text = "\n\n".join([f"## `{path}`", f"    {usage}", *paragraphs])
    options = "\n".join(_options(command))
    return f"{text}\n\n{options}\n" if options else f"{text}\n"


def _options(command: click.Command) -> Iterator[str]:
    context = click.Context(command)
    options = [parameter for parameter in command.params if isinstance(parameter, click.Option)]
    if not options:
        return
    yield "| option | meaning |"
    yield "|---|---|"
    for option in options:
        record = option.get_help_record(context)
        if record is not None:
            names, meaning = (text.replace("|", "\\|") for text in record)
            yield f"| `{names}` | {meaning.strip()} |"


def main(folder: Path) -> None:
    """Write both pages into `folder`."""
    (folder / "cli.md").write_text(cli_reference(), "utf-8")
    (folder / "settings.md").write_text(settings_reference(), "utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
