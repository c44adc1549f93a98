"""Builds the page that draws dashboards, and takes pictures of it in a headless Chromium."""

from __future__ import annotations

import hashlib
import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from PIL import Image

from dashboards.pictures.processes import program, run

_FOLDER: Final = Path(__file__).parent
_MODULES: Final = _FOLDER / "node_modules"
_INSTALL_SECONDS: Final = 300.0
_BUILD_SECONDS: Final = 120.0
_PICTURE_SECONDS: Final = 100.0
_COLOURS: Final = 256


@dataclass(frozen=True, slots=True)
class Shot:
    """One dashboard as one picture.

    Args:
        dashboard: Its JSON.
        picture: The PNG to write.
        variables: Values of variables by name; the others stand as the dashboard has them.
    """

    dashboard: bytes
    picture: Path
    variables: dict[str, str]


def build() -> None:
    """Install what package-lock.json pins, unless that was done, and build the page.

    Raises:
        ProcessError: If npm is missing or fails.
    """
    npm = program("npm", "npm")
    lock = hashlib.sha256((_FOLDER / "package-lock.json").read_bytes()).hexdigest()
    installed = _MODULES / ".installed"
    if not installed.exists() or installed.read_text() != lock:
        run([npm, "ci", "--ignore-scripts"], folder=_FOLDER, seconds=_INSTALL_SECONDS)
        installed.write_text(lock)
    run([npm, "run", "build"], folder=_FOLDER, seconds=_BUILD_SECONDS)


def take(
    shots: list[Shot], *, prometheus: str, start: int, end: int, scrape_seconds: int
) -> list[list[str]]:
    """Take all *shots*.

    Args:
        shots: What to draw.
        prometheus: Base URL of the Prometheus that has the data.
        start: Left edge of all panels, seconds since the epoch.
        end: Right edge.
        scrape_seconds: Time between two scrapes.

    Returns:
        For each shot the titles of its panels without data.

    Raises:
        ProcessError: If a program is missing, or a panel cannot be drawn.
    """
    node, chromium = program("node", "nodejs"), program("chromium", "chromium")
    with tempfile.TemporaryDirectory(prefix="platform-http-pictures-") as profile:
        requests = [
            {
                "file": str(shot.picture),
                "request": {
                    "dashboard": json.loads(shot.dashboard),
                    "from": start,
                    "to": end,
                    "scrapeInterval": scrape_seconds,
                    "variables": shot.variables,
                },
            }
            for shot in shots
        ]
        order = {
            "program": chromium,
            "profile": profile,
            "prometheus": prometheus,
            "pictures": requests,
        }
        output = run(
            [node, "take.mjs"],
            folder=_FOLDER,
            seconds=_PICTURE_SECONDS * len(shots),
            stdin=json.dumps(order),
        )
    for shot in shots:
        _shrink(shot.picture)
    return [json.loads(line) for line in output.splitlines()]


def _shrink(picture: Path) -> None:
    """Reduce *picture* to a palette: a third of the size, without a visible difference."""
    with Image.open(picture) as image:
        few = image.convert("RGB").quantize(_COLOURS, dither=Image.Dither.NONE)
    few.save(picture, optimize=True)
