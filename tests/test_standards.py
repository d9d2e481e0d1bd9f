"""docs/standards.md: every line names tests that exist, and no standard that the source follows is missing."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "standards.md").read_text("utf-8")
ROWS = [line for line in PAGE.splitlines() if line.startswith("| ") and not line.startswith("| standard |")]
PROTOCOL = ("oauth", "authorize", "clients", "discovery", "keys")
REGISTRIES = ROOT / "src" / "grantkeeper" / "oauth" / "address.py"
_TEST = re.compile(r"`(tests/[a-z_/]+\.py)::([A-Za-z0-9_]+)`")


def defined(path: str) -> set[str]:
    """The tests of a file."""
    tree = ast.parse((ROOT / path).read_text("utf-8"))
    functions = (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
    return {function.name for function in functions if function.name.startswith("test_")}


def test_the_page_has_its_rows() -> None:
    """What is checked below is there to be checked."""
    assert len(ROWS) >= 35


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.split("|")[1].strip())
def test_a_row_names_tests_that_exist(row: str) -> None:
    """Standard, what is supported, and at least one test, each of which is in the file that is named."""
    cells = row.strip("|").split("|")
    assert len(cells) == 3
    assert all(cell.strip() for cell in cells)
    named = _TEST.findall(cells[2])
    assert named
    assert not _TEST.sub("", cells[2]).strip()
    for path, name in named:
        assert name in defined(path), f"{path} has no {name}"


def test_no_standard_of_the_source_is_missing() -> None:
    """Whatever RFC the protocol's code goes by stands on the page."""
    cited: set[str] = set()
    for package in PROTOCOL:
        for file in (ROOT / "src" / "grantkeeper" / package).rglob("*.py"):
            if file != REGISTRIES:
                cited |= set(re.findall(r"RFC (\d{4})", file.read_text("utf-8")))
    assert len(cited) >= 20
    assert cited - set(re.findall(r"RFC (\d{4})", PAGE)) == set()
