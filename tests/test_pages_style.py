"""The style sheet: readable in both schemes."""

from __future__ import annotations

import re
from importlib.resources import files

import pytest

from grantkeeper.catalogue.logo import contrast

# Ink and the grounds it stands on.
TEXT = {
    "--ink": ("--ground", "--surface", "--good-ground", "--waiting-ground", "--bad-ground", "--code-ground"),
    "--quiet": ("--ground", "--surface", "--waiting-ground", "--bad-ground", "--code-ground"),
    "--accent": ("--ground", "--surface"),
    "--accent-strong": ("--ground", "--surface"),
    "--on-accent": ("--accent", "--accent-strong"),
    "--surface": ("--bad",),
    "--good": ("--ground", "--surface"),
    "--waiting": ("--ground", "--surface"),
    "--bad": ("--ground", "--surface"),
}
# What tells that something is a field or a button.
EDGES = {"--edge": ("--ground", "--surface")}


def schemes() -> dict[str, dict[str, str]]:
    """The colours by name, in each scheme."""
    sheet = files("grantkeeper.web").joinpath("static", "style.css").read_text("utf-8")
    light, dark = re.findall(r":root \{(.*?)\}", sheet, re.DOTALL)[:2]
    return {
        "light": dict(re.findall(r"(--[\w-]+): (#[0-9a-f]{6});", light)),
        "dark": dict(re.findall(r"(--[\w-]+): (#[0-9a-f]{6});", dark)),
    }


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_contrast(scheme: str) -> None:
    """Text stands out by 4.5 to 1 (WCAG 2.2 §1.4.3), edges by 3 to 1 (§1.4.11)."""
    colours = schemes()[scheme]
    for least, pairs in ((4.5, TEXT), (3.0, EDGES)):
        for ink, grounds in pairs.items():
            for ground in grounds:
                found = contrast(colours[ink], colours[ground])
                assert found >= least, f"{ink} on {ground}: {found:.2f}"


def test_both_schemes_have_every_colour() -> None:
    """No colour of the light scheme is left standing in the dark one."""
    assert schemes()["light"].keys() == schemes()["dark"].keys()
