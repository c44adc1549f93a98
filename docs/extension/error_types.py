"""The tree of errors and the words of ``error.type``, from the classes."""

from __future__ import annotations

import importlib
import inspect
from typing import TYPE_CHECKING

from platform_http.errors import PlatformHttpError

if TYPE_CHECKING:
    from collections.abc import Iterator

# Those that have errors of their own.
_MODULES = ("platform_http.streaming", "platform_http.testing", "platform_http.websocket")


def errors() -> str:
    """Return the tree as text and a table of its classes, in Markdown."""
    for module in _MODULES:
        importlib.import_module(module)
    tree = ["```text", *_drawn(PlatformHttpError, "", ""), "```", ""]
    rows = ["| error | `error.type` | also | meaning |", "|---|---|---|---|"]
    for error in _below(PlatformHttpError):
        also = ", ".join(
            f"`{_name(base)}`"
            for base in error.__bases__
            if not issubclass(base, PlatformHttpError) and base is not Exception
        )
        meaning = (inspect.getdoc(error) or "").partition("\n")[0].replace("``", "`")
        rows.append(f"| `{error.__name__}` | `{error.error_type}` | {also} | {meaning} |")
    return "\n".join([*tree, *rows]) + "\n"


def _below(error: type[PlatformHttpError]) -> Iterator[type[PlatformHttpError]]:
    yield error
    for each in _children(error):
        yield from _below(each)


def _children(error: type[PlatformHttpError]) -> list[type[PlatformHttpError]]:
    # A subclass that a test or an application made is none of ours.
    return [
        each
        for each in error.__subclasses__()
        if each.__module__.partition(".")[0] == "platform_http"
        and not each.__name__.startswith("_")
    ]


def _drawn(error: type[PlatformHttpError], lead: str, below: str) -> Iterator[str]:
    foreign = [_name(base) for base in error.__bases__ if not issubclass(base, PlatformHttpError)]
    yield f"{lead}{error.__name__}" + (f"({', '.join(foreign)})" if foreign else "")
    children = _children(error)
    for child in children:
        is_last = child is children[-1]
        yield from _drawn(
            child, f"{below}{'└' if is_last else '├'} ", f"{below}{'  ' if is_last else '│ '}"
        )


def _name(error: type) -> str:
    module = error.__module__.partition(".")[0]
    return error.__name__ if module == "builtins" else f"{module}.{error.__name__}"
