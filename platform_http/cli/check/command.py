"""The command line of ``platform-http check``."""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from platform_http.cli.unwaited import UnwaitedThreads
from platform_http.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from platform_http.cli.check.report import Item, Report
    from platform_http.settings import HttpSettings

# What goes to a file or a pipe is not folded.
_PIPE_WIDTH = 1000

_STYLES = {"ok": "green", "warning": "yellow", "failure": "bold red"}


def check(
    *,
    client: Annotated[
        str | None, typer.Option(help="Check this client instead of all of them.")
    ] = None,
    timeout: Annotated[
        float, typer.Option(min=0.1, metavar="SECONDS", help="What each client may take.")
    ] = 5.0,
    send: Annotated[
        bool, typer.Option("--send", help="Send HEAD to each BASE_URL as well.")
    ] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Fail on warnings too.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    schema: Annotated[
        bool, typer.Option("--schema", help="Print the JSON Schema of --json.")
    ] = False,
) -> None:
    """Check installation, settings, and the way to each client's BASE_URL.

    Connections are opened as the client's calls would open them, and closed again; nothing is sent
    on them without --send.

    Exit codes: 0 all is well, or there are only warnings; 1 a failure, with --strict a warning
    too; 2 wrong usage or an invalid configuration.
    """
    if schema:
        from platform_http.cli.check.report import Report  # noqa: PLC0415 - takes its time

        typer.echo(json.dumps(Report.model_json_schema(), indent=2))
        return
    report = _checked(client, seconds=timeout, send=send)
    if as_json:
        typer.echo(json.dumps(report.model_dump(mode="json"), indent=2))
    else:
        _print(report)
    if report.violations:
        raise typer.Exit(2)
    if report.status == "failure" or (strict and report.status == "warning"):
        raise typer.Exit(1)


def _checked(client: str | None, *, seconds: float, send: bool) -> Report:
    from platform_http.cli.check.installation import installation  # noqa: PLC0415 - takes its time
    from platform_http.cli.check.report import Report  # noqa: PLC0415 - as above
    from platform_http.settings import HttpSettings  # noqa: PLC0415 - as above

    items = list(installation())
    try:
        settings = HttpSettings()
        names = ["default", *settings.client_names] if client is None else [client]
        names = list(dict.fromkeys(settings.client(name).name for name in names))
        if names[0] not in {"default", *settings.client_names}:
            typer.echo(
                f"client {names[0]} has no settings of its own, the defaults apply", err=True
            )
        items += asyncio.run(_clients(settings, names, seconds=seconds, send=send))
    except ConfigurationError as error:
        return Report.of(items, list(error.violations))
    return Report.of(items, [])


async def _clients(
    settings: HttpSettings, names: Sequence[str], *, seconds: float, send: bool
) -> list[Item]:
    from prometheus_client import CollectorRegistry  # noqa: PLC0415 - takes its time

    from platform_http.cli.check.client import ClientCheck  # noqa: PLC0415 - as above
    from platform_http.factory import SessionFactory  # noqa: PLC0415 - as above

    asyncio.get_running_loop().set_default_executor(UnwaitedThreads())
    # Everything that it would say is an item.
    logging.getLogger("platform_http").addHandler(logging.NullHandler())
    async with SessionFactory(settings, registry=CollectorRegistry()) as factory:
        found = await asyncio.gather(
            *(
                ClientCheck(
                    settings.client(name),
                    lambda name=name: factory.session(name),  # type: ignore[misc] # bound early
                    seconds=seconds,
                    send=send,
                ).run()
                for name in names
            )
        )
    return [item for items in found for item in items]


def _print(report: Report) -> None:
    is_terminal = sys.stdout.isatty()
    console = Console(width=None if is_terminal else _PIPE_WIDTH, highlight=False)
    table = Table(box=None, show_header=False, pad_edge=False)
    for _ in range(4):
        # On a narrow terminal nothing is cut off.
        table.add_column(overflow="fold")
    for item in report.items:
        # As Text, because "[" in a message would start markup.
        detail = Text(item.detail)
        if item.remedy is not None:
            detail.append(f"; {item.remedy}", style="bold")
        table.add_row(
            Text(item.status, style=_STYLES[item.status]), item.client or "", item.name, detail
        )
    with console.capture() as captured:
        console.print(table)
        for violation in report.violations:
            console.print(Text(f"invalid: {violation}", style=_STYLES["failure"]))
    for line in captured.get().splitlines():
        typer.echo(line.rstrip())
