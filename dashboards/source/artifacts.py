"""The files that are made from others: dashboards from Python, and their copies in the chart."""

from __future__ import annotations

import difflib
import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from dashboards.source.boards import BOARDS, text

if TYPE_CHECKING:
    from collections.abc import Iterator

REPOSITORY: Final = Path(__file__).resolve().parents[2]
RULE_FILES: Final = ("recording.yaml", "alerts.yaml")
_MOST_LINES: Final = 12


@dataclass(frozen=True, slots=True)
class Artifacts:
    """Where the files are.

    Attributes:
        root: Folder that holds ``dashboards`` and ``charts``.
    """

    root: Path = REPOSITORY

    @property
    def dashboards(self) -> Path:
        """Folder of the dashboards."""
        return self.root / "dashboards" / "grafana"

    @property
    def rules(self) -> Path:
        """Folder of the Prometheus rules, which are written by hand."""
        return self.root / "dashboards" / "prometheus"

    @property
    def rule_files(self) -> tuple[Path, ...]:
        """The rule files."""
        return tuple(self.rules / name for name in RULE_FILES)

    def expected(self) -> dict[Path, str]:
        """Return what each generated file has to hold.

        Raises:
            OSError: If a rule file cannot be read.
        """
        copies = self.root / "charts" / "platform-http-demo" / "files"
        content: dict[Path, str] = {}
        for name, build in BOARDS.items():
            written = text(build())
            content[self.dashboards / f"{name}.json"] = written
            content[copies / "dashboards" / f"{name}.json"] = written
        for path in self.rule_files:
            content[copies / "rules" / path.name] = path.read_text(encoding="utf-8")
        return content

    def write(self) -> list[Path]:
        """Write what is not as expected, delete what has no source, and return what changed."""
        changed = []
        expected = self.expected()
        for path, content in expected.items():
            if _content(path) != content:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(content, encoding="utf-8")
                changed.append(path)
        for path in self._leftovers(expected):
            path.unlink()
            changed.append(path)
        return changed

    def drift(self) -> Iterator[str]:
        """Yield a summary of the difference for each file that is not as expected."""
        expected = self.expected()
        for path, content in expected.items():
            name = path.relative_to(self.root).as_posix()
            found = _content(path)
            if found is None:
                yield f"{name} is missing"
            elif found != content:
                yield f"{name} differs from its source:\n{_difference(found, content)}"
        for path in self._leftovers(expected):
            yield f"{path.relative_to(self.root).as_posix()} has no source"

    def _leftovers(self, expected: dict[Path, str]) -> list[Path]:
        folders = {path.parent for path in expected}
        return sorted(
            path
            for folder in folders
            for path in folder.glob("*")
            if path.suffix in {".json", ".yaml"} and path not in expected
        )


def _content(path: Path) -> str | None:
    try:
        # Bytes first: a copy is exact, its line ends included.
        return path.read_bytes().decode("utf-8")
    except FileNotFoundError:
        return None


def _difference(found: str, expected: str) -> str:
    """Return the first changed lines, those of the file with -, those of its source with +."""
    lines = difflib.unified_diff(found.splitlines(), expected.splitlines(), n=0, lineterm="")
    changed = [line for line in itertools.islice(lines, 2, None) if not line.startswith("@@")]
    summary = [f"  {line[:160]}" for line in changed[:_MOST_LINES]]
    if len(changed) > _MOST_LINES:
        summary.append(f"  … and {len(changed) - _MOST_LINES} more lines")
    return "\n".join(summary or ["  only its line ends differ"])
