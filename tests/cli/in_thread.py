"""Runs a command beside the servers of a test: it has an event loop of its own."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from typer.testing import CliRunner

from platform_http.cli import build_app

if TYPE_CHECKING:
    from click.testing import Result


async def run(*arguments: object, stdin: bytes | None = None) -> Result:
    """Run ``platform-http`` with *arguments* in a thread."""
    words = list(map(str, arguments))
    return await asyncio.to_thread(CliRunner().invoke, build_app(), words, input=stdin)
