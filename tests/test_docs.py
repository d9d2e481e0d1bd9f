"""The pages of docs/ are current and complete: those that are written from the code, and what others say of it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, cast

import click
import pytest
from pydantic.fields import FieldInfo

from grantkeeper.cli.command import grantkeeper
from grantkeeper.cli.exits import ExitCode
from grantkeeper.cli.reference import cli_reference, commands, settings_reference
from grantkeeper.cli.settings_file import settings_template
from grantkeeper.config import ClientSettings, Settings, load_settings
from grantkeeper.testing import FakeClock
from grantkeeper.web.metrics import Metrics

if TYPE_CHECKING:
    from grantkeeper.storage.refreshes import RefreshStore

DOCS = Path(__file__).parents[1] / "docs"
COMMANDS = dict(commands())
SETTINGS = {
    **{("", name): field for name, field in Settings.model_fields.items()},
    **{("CLIENTS__NAME__", name): field for name, field in ClientSettings.model_fields.items()},
}
OTHER_WORDS = {"invalid_client", "unauthorized_client", "invalid_scope", "handed_over"}
"""What docs/operations.md writes as it writes a setting."""
REWRITE = "run: python -m grantkeeper.cli.reference docs"


def section(path: str) -> str:
    """What docs/cli.md says of one command."""
    text = (DOCS / "cli.md").read_text("utf-8")
    _, heading, rest = text.partition(f"## `{path}`\n")
    assert heading, f"docs/cli.md has no section for {path}; {REWRITE}"
    return rest.partition("\n## ")[0]


def options(command: click.Command) -> list[click.Option]:
    """The options that a command knows."""
    return [parameter for parameter in command.params if isinstance(parameter, click.Option)]


class TestCommandLine:
    """docs/cli.md."""

    def test_is_current(self) -> None:
        """The page is what the code says today."""
        assert (DOCS / "cli.md").read_text("utf-8") == cli_reference(), REWRITE

    @pytest.mark.parametrize("path", COMMANDS)
    def test_command(self, path: str) -> None:
        """Every command stands there with what it does and each of its options, explained."""
        text = section(path)
        assert COMMANDS[path].help
        for option in options(COMMANDS[path]):
            row = re.search(rf"^\| `[^`]*{re.escape(option.opts[0])}\b[^`]*` \| (.+) \|$", text, re.MULTILINE)
            assert row, f"{path} {option.opts[0]} is not documented"
            assert len(row[1].split()) > 1

    def test_options_of_every_command(self) -> None:
        """So do the options before the command's name."""
        for option in options(grantkeeper):
            assert f"| `{option.opts[0]}" in (DOCS / "cli.md").read_text("utf-8")

    @pytest.mark.parametrize("code", ExitCode)
    def test_exit_code(self, code: ExitCode) -> None:
        """Every exit code stands there with its meaning."""
        assert f"| {code.value} | {code.meaning} |" in (DOCS / "cli.md").read_text("utf-8")


class TestSettings:
    """docs/settings.md, and the file that `init` writes."""

    def test_is_current(self) -> None:
        """The page is what the code says today."""
        assert (DOCS / "settings.md").read_text("utf-8") == settings_reference(), REWRITE

    @pytest.mark.parametrize(("key", "field"), SETTINGS.items(), ids=[f"{t}{n}" for t, n in SETTINGS])
    def test_setting(self, key: tuple[str, str], field: FieldInfo) -> None:
        """Every setting stands there with its environment variable, a default and its description."""
        table, name = key
        variable = f"GRANTKEEPER_{table}{name.upper()}"
        row = re.search(
            rf"^\| `{name}` \| `{variable}` \| (.+?) \| (.+) \|$",
            (DOCS / "settings.md").read_text("utf-8"),
            re.MULTILINE,
        )
        assert row, f"{name} is not documented; {REWRITE}"
        assert field.description
        assert row[2].startswith(field.description)

    def test_template_changes_nothing(self, tmp_path: Path) -> None:
        """The file as `init` writes it leaves every setting at its default."""
        file = tmp_path / "grantkeeper.toml"
        file.write_text(settings_template(), "utf-8")
        assert load_settings({}, file) == load_settings({}, None)

    def test_template_without_comment_signs(self, tmp_path: Path) -> None:
        """Every line of it can be taken into use as it stands."""
        file = tmp_path / "grantkeeper.toml"
        lines = [line.removeprefix("# ") for line in settings_template().splitlines()]
        assignment = re.compile(r"[a-z_]+ = |\[")
        file.write_text("\n".join(line for line in lines if assignment.match(line)), "utf-8")
        settings = load_settings({}, file)
        assert settings.model_fields_set >= set(Settings.model_fields) - {"root_keyset"}


class TestOperations:
    """docs/operations.md."""

    text = (DOCS / "operations.md").read_text("utf-8")

    def test_commands(self) -> None:
        """Every command that it shows exists, with the options that it gives it."""
        blocks = re.findall(r"^```\n(.*?)^```", self.text, re.MULTILINE | re.DOTALL)
        shown = [line for line in "".join(blocks).splitlines() if line.startswith("grantkeeper ")]
        assert len(shown) >= 9
        for line in shown:
            path = max((path for path in COMMANDS if line.startswith(path)), key=len)
            known = {name for option in options(COMMANDS[path]) for name in option.opts}
            assert {word for word in line.split() if word.startswith("--")} <= known, line

    def test_metrics(self) -> None:
        """Every metric stands there with its labels, its type and a meaning, and every outcome with its own."""
        metrics = Metrics(cast("RefreshStore", None), lambda: 0, ["demo"], FakeClock(), "a-token-for-nobody")
        registered = list(metrics.registry.collect())
        assert len(registered) == 6
        for metric in registered:
            name = f"{metric.name}_total" if metric.type == "counter" else metric.name
            row = re.search(rf"^\| `{name}({{[a-z_,]+}})?` \| {metric.type} \| (.+) \|$", self.text, re.MULTILINE)
            assert row, f"{name} is not documented"
        samples = [sample for metric in registered for sample in metric.samples]
        outcomes = {sample.labels["outcome"] for sample in samples if "outcome" in sample.labels}
        assert len(outcomes) == 10
        for outcome in outcomes:
            assert re.search(rf"^\| `{outcome}` \| .+ \|$", self.text, re.MULTILINE), outcome

    def test_settings(self) -> None:
        """It names settings that there are."""
        for name in re.findall(r"`([a-z]+_[a-z]+)`", self.text):
            assert name in {*Settings.model_fields, *OTHER_WORDS}, name
