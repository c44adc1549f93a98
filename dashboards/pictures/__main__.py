"""Takes the pictures: ``python -m dashboards.pictures``."""

from __future__ import annotations

import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated, Final

import typer

from dashboards.pictures import record
from dashboards.pictures.camera import Shot, build, take
from dashboards.pictures.processes import ProcessError
from dashboards.pictures.stage import SCRAPE_SECONDS, stage

_DAY_SECONDS: Final = 150.0
# The second day has come to where its incidents are, and the start is no deploy any more.
_SECONDS: Final = 220.0
_RANGE_SECONDS: Final = 150
# The detail is of one dependency, as one gets there from the overview.
_VARIABLES: Final[dict[str, dict[str, str]]] = {"dependency": {"client": "billing"}}


def main(
    seconds: Annotated[
        float, typer.Option(min=15, max=86_400, help="How long the demo plays before.")
    ] = _SECONDS,
    prometheus: Annotated[
        str, typer.Option(help="A Prometheus that scraped the demo already, instead of one's own.")
    ] = "",
    only: Annotated[
        str, typer.Option(help="Name of the one dashboard to draw; the record stays.")
    ] = "",
) -> None:
    """Draw every dashboard with Grafana UI components, from a Prometheus that scraped the demo.

    Exit codes: 0 success; 1 a program is missing, or a picture cannot be taken.
    """
    # A terminated parent ends its children too.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    try:
        _take(seconds, prometheus, only)
    except (ProcessError, OSError) as error:
        typer.echo(f"no pictures: {error}", err=True)
        raise typer.Exit(1) from None


def _take(seconds: float, prometheus: str, only: str) -> None:
    dashboards = record.dashboards()
    chosen = {name: path for name, path in dashboards.items() if only in ("", name)}
    if not chosen:
        raise ProcessError(f"there is no dashboard {only}" if only else "there are no dashboards")
    typer.echo("building the page")
    build()
    record.PICTURES.mkdir(parents=True, exist_ok=True)
    if prometheus:
        sources = _draw(chosen, prometheus, _RANGE_SECONDS)
    else:
        with (
            tempfile.TemporaryDirectory(prefix="platform-http-stage-") as folder,
            stage(Path(folder), _DAY_SECONDS) as scene,
        ):
            typer.echo(f"playing for {seconds:.0f} s, scraped by {scene.prometheus}")
            scene.play(seconds)
            sources = _draw(chosen, scene.prometheus, min(_RANGE_SECONDS, int(seconds)))
    record.write(sources if not only else record.read() | sources)


def _draw(dashboards: dict[str, Path], prometheus: str, seconds: int) -> dict[str, str]:
    """Draw the last *seconds* of *dashboards*, and return the digest of what was drawn."""
    shots = [
        Shot(path.read_bytes(), record.PICTURES / f"{name}.png", _VARIABLES.get(name, {}))
        for name, path in dashboards.items()
    ]
    end = int(time.time())
    without = take(
        shots,
        prometheus=prometheus,
        start=end - seconds,
        end=end,
        scrape_seconds=SCRAPE_SECONDS,
    )
    for shot, titles in zip(shots, without, strict=True):
        size = shot.picture.stat().st_size // 1024
        empty = f"; without data: {', '.join(titles)}" if titles else ""
        typer.echo(f"{shot.picture.name}: {size} KiB{empty}")
    return {shot.picture.stem: record.digest(shot.dashboard) for shot in shots}


if __name__ == "__main__":
    typer.run(main)
