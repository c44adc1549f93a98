"""``python -m dashboards.source --write`` makes the files, ``--check`` compares and judges them."""

from __future__ import annotations

import argparse
import json
import sys
from typing import TYPE_CHECKING

import yaml

from dashboards.source.artifacts import Artifacts
from dashboards.source.lint.board import Board, Finding, Set
from dashboards.source.lint.rules import judge_boards, judge_rule_files
from dashboards.source.promql import Vocabulary

if TYPE_CHECKING:
    from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None, artifacts: Artifacts | None = None) -> int:
    """Run the command and return its exit code: 1 if ``--check`` found anything.

    Args:
        arguments: What stands behind the name of the command; ``None`` takes those of the process.
        artifacts: The files; ``None`` takes those of this repository.
    """
    parser = argparse.ArgumentParser(prog="python -m dashboards.source", description=__doc__)
    action = parser.add_mutually_exclusive_group(required=True)
    action.add_argument(
        "--write", action="store_true", help="write the dashboards, and the copies in the chart"
    )
    action.add_argument(
        "--check", action="store_true", help="compare them with their sources, and judge them"
    )
    options = parser.parse_args(arguments)
    artifacts = artifacts or Artifacts()
    try:
        if options.write:
            for path in artifacts.write():
                sys.stdout.write(f"{path.relative_to(artifacts.root).as_posix()}\n")
            return 0
        found = [*artifacts.drift(), *map(str, findings(artifacts))]
    except (OSError, ValueError) as error:
        sys.stderr.write(f"cannot go on: {error}\n")
        return 1
    for line in found:
        sys.stderr.write(f"{line}\n")
    if found:
        sys.stderr.write(f"{len(found)} problems; `make dashboards` writes the files anew\n")
    return 1 if found else 0


def findings(artifacts: Artifacts) -> list[Finding]:
    """Return what the linter has against the dashboards and rules that lie in the folders."""
    vocabulary = Vocabulary.of_library().with_rules(artifacts.rule_files)
    boards = tuple(
        Board(path.stem, json.loads(path.read_text(encoding="utf-8")))
        for path in sorted(artifacts.dashboards.glob("*.json"))
    )
    rules = {
        path.name: yaml.safe_load(path.read_text(encoding="utf-8")) for path in artifacts.rule_files
    }
    return [*judge_boards(Set(boards, vocabulary)), *judge_rule_files(rules, vocabulary)]


if __name__ == "__main__":
    sys.exit(main())
