"""SECURITY.md promises what tests show, and names tests and settings that exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from platform_http.settings.variables import variables

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
QUOTED = re.findall(r"`([^`\n]+)`", TEXT)
TESTS = [each for each in QUOTED if each.startswith("tests/")]


@pytest.mark.parametrize("reference", TESTS)
def test_every_test_that_it_names_exists(reference: str) -> None:
    path, _, name = reference.partition("::")
    source = (ROOT / path).read_text(encoding="utf-8")
    assert re.search(rf"def {name}\(" if name else r"^ *(async )?def ", source, re.MULTILINE)


def test_every_promise_names_a_test() -> None:
    promises = TEXT.partition("## Promises")[2].partition("\n## ")[0]
    items = re.split(r"^- ", promises, flags=re.MULTILINE)[1:]
    assert len(items) > 20
    assert not [item for item in items if "`tests/" not in item]


def test_every_known_leak_is_listed() -> None:
    source = (ROOT / "tests/security/test_known_leaks.py").read_text(encoding="utf-8")
    leaks = re.findall(r"^async def test_", source, re.MULTILINE)
    listed = TEXT.partition("Told in spite of us")[2].partition("And beyond")[0]
    # One more: captured headers are recorded because somebody asked for them.
    assert listed.count("\n- ") == len(leaks) + 1


def test_every_setting_that_it_names_exists() -> None:
    known = {name.upper().replace(".", "__") for name in variables()}
    named = {each.partition("=")[0] for each in QUOTED if re.match(r"[A-Z]+__[A-Z_]+\b", each)}
    assert named
    assert named <= known
