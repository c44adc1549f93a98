"""Every recipe runs as its reader would run it, and prints what it says that it prints."""

from __future__ import annotations

import ast
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from tests.environ import unmeasured
from tests.examples.commands import ROOT, SECONDS

RECIPES = sorted(
    path.stem for path in (ROOT / "examples" / "recipes").glob("*.py") if path.stem != "__init__"
)


def _docstring(name: str) -> str:
    source = (ROOT / "examples" / "recipes" / f"{name}.py").read_text("utf-8")
    return ast.get_docstring(ast.parse(source)) or ""


def _promised(docstring: str) -> str:
    _, _, block = docstring.partition("\nPrints::\n")
    return textwrap.dedent(block).strip()


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_prints_what_it_promises(name: str) -> None:
    promised = _promised(_docstring(name))
    assert promised, f"{name}.py promises no output: its docstring has no `Prints::` block"

    process = subprocess.run(
        [sys.executable, "-W", "error", "-m", f"examples.recipes.{name}"],
        cwd=ROOT,
        env=unmeasured("PLATFORM_HTTP_", "OTEL_", "PROMETHEUS_"),
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )

    assert process.returncode == 0, process.stderr
    assert process.stdout.strip() == promised
    assert "Traceback" not in process.stderr


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_says_which_part_of_the_guide_it_answers(name: str) -> None:
    assert any(line.startswith("Guide: ") for line in _docstring(name).splitlines())


def test_no_recipe_is_longer_than_one_screen_and_a_half() -> None:
    longer = {
        name: lines
        for name in RECIPES
        if (
            lines := len(
                Path(ROOT, "examples", "recipes", f"{name}.py").read_text("utf-8").splitlines()
            )
        )
        > 100
    }
    assert not longer
