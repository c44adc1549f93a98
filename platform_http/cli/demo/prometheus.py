"""A Prometheus of the demo's own, where that program is installed."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import socket
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

from yarl import URL

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

_HOST: Final = "127.0.0.1"
_START_SECONDS: Final = 10.0
_STOP_SECONDS: Final = 5.0
_CONFIGURATION: Final = """\
global:
  scrape_interval: 1s
  evaluation_interval: 1s
scrape_configs:
  - job_name: platform-http-demo
    static_configs:
      - targets: ["{target}"]
"""


class PrometheusError(Exception):
    """The program is there but does not serve."""


def installed() -> str | None:
    """Return the path of the program, or ``None`` if there is none."""
    return shutil.which("prometheus")


@contextlib.asynccontextmanager
async def prometheus(program: str, target: URL) -> AsyncIterator[URL]:
    """Run *program* as long as the block and yield its address.

    It scrapes every second and keeps its data in a temporary directory.

    Args:
        program: Path of the program.
        target: The metrics page to scrape.

    Raises:
        PrometheusError: If it ends at once or does not listen within ten seconds.
    """
    with tempfile.TemporaryDirectory(prefix="platform-http-demo-") as name:
        directory = Path(name)
        configuration = directory / "prometheus.yml"
        configuration.write_text(_CONFIGURATION.format(target=f"{target.host}:{target.port}"))
        port = _free_port()
        process = await asyncio.create_subprocess_exec(
            program,
            f"--config.file={configuration}",
            f"--storage.tsdb.path={directory / 'data'}",
            f"--web.listen-address={_HOST}:{port}",
            "--enable-feature=exemplar-storage",
            "--log.level=error",
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
            # A Ctrl-C in the terminal is for the demo, which then ends it.
            start_new_session=True,
        )
        try:
            await _until_listening(process, port)
            yield URL.build(scheme="http", host=_HOST, port=port, path="/")
        finally:
            await _end(process)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((_HOST, 0))
        port: int = probe.getsockname()[1]
        return port


async def _until_listening(process: asyncio.subprocess.Process, port: int) -> None:
    try:
        async with asyncio.timeout(_START_SECONDS):
            while not await _listens(port):
                if process.returncode is not None:
                    raise PrometheusError(f"prometheus ended with code {process.returncode}")
                await asyncio.sleep(0.1)
    except TimeoutError:
        raise PrometheusError("prometheus does not listen") from None


async def _listens(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection(_HOST, port)
    except OSError:
        return False
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    return True


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
    try:
        async with asyncio.timeout(_STOP_SECONDS):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()
