"""A Sphinx extension that writes the generated parts of the reference.

A page says where: a comment ``<!-- generated: settings -->`` becomes what :data:`PARTS` makes for
that name, in Markdown, before the page is parsed.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from pygments.lexers import PropertiesLexer  # type: ignore[import-untyped] # Pygments has no types

from docs.extension.commands import commands
from docs.extension.error_types import errors
from docs.extension.tables import metrics, settings

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from sphinx.application import Sphinx

PARTS: Mapping[str, Callable[[], str]] = {
    "commands": commands,
    "errors": errors,
    "metrics": metrics,
    "settings": settings,
}

_PLACE = re.compile(r"^<!-- generated: (\w+) -->$", re.MULTILINE)


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the extension with Sphinx."""
    app.connect("source-read", _fill)
    # Pygments has no name for a list of variables.
    app.add_lexer("env", PropertiesLexer)
    return {"parallel_read_safe": True}


def _fill(_: Sphinx, __: str, source: list[str]) -> None:
    source[0] = filled(source[0])


def filled(text: str) -> str:
    """Return *text* with every place for a generated part filled.

    Raises:
        KeyError: If a place names no part.
    """
    return _PLACE.sub(lambda place: PARTS[place[1]](), text)
