"""The help of every command of ``platform-http``, as the command prints it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer
from typer.core import TyperGroup
from typer.testing import CliRunner

from platform_http.cli import build_app

if TYPE_CHECKING:
    from collections.abc import Iterator

_WIDTH = 90


def commands() -> str:
    """Return one section per command in Markdown."""
    app = _plain(build_app())
    runner = CliRunner()
    parts = []
    for path in paths():
        arguments = [*path[1:], "--help"]
        shown = runner.invoke(app, arguments, prog_name=path[0], terminal_width=_WIDTH)
        if shown.exit_code:
            raise RuntimeError(f"{' '.join(path)} --help exits with {shown.exit_code}")
        parts.append(f"## {' '.join(path)}\n\n```text\n{shown.stdout.strip()}\n```\n")
    return "\n".join(parts)


def paths() -> list[tuple[str, ...]]:
    """Return every command as the words that call it, the program's name first."""
    return list(_below(typer.main.get_group(build_app()), ("platform-http",)))


def _below(command: object, path: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    yield path
    if isinstance(command, TyperGroup):
        for name, inner in command.commands.items():
            yield from _below(inner, (*path, name))


def _plain(app: typer.Typer) -> typer.Typer:
    """Return *app* without boxes and colours around its help."""
    app.rich_markup_mode = None
    for inner in app.registered_groups:
        if inner.typer_instance is not None:
            _plain(inner.typer_instance)
    return app
