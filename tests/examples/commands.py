"""Programs of the examples as processes, ended by SIGTERM."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parent.parent.parent
PLATFORM_HTTP = str(Path(sys.executable).parent / "platform-http")
# As long as a slow machine needs.
SECONDS = 60


@contextlib.contextmanager
def printing_its_url(*command: str, **environ: str) -> Iterator[str]:
    """Run *command* from when it has printed its root URL, and expect it to end well."""
    process = subprocess.Popen(
        command,
        env={"PATH": os.environ["PATH"], "PYTHONUNBUFFERED": "1", **environ},
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        assert select.select([process.stdout], [], [], SECONDS)[0], "it prints nothing"
        line = process.stdout.readline()
        assert line, process.communicate()
        yield line.split()[-1]
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=SECONDS)
        assert process.returncode == 0, errors
        assert "Traceback" not in errors, errors
    finally:
        if process.returncode is None:
            process.kill()
            process.communicate()


def free_ports(count: int) -> int:
    """Return the first of *count* ports in a row that nobody listens on."""
    while True:
        with contextlib.ExitStack() as stack, contextlib.suppress(OSError, OverflowError):
            first = 0
            for offset in range(count):
                listener = stack.enter_context(socket.socket())
                listener.bind(("127.0.0.1", first + offset))
                first = first or listener.getsockname()[1]
            return first


def get(url: str) -> str:
    """Return the body at *url*."""
    with urllib.request.urlopen(url, timeout=SECONDS) as response:
        text: str = response.read().decode()
        return text
