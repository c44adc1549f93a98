"""The command line ``platform-http``. It needs the extra ``cli``, which the library does not."""

from __future__ import annotations

import sys
from io import TextIOWrapper
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import typer


def main() -> None:
    """Run the command that the arguments name, and exit.

    Exit codes: 0 success, 1 a check failed, 2 wrong usage, an invalid configuration or the extra
    ``cli`` is not installed.
    """
    try:
        import rich  # noqa: F401, PLC0415 - the extra cli: asked for here, used by the commands
        import typer  # noqa: F401, PLC0415 - as above
    except ImportError:
        sys.stderr.write('platform-http needs more libraries: pip install "platform-http[cli]"\n')
        sys.exit(2)
    if isinstance(sys.stdout, TextIOWrapper):
        # A server's text must not end a command where the terminal has no character for it.
        sys.stdout.reconfigure(errors="backslashreplace")
    build_app()(prog_name="platform-http")


def build_app() -> typer.Typer:
    """Return the application with all its commands; each has a module of its own."""
    import typer  # noqa: PLC0415 - the extra cli, see main

    from platform_http.cli.check.command import check  # noqa: PLC0415 - imports typer and rich
    from platform_http.cli.config import config  # noqa: PLC0415 - as above
    from platform_http.cli.demo.command import build_demo  # noqa: PLC0415 - as above
    from platform_http.cli.download import download  # noqa: PLC0415 - as above
    from platform_http.cli.request.command import request  # noqa: PLC0415 - as above
    from platform_http.cli.simulate import simulate  # noqa: PLC0415 - as above
    from platform_http.cli.upload import upload  # noqa: PLC0415 - as above

    app = typer.Typer(
        help="HTTP clients that are configured by PLATFORM_HTTP_* variables.",
        no_args_is_help=True,
        add_completion=False,
        # Local variables of a traceback hold settings.
        pretty_exceptions_show_locals=False,
    )
    # Without a callback typer takes a single command for the whole application.
    app.callback()(_root)
    app.command()(check)
    app.command()(config)
    app.add_typer(build_demo(), name="demo")
    app.command()(download)
    app.command()(request)
    app.command()(simulate)
    app.command()(upload)
    return app


def _root() -> None:
    """Stand for the application itself, which does nothing without a command."""
