"""The command line of ``platform-http request``."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from platform_http.cli.request.arguments import (
    AUTO,
    Order,
    body_of,
    headers_of,
    method_of,
    options_of,
    url_of,
)
from platform_http.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import BinaryIO

    from platform_http.cli.request.report import Report
    from platform_http.settings import HttpSettings

_INTERRUPTED = 130

# What goes to a file or a pipe has no width of its own.
_PIPE_WIDTH = 100


def request(
    method: Annotated[str | None, typer.Argument(help="GET, POST and so on.")] = None,
    url: Annotated[
        str | None, typer.Argument(help="Absolute, or relative to the client's BASE_URL.")
    ] = None,
    *,
    client: Annotated[str, typer.Option(help="Whose settings apply.")] = "default",
    header: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME:VALUE",
            help="A header; @FILE reads lines of them, which keeps secrets out of the history.",
        ),
    ] = None,
    data: Annotated[
        str | None, typer.Option(help="The body: text, @FILE, or - for standard input.")
    ] = None,
    content_type: Annotated[
        str | None, typer.Option(help="Of the body; application/octet-stream if not given.")
    ] = None,
    timeout: Annotated[
        float | None, typer.Option(metavar="SECONDS", help="In place of TIMEOUT__TOTAL.")
    ] = None,
    attempts: Annotated[
        int | None, typer.Option(help="In place of RETRY__MAX_ATTEMPTS, 1 to 5.")
    ] = None,
    idempotency_key: Annotated[
        str | None,
        typer.Option(
            metavar="KEY", help=f"Makes any method fit for a resend; {AUTO} makes one up."
        ),
    ] = None,
    output: Annotated[
        str | None,
        typer.Option(
            metavar="FILE", help="Write the body; - is standard output, the picture moves aside."
        ),
    ] = None,
    include: Annotated[
        bool, typer.Option("--include", help="Show the headers of the response.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
    schema: Annotated[
        bool, typer.Option("--schema", help="Print the JSON Schema of --json.")
    ] = False,
) -> None:
    """Make one call with a client's settings, and draw where its time went.

    The body is read to its end and, without --output, not shown.

    Exit codes: 0 the call's outcome is a success; 1 it is not; 2 wrong usage, an invalid
    configuration, or a file that cannot be read or written; 130 interrupted.
    """
    if schema:
        from platform_http.cli.request.report import Report  # noqa: PLC0415 - takes its time

        typer.echo(json.dumps(Report.model_json_schema(), indent=2))
        return
    if method is None or url is None:
        raise typer.BadParameter("name METHOD and URL, for example GET https://example.org/")
    if as_json and output == "-":
        raise typer.BadParameter("--json and --output - exclude each other; name a file")
    from platform_http.settings import HttpSettings  # noqa: PLC0415 - as above

    try:
        settings = HttpSettings()
        profile = settings.client(client)
        if profile.name not in {"default", *settings.client_names}:
            typer.echo(
                f"client {profile.name} has no settings of its own, the defaults apply", err=True
            )
        order = Order(
            method_of(method),
            url_of(url, profile),
            headers_of(header or [], content_type),
            body_of(data),
            options_of(timeout, attempts, idempotency_key),
        )
        with _body_file(output) as take:
            report, interrupted = _called(order, settings, profile.name, take, include=include)
    except (ConfigurationError, OSError) as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(2) from None
    if as_json:
        typer.echo(json.dumps(report.model_dump(mode="json"), indent=2))
    else:
        _draw(report, aside=output == "-")
    if interrupted:
        raise typer.Exit(_INTERRUPTED)
    raise typer.Exit(0 if report.outcome == "success" else 1)


def _called(
    order: Order,
    settings: HttpSettings,
    client: str,
    take: Callable[[bytes], None],
    *,
    include: bool,
) -> tuple[Report, bool]:
    """Make the call; return what is known of it, and whether it was interrupted."""
    from platform_http.cli.request.assembly import Assembly  # noqa: PLC0415 - takes its time
    from platform_http.cli.request.call import Exchange, make_call  # noqa: PLC0415 - as above

    exchange = Exchange()
    interrupted = False
    try:
        asyncio.run(make_call(exchange, order, settings, client, take))
    except KeyboardInterrupt:
        interrupted = True
    return Assembly(order, settings.client(client), include=include).report(exchange), interrupted


@contextlib.contextmanager
def _body_file(output: str | None) -> Iterator[Callable[[bytes], None]]:
    """Yield what takes the body's pieces. A file is made by the first one, not by a failed call.

    Raises:
        typer.BadParameter: If it has no folder to be in.
        OSError: If the file cannot be written.
    """
    if output is not None and not Path(output).parent.is_dir():
        raise typer.BadParameter(f"--output {output}: there is no such folder")
    file: BinaryIO | None = sys.stdout.buffer if output == "-" else None

    def take(piece: bytes) -> None:
        nonlocal file
        if output is None:
            return
        if file is None:
            file = Path(output).open("wb")  # noqa: SIM115 - closed below
        file.write(piece)

    try:
        yield take
    finally:
        if file is not None:
            if output == "-":
                file.flush()
            else:
                file.close()


def _draw(report: Report, *, aside: bool) -> None:
    from platform_http.cli.request.waterfall import ASCII, UNICODE, waterfall  # noqa: PLC0415 - as above

    stream = sys.stderr if aside else sys.stdout
    is_terminal = stream.isatty()
    console = Console(file=stream, width=None if is_terminal else _PIPE_WIDTH, highlight=False)
    marks = UNICODE if is_terminal and console.encoding.startswith("utf") else ASCII
    console.print(waterfall(report, width=console.width, marks=marks), soft_wrap=True)
