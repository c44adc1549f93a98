"""The three roles of the demo as processes."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from tests.artifacts.live.identities import Identities
from tests.servers import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import timedelta
    from pathlib import Path

ROLES = ("upstream", "caller", "load")
UPSTREAMS = ("billing", "inventory", "search")

_LOOPBACK = "127.0.0.1"
_READY_WITHIN = 30.0
_ENDS_WITHIN = 20.0
_OPENMETRICS = "application/openmetrics-text; version=1.0.0"
# Where the settings of the example expect the upstreams.
_DOCUMENTED = re.compile(r"\b(localhost|127\.0\.0\.1):900([1-3])\b")


@dataclass(frozen=True)
class Demo:
    """What runs.

    Args:
        addresses: Host and port of each role, which is a job of Prometheus.
        processes: By role.
    """

    addresses: Mapping[str, str]
    processes: Mapping[str, subprocess.Popen[bytes]]

    def page(self, role: str) -> str:
        """Return the metrics of *role* as OpenMetrics text."""
        return self._request(role, "/metrics", Accept=_OPENMETRICS).decode()

    def enter_phase(self, client: str, **phase: object) -> None:
        """Let the upstream of *client* behave as *phase* says."""
        body = json.dumps({"client": client, **phase}).encode()
        self._request("upstream", "/phases", body, **{"Content-Type": "application/json"})

    def end(self, role: str) -> None:
        """Let *role* finish what it does, as an orchestrator would."""
        process = self.processes[role]
        process.send_signal(signal.SIGTERM)
        process.wait(_ENDS_WITHIN)

    def _request(self, role: str, path: str, body: bytes | None = None, **headers: str) -> bytes:
        request = urllib.request.Request(
            f"http://{self.addresses[role]}{path}",
            data=body,
            headers=headers,
            method="GET" if body is None else "PUT",
        )
        with urllib.request.urlopen(request, timeout=10) as response:
            return response.read()


@contextlib.contextmanager
def running_demo(
    settings: Path,
    folder: Path,
    *,
    overrides: Mapping[str, str],
    lifetimes: Mapping[str, timedelta],
    calls_per_second: float,
    otlp_port: int,
) -> Iterator[Demo]:
    """Run upstream, caller and load from when they are ready until the block ends.

    The upstreams are healthy until told otherwise. The caller and the load show their metrics and
    push them once a second as well.

    Args:
        settings: A file of shell assignments, which configures the caller's clients.
        folder: Takes what the processes print.
        overrides: Variables of the caller that are stronger than *settings*.
        lifetimes: Of the certificate that search shows, and of the caller's own for billing.
        calls_per_second: What the load asks of the caller.
        otlp_port: Of the OTLP receiver, gRPC on loopback.
    """
    ports = {"upstream": _four_free_ports(), "caller": free_port(), "load": free_port()}
    addresses = {role: f"{_LOOPBACK}:{port}" for role, port in ports.items()}
    search_url = f"https://localhost:{ports['upstream'] + 3}/"
    identities = Identities(folder)
    search, billing = (
        str(identities.issue(name, lifetimes[name])) for name in ("search", "billing")
    )
    roles = {
        "upstream": {"DEMO_DAY": "0", "DEMO_TLS_FILE": search},
        "caller": {
            **_settings(settings, ports["upstream"]),
            **overrides,
            "PLATFORM_HTTP_CLIENTS__SEARCH__BASE_URL": search_url,
            "PLATFORM_HTTP_CLIENTS__SEARCH__TLS__CA_FILE": str(identities.ca_file),
            "PLATFORM_HTTP_CLIENTS__BILLING__TLS__CERT_FILE": billing,
        },
        "load": {
            "DEMO_TARGET": f"http://{addresses['caller']}",
            "DEMO_RATE": str(calls_per_second),
        },
    }
    with contextlib.ExitStack() as stack:
        processes = {}
        for role, variables in roles.items():
            environment = {
                "PATH": os.environ["PATH"],
                "DEMO_HOST": _LOOPBACK,
                "DEMO_PORT": str(ports[role]),
                "DEMO_SEED": "7",
                **variables,
            }
            if role != "upstream":
                environment |= _pushing(role, addresses[role], otlp_port)
            process = _process(role, environment, folder / f"{role}.log")
            processes[role] = stack.enter_context(process)
        for role, process in processes.items():
            _wait_until_ready(process, addresses[role], folder / f"{role}.log")
        yield Demo(addresses, processes)


def _settings(path: Path, upstream_port: int) -> dict[str, str]:
    """Return the assignments of *path*, with the upstreams where they are this time."""
    command = ["env", "-i", "sh", "-c", 'set -a; . "$0"; env -0', str(path.resolve())]
    output = subprocess.run(command, check=True, capture_output=True, timeout=10).stdout.decode()
    pairs = dict(line.split("=", 1) for line in output.split("\0") if line)
    shell = {"PWD", "OLDPWD", "SHLVL", "_"}

    def moved(match: re.Match[str]) -> str:
        return f"{match[1]}:{upstream_port + int(match[2])}"

    return {
        name: _DOCUMENTED.sub(moved, value) for name, value in pairs.items() if name not in shell
    }


def _pushing(role: str, address: str, port: int) -> dict[str, str]:
    return {
        "OTEL_SERVICE_NAME": role,
        "OTEL_RESOURCE_ATTRIBUTES": f"service.instance.id={address},deployment.environment=test",
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{_LOOPBACK}:{port}",
        "OTEL_METRICS_EXPORTER": "otlp",
        "OTEL_METRIC_EXPORT_INTERVAL": "1000",
        "OTEL_METRIC_EXPORT_TIMEOUT": "5000",
    }


@contextlib.contextmanager
def _process(
    role: str, environment: Mapping[str, str], log: Path
) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "platform_http", "demo", role]
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, env=environment, stdout=output, stderr=subprocess.STDOUT
        )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()


def _wait_until_ready(process: subprocess.Popen[bytes], address: str, log: Path) -> None:
    give_up = time.monotonic() + _READY_WITHIN
    while time.monotonic() < give_up:
        if process.poll() is not None:
            pytest.fail(f"exited with {process.returncode}: {log.read_text(errors='replace')}")
        with contextlib.suppress(OSError):
            urllib.request.urlopen(f"http://{address}/readyz", timeout=1).close()
            return
        time.sleep(0.05)
    pytest.fail(f"not ready: {log.read_text(errors='replace')}")


def _four_free_ports() -> int:
    """Return the first of four neighbouring ports that nobody listens on."""
    while True:
        first = free_port()
        with contextlib.suppress(OSError, OverflowError), contextlib.ExitStack() as stack:
            for port in range(first, first + 4):
                stack.enter_context(socket.socket()).bind((_LOOPBACK, port))
            return first
