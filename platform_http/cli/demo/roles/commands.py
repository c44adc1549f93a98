"""The command lines of the three roles. Each option has a variable ``DEMO_*``."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 - typer reads the annotation
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    import ssl

    from aiohttp import web
    from opentelemetry.sdk.trace import TracerProvider

_Host = Annotated[
    str, typer.Option(envvar="DEMO_HOST", help="Address to listen on; 0.0.0.0 in a container.")
]
_Port = Annotated[
    int,
    typer.Option(
        envvar="DEMO_PORT", min=0, max=65_535, help="Port to listen on; 0 takes a free one."
    ),
]
_DrainDelay = Annotated[
    float,
    typer.Option(
        envvar="DEMO_DRAIN_DELAY",
        min=0,
        max=600,
        metavar="SECONDS",
        help="How long it goes on accepting, unready, after SIGTERM.",
    ),
]
_Seed = Annotated[
    int, typer.Option(envvar="DEMO_SEED", help="The same behaviour for the same number.")
]


def _absolute(text: str) -> str:
    from yarl import URL  # noqa: PLC0415 - the other commands need none of it

    try:
        url = URL(text)
    except ValueError:
        url = URL()
    if url.scheme not in {"http", "https"} or not url.host:
        raise typer.BadParameter("it is a URL of http or https, such as http://127.0.0.1:8080")
    return text if text.endswith("/") else f"{text}/"


def _server_tls(file: Path) -> ssl.SSLContext:
    import ssl  # noqa: PLC0415 - as above

    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(file)
    except OSError:
        raise typer.BadParameter(
            "it is a PEM file with a certificate, its chain and its key, without a password",
            param_hint="--tls-file",
        ) from None
    return context


def upstream(
    *,
    host: _Host = "127.0.0.1",
    port: Annotated[
        int,
        typer.Option(
            envvar="DEMO_PORT",
            min=0,
            max=65_532,
            help="Port of the control page; the upstreams have the next three. 0 takes free ones.",
        ),
    ] = 9000,
    day: Annotated[
        float,
        typer.Option(
            envvar="DEMO_DAY",
            min=0,
            max=86_400,
            metavar="SECONDS",
            help="Length of the repeated day; 0 is healthy until told otherwise.",
        ),
    ] = 60.0,
    drain_delay: _DrainDelay = 1.0,
    seed: _Seed = 1,
    tls_file: Annotated[
        Path | None,
        typer.Option(
            envvar="DEMO_TLS_FILE",
            help="PEM file of a certificate and its key, with which search speaks TLS.",
        ),
    ] = None,
) -> None:
    """Run three faulty services, billing, inventory and search, until SIGTERM.

    GET /phases shows what they do; PUT /phases makes one of them fail for a while, for example
    with {"client": "billing", "fault": "unavailable", "share": 0.5, "seconds": 30}.
    """
    from platform_http.cli.demo.roles.process import Address, run_role  # noqa: PLC0415 - as above
    from platform_http.cli.demo.roles.upstream import upstream_app  # noqa: PLC0415 - as above

    address = Address(host, port, drain_delay)
    search_tls = None if tls_file is None else _server_tls(tls_file)

    def make(tracer_provider: TracerProvider | None) -> web.Application:
        return upstream_app(
            address, day=day, seed=seed, search_tls=search_tls, tracer_provider=tracer_provider
        )

    run_role("upstream", make, address)


def caller(host: _Host = "127.0.0.1", port: _Port = 8080, drain_delay: _DrainDelay = 1.0) -> None:
    """Run a service of orders that needs billing, inventory, search and a partner, until SIGTERM.

    Where they are and how they are called is PLATFORM_HTTP_CLIENTS__<NAME>__* alone.
    """
    from platform_http.cli.demo.roles.caller import caller_app  # noqa: PLC0415 - as above
    from platform_http.cli.demo.roles.process import Address, run_role  # noqa: PLC0415 - as above

    def make(tracer_provider: TracerProvider | None) -> web.Application:
        return caller_app(tracer_provider, watches=True)

    run_role("caller", make, Address(host, port, drain_delay))


def load(
    *,
    host: _Host = "127.0.0.1",
    port: _Port = 8081,
    target: Annotated[
        str,
        typer.Option(envvar="DEMO_TARGET", callback=_absolute, help="Root URL of the caller."),
    ] = "http://127.0.0.1:8080",
    rate: Annotated[
        float,
        typer.Option(envvar="DEMO_RATE", min=0.1, max=1000, help="Calls per second."),
    ] = 20.0,
    drain_delay: _DrainDelay = 0.0,
    seed: _Seed = 1,
) -> None:
    """Call the caller at a steady rate, until SIGTERM; nothing that fails stops it.

    PLATFORM_HTTP_CLIENTS__CALLER__* says how, but for the base URL and the circuit breaker, which
    is off.
    """
    from platform_http.cli.demo.roles.load import load_app  # noqa: PLC0415 - as above
    from platform_http.cli.demo.roles.process import Address, run_role  # noqa: PLC0415 - as above
    from platform_http.settings import HttpSettings  # noqa: PLC0415 - as above

    def make(tracer_provider: TracerProvider | None) -> web.Application:
        # People do not stop asking because others got no answer.
        client = {"base_url": target, "circuit_breaker": {"mode": "off"}}
        settings = HttpSettings(clients={"caller": client})
        return load_app(settings, rate=rate, seed=seed, tracer_provider=tracer_provider)

    run_role("load", make, Address(host, port, drain_delay))
