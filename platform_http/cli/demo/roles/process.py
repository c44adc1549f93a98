"""Runs one role as a process: logs, telemetry, serving, and its end."""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import typer
from prometheus_client import REGISTRY

from platform_http.cli.demo.telemetry import demo_telemetry
from platform_http.errors import ConfigurationError
from platform_http.telemetry.logging import TraceContextFilter
from platform_http.web import serve

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiohttp import web
    from opentelemetry.sdk.trace import TracerProvider

_REFUSED_ADDRESSES: Final = (
    errno.EACCES,
    errno.EADDRINUSE,
    errno.EADDRNOTAVAIL,
    errno.EAFNOSUPPORT,
    # From Python 3.13 on, where asyncio could bind none of the addresses.
    None,
)
_LOG_FORMAT: Final = "%(asctime)s %(levelname)s %(name)s trace_id=%(trace_id)s %(message)s"


@dataclass(frozen=True, slots=True)
class Address:
    """Where a role listens, and how it ends.

    Args:
        host: Address to listen on.
        port: Port to listen on; 0 takes a free one.
        drain_delay: Seconds that it goes on accepting after SIGTERM, >= 0.
    """

    host: str
    port: int
    drain_delay: float


def run_role(
    name: str, make_app: Callable[[TracerProvider | None], web.Application], address: Address
) -> None:
    """Serve the application of the role *name* until SIGTERM or SIGINT.

    Args:
        name: ``upstream``, ``caller`` or ``load``.
        make_app: Makes the application from what makes its spans; ``None`` is the global provider.
        address: Where it listens.

    Raises:
        Exit: With code 2 for an invalid configuration and 1 if it cannot listen.
        OSError: What else the system refuses, such as a file.
    """
    handler = logging.StreamHandler()
    handler.addFilter(TraceContextFilter())
    logging.basicConfig(format=_LOG_FORMAT, level=logging.WARNING, handlers=[handler])

    async def main() -> None:
        async with demo_telemetry(f"platform-http-demo-{name}", REGISTRY) as tracer_provider:
            await serve(
                make_app(tracer_provider),
                host=address.host,
                port=address.port,
                drain_delay=address.drain_delay,
                started=lambda url: typer.echo(f"{name}: {url}"),
            )

    try:
        asyncio.run(main())
    except ConfigurationError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(2) from None
    except OSError as error:
        if not _is_of_the_address(error):
            raise
        typer.echo(f"{name} cannot listen: {error}", err=True)
        raise typer.Exit(1) from None


def _is_of_the_address(error: OSError) -> bool:
    """Tell whether *error* says that nobody can listen there."""
    # A file that may not be read is EACCES too, and has a name.
    return error.filename is None and (
        isinstance(error, socket.gaierror) or error.errno in _REFUSED_ADDRESSES
    )
