"""The code blocks of a Markdown page, with what a comment in front of them says."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("**/*.md"))]

# A comment, then at most one empty line, then the fence. Fences in lists are indented.
_BLOCK = re.compile(
    r"(?:^[ ]*<!-- (?P<comment>[^\n]*?) -->\n\n?)?"
    r"^(?P<indent>[ ]*)(?P<fence>`{3,}|:{3,})(?P<language>[^\n`]*)\n"
    r"(?P<text>.*?)"
    r"^(?P=indent)(?P=fence)[ ]*$",
    re.DOTALL | re.MULTILINE,
)


@dataclass(frozen=True)
class Block:
    """One code block.

    Args:
        language: What stands behind the fence, empty for nothing.
        text: What is inside, without the indentation of the fence.
        comment: What the HTML comment right before it says, empty for none.
        line: Number of its first line in the page.
    """

    language: str
    text: str
    comment: str
    line: int

    @property
    def not_run(self) -> str:
        """Why it is not run; empty where it is."""
        word, _, reason = self.comment.partition(":")
        return reason.strip() if word == "not run" else ""


def blocks(text: str) -> list[Block]:
    """Return the code blocks of the page *text*, in order."""
    return [
        Block(
            language=found["language"].strip(),
            text=re.sub(f"^{found['indent']}", "", found["text"], flags=re.MULTILINE),
            comment=found["comment"] or "",
            line=text.count("\n", 0, found.start("fence")) + 2,
        )
        for found in _BLOCK.finditer(text)
    ]


def name_of(page: Path) -> str:
    """Return *page* as its path below the repository."""
    return page.relative_to(ROOT).as_posix()
