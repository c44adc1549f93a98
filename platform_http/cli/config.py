"""``platform-http config``: what is configured, by whom, and what could be."""

from __future__ import annotations

import difflib
import io
import json
import sys
from pathlib import Path  # noqa: TC003 - typer reads the annotations
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from platform_http.errors import ConfigurationError
from platform_http.settings import HttpSettings
from platform_http.settings.environment import Environment
from platform_http.settings.listing import as_plain, as_text, listing
from platform_http.settings.variables import PREFIX, variables, without_secrets

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from platform_http.settings.listing import Listed

BEGIN = "<!-- settings:begin -->"
END = "<!-- settings:end -->"

_EXCLUSIVE = (
    ("--docs", "--schema"),
    ("--docs", "--json"),
    ("--docs", "--client"),
    ("--schema", "--json"),
    ("--schema", "--client"),
    ("--check", "--write"),
)

# Wider than any line: what goes to a file or a pipe is not folded.
_PIPE_WIDTH = 10_000


def config(
    client: Annotated[
        str | None, typer.Option(help="Show this client instead of all of them.")
    ] = None,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    docs: Annotated[
        bool, typer.Option("--docs", help="Print the table of all variables in Markdown.")
    ] = False,
    check: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            dir_okay=False,
            help="With --docs: fail if the table in this file is not up to date.",
        ),
    ] = None,
    write: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            dir_okay=False,
            help="With --docs: bring the table in this file up to date.",
        ),
    ] = None,
    schema: Annotated[
        bool, typer.Option("--schema", help="Print the JSON schema of the configuration.")
    ] = False,
) -> None:
    """Show the resolved settings of each client and where each value comes from.

    Exit codes: 0 success; 1 the table in the file is not up to date or has no place; 2 wrong usage
    or an invalid configuration.
    """
    _refuse_contradictions(
        {
            "--client": client is not None,
            "--json": as_json,
            "--docs": docs,
            "--check": check is not None,
            "--write": write is not None,
            "--schema": schema,
        }
    )
    if schema:
        typer.echo(json.dumps(Environment.model_json_schema(), indent=2))
    elif check:
        _check(check)
    elif write:
        write.write_text(_replaced(write, settings_table()), encoding="utf-8")
    elif docs:
        typer.echo(settings_table(), nl=False)
    else:
        _show(client, as_json=as_json)


def _refuse_contradictions(given: Mapping[str, bool]) -> None:
    """Exit with one line where an option that is *given* would be ignored beside another."""
    for one, other in _EXCLUSIVE:
        if given[one] and given[other]:
            typer.echo(f"{one} and {other} exclude each other; leave one of them out", err=True)
            raise typer.Exit(2)
    for option in ("--check", "--write"):
        if given[option] and not given["--docs"]:
            typer.echo(f"{option} goes with --docs; add it", err=True)
            raise typer.Exit(2)


def settings_table() -> str:
    """Return the table of all variables in Markdown, ending in a newline."""
    rows = ["| variable | type | default | meaning |", "|---|---|---|---|"]
    for variable in variables().values():
        default = as_text(without_secrets(variable.default))
        cells = (
            f"`{PREFIX}{variable.suffix}`",
            _as_markdown(variable.expects),
            f"`{default}`" if default else "not set",
            _as_markdown(variable.description),
        )
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows) + "\n"


def _as_markdown(text: str) -> str:
    return text.replace("|", r"\|").replace("*", r"\*")


def _check(file: Path) -> None:
    present = file.read_text(encoding="utf-8")
    difference = list(
        difflib.unified_diff(
            present.splitlines(),
            _replaced(file, settings_table()).splitlines(),
            f"{file} as it is",
            f"{file} as it should be",
            n=0,
            lineterm="",
        )
    )
    if difference:
        for line in difference[:40]:
            typer.echo(line, err=True)
        typer.echo(f"run: platform-http config --docs --write {file}", err=True)
        raise typer.Exit(1)


def _replaced(file: Path, table: str) -> str:
    """Return the text of *file* with *table* between the markers."""
    before, begin, rest = file.read_text(encoding="utf-8").partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        typer.echo(f"{file} has no block between {BEGIN} and {END}", err=True)
        raise typer.Exit(1)
    return f"{before}{BEGIN}\n\n{table}\n{END}{after}"


def _show(client: str | None, *, as_json: bool) -> None:
    try:
        settings = HttpSettings()
        names = ["default", *settings.client_names] if client is None else [client]
        shown = {settings.client(name).name: listing(settings, name) for name in names}
    except ConfigurationError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(2) from None
    for name in shown:
        if name not in {"default", *settings.client_names}:
            typer.echo(f"client {name} has no settings of its own, the defaults apply", err=True)
    if as_json:
        typer.echo(json.dumps({name: _as_json(rows) for name, rows in shown.items()}, indent=2))
    else:
        _print([_as_table(name, rows) for name, rows in shown.items()])


def _print(tables: Sequence[Table]) -> None:
    if sys.stdout.isatty():
        console = Console()
        for table in tables:
            console.print(table)
        return
    # Rich fills every line up to the width of its table.
    text = io.StringIO()
    console = Console(file=text, width=_PIPE_WIDTH, color_system=None)
    for table in tables:
        console.print(table)
    for line in text.getvalue().splitlines():
        typer.echo(line.rstrip())


def _as_json(rows: Iterable[Listed]) -> dict[str, dict[str, object]]:
    return {row.path: {"value": as_plain(row.value), "origin": row.origin} for row in rows}


def _as_table(client: str, rows: Iterable[Listed]) -> Table:
    table = Table(title=f"client {client}", title_justify="left", box=None, pad_edge=False)
    for heading in ("setting", "from", "value"):
        table.add_column(heading, overflow="fold")
    for row in rows:
        is_default = row.origin == "default"
        # As Text, because "[" in a value would start markup.
        cells = (Text(row.path), Text(row.origin), Text(as_text(row.value)))
        table.add_row(*cells, style="dim" if is_default else "bold")
    return table
