"""The tutorial, typed line by line."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.docs.fences import ROOT, blocks
from tests.environ import unmeasured
from tests.servers import program

TUTORIAL = ROOT / "docs" / "tutorial.md"
BLOCKS = blocks(TUTORIAL.read_text(encoding="utf-8"))


def _free_ports() -> tuple[int, int]:
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("", 0)) as other:
        return one.getsockname()[1], other.getsockname()[1]


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    for _ in range(200):
        assert process.poll() is None
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    pytest.fail(f"nothing listens on {port}")


def _steps(text: str) -> list[tuple[str, str]]:
    """Return the commands of a console block, each with what it prints."""
    parts = re.split(r"^\$ (.*)\n", text, flags=re.MULTILINE)[1:]
    return list(zip(parts[::2], parts[1::2], strict=True))


def _pattern(shown: str) -> str:
    """Return *shown* as a pattern in which … stands for anything."""
    lines = [".*".join(map(re.escape, line.split("…"))) for line in shown.splitlines()]
    return "\n".join(line.replace(r"\ ", " *") for line in lines)


def test_every_step_shows_what_the_page_shows(tmp_path):
    bash, _ = program("bash"), program("curl")
    upstream, service = _free_ports()

    def here(text: str) -> str:
        return text.replace("9001", str(upstream)).replace("8080", str(service))

    for block in BLOCKS:
        if block.comment.startswith("file: "):
            file = tmp_path / block.comment.removeprefix("file: ")
            file.write_text(here(block.text), encoding="utf-8")
    bin_folder = Path(sys.executable).parent
    environ = unmeasured("PLATFORM_HTTP_", "OTEL_", "PROMETHEUS_")
    environ |= {
        "PATH": f"{bin_folder}{os.pathsep}{environ['PATH']}",
        "PYTHONWARNINGS": "error",
        "NO_PROXY": "*",
    }
    running: list[subprocess.Popen[bytes]] = []
    ports = iter((upstream, service))
    steps = 0
    try:
        for block in BLOCKS:
            if block.language != "console" or block.not_run:
                continue
            for command, shown in _steps(here(block.text)):
                steps += 1
                if command.startswith("export "):
                    name, _, value = command.removeprefix("export ").partition("=")
                    environ[name] = value
                elif command.endswith("&"):
                    words = command.removesuffix("&").split()
                    with (tmp_path / f"{words[1]}.log").open("wb") as log:
                        process = subprocess.Popen(
                            [sys.executable, *words[1:]],
                            cwd=tmp_path,
                            env=environ,
                            stdout=log,
                            stderr=log,
                        )
                    running.append(process)
                    _wait_for(next(ports), process)
                elif command.startswith("kill "):
                    for number in re.findall(r"%(\d)", command):
                        process = running[int(number) - 1]
                        process.send_signal(signal.SIGTERM)
                        assert process.wait(10) in (0, -signal.SIGTERM)
                else:
                    done = subprocess.run(
                        [bash, "-c", command],
                        cwd=tmp_path,
                        env=environ,
                        capture_output=True,
                        text=True,
                        timeout=30,
                        check=False,
                    )
                    printed = done.stdout.strip("\n")
                    assert done.returncode == 0, f"{command}: {done.stderr}"
                    assert re.fullmatch(_pattern(shown), printed, re.DOTALL), (command, printed)
    finally:
        for process in running:
            if process.poll() is None:
                process.kill()
                process.wait(10)
    assert steps > 15
    log = (tmp_path / "service.py.log").read_text(encoding="utf-8")
    assert f"circuit of http://127.0.0.1:{upstream} went from closed to open" in log
    assert "Traceback" not in log
