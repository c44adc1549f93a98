"""Writes the generated parts of the chart, or says that they are not up to date."""

from __future__ import annotations

import argparse
import difflib
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

import yaml

from charts.source.policies import is_policy_definition, policies
from charts.source.values_table import values_table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from charts.source.policies import Schema

CHART: Final = Path(__file__).parents[1] / "platform-http-demo"

_BEGIN: Final = "<!-- values:begin -->"
_END: Final = "<!-- values:end -->"
_LINES_SHOWN: Final = 40


def main(arguments: Sequence[str] | None = None) -> int:
    """Return 0, or with ``--check`` 1 if a generated part is not up to date."""
    parser = argparse.ArgumentParser(prog="python -m charts.source", description=__doc__)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--write", action="store_true", help="bring them up to date")
    what.add_argument("--check", action="store_true", help="fail if they are not up to date")
    parser.add_argument("--chart", type=Path, default=CHART, help="folder of the chart")
    options = parser.parse_args(arguments)
    status = 0
    for path, text in documents(options.chart).items():
        present = path.read_text(encoding="utf-8")
        if options.write:
            path.write_text(text, encoding="utf-8")
        elif present != text:
            _show_difference(present, text, path.name)
            status = 1
    if status:
        sys.stderr.write("run: python -m charts.source --write\n")
    return status


def documents(chart: Path) -> dict[Path, str]:
    """Return the text that each document of *chart* should have.

    Raises:
        ValueError: If the README has no place for the table, or a value no description.
    """
    schema_file, readme = chart / "values.schema.json", chart / "README.md"
    schema: Schema = json.loads(schema_file.read_text(encoding="utf-8"))
    by_hand = {
        name: each for name, each in schema["$defs"].items() if not is_policy_definition(name)
    }
    schema["$defs"] = by_hand | policies()
    values = yaml.safe_load((chart / "values.yaml").read_text(encoding="utf-8"))
    before, begin, rest = readme.read_text(encoding="utf-8").partition(_BEGIN)
    _, end, after = rest.partition(_END)
    if not (begin and end):
        raise ValueError(f"{readme.name} has no block between {_BEGIN} and {_END}")
    table = values_table(schema, values)
    return {
        schema_file: json.dumps(schema, indent=2, ensure_ascii=False) + "\n",
        readme: f"{before}{_BEGIN}\n\n{table}\n{_END}{after}",
    }


def _show_difference(present: str, text: str, name: str) -> None:
    lines = difflib.unified_diff(
        present.splitlines(),
        text.splitlines(),
        f"{name} as it is",
        f"{name} as it should be",
        n=0,
        lineterm="",
    )
    for line in list(lines)[:_LINES_SHOWN]:
        sys.stderr.write(f"{line}\n")


if __name__ == "__main__":
    sys.exit(main())
