"""``platform-http upload``: a file of any size, sent again where that is permitted."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 - typer reads the annotations when it runs
from typing import Annotated

import typer

from platform_http.cli.request.arguments import headers_of, method_of, options_of, url_of
from platform_http.cli.transfer import Display, finished
from platform_http.errors import ConfigurationError


def upload(
    path: Annotated[Path, typer.Argument(help="The file to send.")],
    url: Annotated[str, typer.Argument(help="Absolute, or relative to the client's BASE_URL.")],
    *,
    client: Annotated[str, typer.Option(help="Whose settings apply.")] = "default",
    method: Annotated[str, typer.Option(help="PUT, or POST.")] = "PUT",
    idempotency_key: Annotated[
        str | None,
        typer.Option(metavar="KEY", help="Makes a POST fit for a resend; auto makes one up."),
    ] = None,
    content_type: Annotated[
        str | None, typer.Option(help="Of the file; guessed from its name if not given.")
    ] = None,
    header: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME:VALUE", help="A header; @FILE reads lines of them."),
    ] = None,
) -> None:
    """Upload PATH to URL.

    Exit codes: 0 the answer is a success (2xx); 1 it is not, or there is none; 2 wrong usage, an
    invalid configuration, or a path that cannot be read; 130 interrupted.
    """
    from platform_http.settings import HttpSettings  # noqa: PLC0415 - takes its time

    try:
        settings = HttpSettings()
        profile = settings.client(client)
    except ConfigurationError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(2) from None
    target, headers = url_of(url, profile), headers_of(header or [], content_type)
    verb, options = method_of(method), options_of(None, None, idempotency_key)

    async def transfer() -> tuple[int, int]:
        from platform_http import open_session, streaming  # noqa: PLC0415 - takes its time

        async with open_session(profile.name, settings) as session:
            with display:
                async with streaming.upload(
                    session,
                    target,
                    path,
                    method=verb,
                    progress=display,
                    options=options,
                    headers=headers,
                ) as response:
                    response.raise_for_status()
                    return response.status, path.stat().st_size

    display = Display(path.name)
    status, size = finished(transfer, lambda: "interrupted; the server may have a part of it")
    typer.echo(f"{path}: {display.summary(size)}, answered {status}")
