"""HTML whose text is escaped by construction."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

_VOID: Final = frozenset({"meta"})
_UNPRINTABLE: Final = "\N{REPLACEMENT CHARACTER}"


class Html(str):
    """Markup that is complete; every other text is escaped where it is put into some."""

    __slots__ = ()


def tag(name: str, /, *children: str, **attributes: str | bool) -> Html:
    """Return an element.

    Args:
        name: Of the element.
        *children: Markup, and text that is escaped.
        **attributes: By name, ``_`` for ``-`` and a trailing one for a word that Python keeps;
            ``True`` has no value, and ``False`` leaves it out.
    """
    written = "".join(
        f" {key.rstrip('_').replace('_', '-')}"
        + ("" if value is True else f'="{_escaped(str(value))}"')
        for key, value in attributes.items()
        if value is not False
    )
    if name in _VOID:
        return Html(f"<{name}{written}>")
    return Html(f"<{name}{written}>{joined(children)}</{name}>")


def joined(children: Iterable[str]) -> Html:
    """Return *children* side by side; those that are no markup are escaped."""
    return Html(
        "".join(child if isinstance(child, Html) else _escaped(child) for child in children)
    )


def _escaped(text: str) -> str:
    # Half of a surrogate pair cannot be sent, and an override of the writing direction lies.
    shown = "".join(each if each.isprintable() else _UNPRINTABLE for each in text)
    return html.escape(shown)
