"""The command line of the demo."""

from __future__ import annotations

import asyncio
from typing import Annotated, Final

import typer
from rich.console import Console

from platform_http.cli.demo.roles import commands
from platform_http.errors import ConfigurationError

_DAY_SECONDS: Final = 60.0
_SHORT_DAY_SECONDS: Final = 8.0


def build_demo() -> typer.Typer:
    """Return the demo itself and its three roles as commands below it."""
    application = typer.Typer(invoke_without_command=True)
    application.callback()(demo)
    for role in (commands.upstream, commands.caller, commands.load):
        application.command()(role)
    return application


def demo(
    context: typer.Context,
    duration: Annotated[
        float | None,
        typer.Option(
            min=3,
            max=86_400,
            metavar="SECONDS",
            help="Length of the day.  [default: 60, with --once 8]",
            show_default=False,
        ),
    ] = None,
    *,
    once: Annotated[
        bool, typer.Option("--once", help="One short day, as lines without a live view.")
    ] = False,
    serve: Annotated[
        bool,
        typer.Option(
            "--serve",
            help="Keep /metrics up, and a Prometheus if one is installed, and repeat the day "
            "until Ctrl-C; with --once until the day ends.",
        ),
    ] = False,
    port: Annotated[
        int, typer.Option(min=0, max=65_535, help="Port of /metrics; 0 takes a free one.")
    ] = 0,
    seed: Annotated[int, typer.Option(help="The same calls and faults for the same number.")] = 1,
) -> None:
    """Watch a service call three misbehaving upstreams, all of it on this machine.

    All figures come from the metrics registry. The commands below run the same as services.

    PLATFORM_HTTP_* variables change what the service does, OTEL_* where spans go.

    Exit codes: 0 success, also after Ctrl-C; 1 the demo itself does not work; 2 invalid
    configuration.
    """
    if context.invoked_subcommand is not None:
        _refuse_options(context)
        return

    from platform_http.cli.demo.run import (  # noqa: PLC0415 - the other commands need none of it
        DemoError,
        Options,
        run,
    )

    console = Console(highlight=False)
    options = Options(
        duration=duration or (_SHORT_DAY_SECONDS if once else _DAY_SECONDS),
        live=can_redraw(console) and not once,
        repeat=serve and not once,
        serve=serve,
        port=port,
        seed=seed,
    )
    try:
        asyncio.run(run(options, console))
    except ConfigurationError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(2) from None
    except (DemoError, OSError) as error:
        typer.echo(f"the demo does not work: {error}", err=True)
        raise typer.Exit(1) from None


def _refuse_options(context: typer.Context) -> None:
    """Refuse what would have no effect: options of the demo in front of a role."""
    for parameter in context.command.params:
        source = context.get_parameter_source(parameter.name or "")
        if source is not None and source.name == "COMMANDLINE":
            raise typer.BadParameter(
                f"{parameter.opts[0]} is not an option of {context.invoked_subcommand}: "
                f"what follows {context.invoked_subcommand} is"
            )


def can_redraw(console: Console) -> bool:
    """Tell whether *console* writes to a terminal that can place its cursor.

    Colours that are forced on a pipe make no terminal of it.
    """
    return console.file.isatty() and not console.is_dumb_terminal
