"""Child processes that never outlive the block that started them."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

_READY_SECONDS: Final = 30.0
_STOP_SECONDS: Final = 15.0
_LOG_CHARACTERS: Final = 2000


class ProcessError(Exception):
    """A program is missing, ended early, or does not do what it is there for."""


def program(name: str, package: str) -> str:
    """Return the path of *name*.

    Raises:
        ProcessError: If it is not installed; names the Debian *package*.
    """
    path = shutil.which(name)
    if path is None:
        raise ProcessError(f"{name} is not installed (apt-get install {package})")
    return path


def free_ports(count: int) -> int:
    """Return the first of *count* consecutive TCP ports of 127.0.0.1 that nobody listens on.

    Raises:
        ProcessError: If there are none.
    """
    for _ in range(100):
        with contextlib.ExitStack() as stack:
            first: int = _bound(stack, 0).getsockname()[1]
            try:
                for port in range(first + 1, first + count):
                    _bound(stack, port)
            except (OSError, OverflowError):
                continue
            return first
    raise ProcessError(f"there are no {count} consecutive free ports")


def _bound(stack: contextlib.ExitStack, port: int) -> socket.socket:
    listener = stack.enter_context(socket.socket())
    listener.bind(("127.0.0.1", port))
    return listener


class Process:
    """A program that serves while its block runs.

    Args:
        command: The program and its arguments.
        environment: All of its environment.
        ready: Address that answers 200 once it serves.
        log: Takes what it prints.
    """

    def __init__(
        self, command: Sequence[str], environment: Mapping[str, str], ready: str, log: Path
    ) -> None:
        self._command = command
        self._log = log
        with log.open("wb") as output:
            self._process = subprocess.Popen(  # noqa: S603 - a fixed program without a shell
                command,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                # A Ctrl-C in the terminal is for the parent, which then ends its children.
                start_new_session=True,
            )
        self._ready = ready

    def wait_until_ready(self) -> None:
        """Return once it serves.

        Raises:
            ProcessError: If it ends or does not serve within 30 seconds.
        """
        deadline = time.monotonic() + _READY_SECONDS
        while not _answers(self._ready):
            self.check()
            if time.monotonic() > deadline:
                raise ProcessError(f"{self._name} does not answer at {self._ready}: {self._said}")
            time.sleep(0.1)

    def check(self) -> None:
        """Do nothing while it runs.

        Raises:
            ProcessError: If it ended.
        """
        if self._process.poll() is not None:
            raise ProcessError(
                f"{self._name} ended with code {self._process.returncode}: {self._said}"
            )

    def end(self) -> None:
        """Terminate it with all that it started; kill it if that takes over 15 seconds."""
        end(self._process)

    @property
    def _name(self) -> str:
        return " ".join(self._command[:3])

    @property
    def _said(self) -> str:
        return self._log.read_text(errors="replace")[-_LOG_CHARACTERS:].strip()


@contextlib.contextmanager
def serving(
    command: Sequence[str], environment: Mapping[str, str], *, ready: str, log: Path
) -> Iterator[Process]:
    """Run a :class:`Process`, from when it is ready until the block ends."""
    process = Process(command, environment, ready, log)
    try:
        process.wait_until_ready()
        yield process
    finally:
        process.end()


def run(command: Sequence[str], *, folder: Path, seconds: float, stdin: str = "") -> str:
    """Run *command* to its end and return what it wrote to stdout.

    Raises:
        ProcessError: If it fails or takes longer than *seconds*.
    """
    with subprocess.Popen(  # noqa: S603 - a fixed program without a shell
        command,
        cwd=folder,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            output, complaints = process.communicate(stdin, timeout=seconds)
        except subprocess.TimeoutExpired:
            raise ProcessError(f"{' '.join(command)} takes longer than {seconds:g} s") from None
        finally:
            end(process)
    if process.returncode:
        raise ProcessError(f"{' '.join(command)} failed: {(complaints or output).strip()}")
    return output


def end(process: subprocess.Popen[bytes] | subprocess.Popen[str]) -> None:
    """End the process group that *process* leads, which it may have left already."""
    _signal(process.pid, signal.SIGTERM)
    try:
        process.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        pass
    finally:
        # Also what ignored the first signal, or lost its parent by it.
        _signal(process.pid, signal.SIGKILL)
        process.wait()


def _signal(group: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, number)


def _answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(address, timeout=1) as response:  # noqa: S310 - loopback
            return bool(response.status == 200)
    except (urllib.error.URLError, OSError):
        return False
