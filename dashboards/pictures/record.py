"""Which dashboard each picture shows: the hash of its JSON, beside the pictures."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
DASHBOARDS: Final = ROOT / "dashboards" / "grafana"
PICTURES: Final = ROOT / "docs" / "pictures" / "dashboards"
_NAME: Final = "sources.json"


def dashboards(folder: Path = DASHBOARDS) -> dict[str, Path]:
    """Return the files of all dashboards by name."""
    return {path.stem: path for path in sorted(folder.glob("*.json"))}


def digest(dashboard: bytes) -> str:
    """Return the SHA-256 of the JSON, in hexadecimal."""
    return hashlib.sha256(dashboard).hexdigest()


def read(pictures: Path = PICTURES) -> dict[str, str]:
    """Return the digest of the dashboard that each picture shows; empty without a record."""
    path = pictures / _NAME
    sources: dict[str, str] = json.loads(path.read_text()) if path.exists() else {}
    return sources


def write(sources: dict[str, str], pictures: Path = PICTURES) -> None:
    """Record the digests."""
    (pictures / _NAME).write_text(json.dumps(sources, indent=2, sort_keys=True) + "\n")


def outdated(dashboard_folder: Path = DASHBOARDS, pictures: Path = PICTURES) -> list[str]:
    """Return a sentence for each dashboard without a picture of its present JSON."""
    sources = read(pictures)
    complaints = []
    for name, path in dashboards(dashboard_folder).items():
        if name not in sources or not (pictures / f"{name}.png").exists():
            complaints.append(f"{name} has no picture")
        elif sources[name] != digest(path.read_bytes()):
            complaints.append(f"the picture of {name} shows an older dashboard")
    known = {path.stem for path in pictures.glob("*.png")} | sources.keys()
    complaints += [
        f"{name} has a picture but no dashboard"
        for name in sorted(known - dashboards(dashboard_folder).keys())
    ]
    return complaints
