"""``platform-http download``: a file of any size, continued where it was left."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 - typer reads the annotations when it runs
from typing import TYPE_CHECKING, Annotated

import typer

from platform_http.cli.request.arguments import headers_of, url_of
from platform_http.cli.transfer import Display, finished
from platform_http.errors import ConfigurationError

if TYPE_CHECKING:
    from platform_http.streaming import DownloadResult


def download(
    url: Annotated[str, typer.Argument(help="Absolute, or relative to the client's BASE_URL.")],
    path: Annotated[Path, typer.Argument(help="The file to write; its folder must exist.")],
    *,
    client: Annotated[str, typer.Option(help="Whose settings apply.")] = "default",
    checksum: Annotated[
        str | None,
        typer.Option(
            metavar="ALGORITHM:HEX",
            help="For example sha256:…; a file with another one is not kept.",
        ),
    ] = None,
    max_size: Annotated[
        int | None, typer.Option(metavar="BYTES", min=0, help="Refuse what is larger.")
    ] = None,
    resume: Annotated[bool, typer.Option(help="Go on with what an earlier call has left.")] = True,
    header: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME:VALUE", help="A header; @FILE reads lines of them."),
    ] = None,
) -> None:
    """Download URL to PATH.

    The file takes its place when it is complete. Until then it is PATH.part, and the same command
    goes on with it after an interruption.

    Exit codes: 0 success; 1 the download failed; 2 wrong usage, an invalid configuration, or a path
    that cannot be written; 130 interrupted.
    """
    from platform_http.settings import HttpSettings  # noqa: PLC0415 - takes its time

    try:
        settings = HttpSettings()
        profile = settings.client(client)
    except ConfigurationError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(2) from None
    target, headers = url_of(url, profile), headers_of(header or [], None)

    async def transfer() -> DownloadResult:
        from platform_http import open_session, streaming  # noqa: PLC0415 - takes its time

        async with open_session(profile.name, settings) as session:
            with display:
                return await streaming.download(
                    session,
                    target,
                    path,
                    checksum=checksum,
                    max_size=max_size,
                    resume=resume,
                    progress=display,
                    headers=headers,
                )

    display = Display(path.name)
    result = finished(transfer, lambda: _left(path))
    typer.echo(f"{path}: {display.summary(result.size)}")
    if result.checksum is not None:
        typer.echo(result.checksum)


def _left(path: Path) -> str:
    part = path.with_name(f"{path.name}.part")
    if not part.exists():
        return "interrupted; nothing is left of it"
    return f"interrupted; {part} holds what has arrived, and the same command goes on with it"
