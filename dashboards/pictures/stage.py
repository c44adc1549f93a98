"""The scene: the three roles of the demo, and a Prometheus that scrapes them every second."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import os
import re
import sys
import time
import urllib.parse
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Final

import trustme

from dashboards.pictures import history
from dashboards.pictures.processes import ProcessError, free_ports, program, serving
from dashboards.pictures.record import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from dashboards.pictures.processes import Process

SCRAPE_SECONDS: Final = 1
_RULE_SECONDS: Final = 15
# In the example the upstreams have the three ports after that of their control page.
_UPSTREAM_PORT: Final = 9000
_UPSTREAMS: Final = 3
_UPSTREAM_URL: Final = re.compile(r"(?P<host>https?://[^/:]+):(?P<port>900[1-3])\b")
# Soon enough for an alert.
_LIFETIME: Final = dt.timedelta(days=10)
_SETTINGS: Final = ROOT / "examples" / "service" / "settings.env"
_RULES: Final = ROOT / "dashboards" / "prometheus"


@contextlib.contextmanager
def stage(folder: Path, day: float) -> Iterator[Stage]:
    """Run the scene as long as the block.

    Args:
        folder: Takes logs, configuration and data.
        day: Length of the demo's day, seconds.

    Raises:
        ProcessError: If a program is missing or does not serve.
    """
    prometheus = program("prometheus", "prometheus")
    first = free_ports(_UPSTREAMS + 1)
    ports = {"upstream": first, "caller": free_ports(1), "load": free_ports(1)}
    identity, authority = _issued(folder)
    settings = moved(settings_of(_SETTINGS), first) | {
        "PLATFORM_HTTP_CLIENTS__SEARCH__BASE_URL": f"https://localhost:{first + 3}/",
        "PLATFORM_HTTP_CLIENTS__SEARCH__TLS__CA_FILE": str(authority),
        "PLATFORM_HTTP_CLIENTS__BILLING__TLS__CERT_FILE": str(identity),
    }
    roles = {
        "upstream": {"DEMO_DAY": str(day), "DEMO_TLS_FILE": str(identity)},
        "caller": settings,
        "load": {"DEMO_TARGET": _address(ports["caller"])},
    }
    with contextlib.ExitStack() as stack:
        processes = [
            stack.enter_context(
                serving(
                    [str(Path(sys.executable).with_name("platform-http")), "demo", role],
                    _plain_environment() | {"DEMO_PORT": str(ports[role])} | environment,
                    ready=f"{_address(ports[role])}/healthz",
                    log=folder / f"{role}.log",
                )
            )
            for role, environment in roles.items()
        ]
        port = free_ports(1)
        history.write(folder / "data", int(time.time()), _RULE_SECONDS)
        configuration = folder / "prometheus.json"
        # Whatever is JSON is YAML too.
        configuration.write_text(json.dumps(_configuration(ports)))
        processes.append(
            stack.enter_context(
                serving(
                    [
                        prometheus,
                        f"--config.file={configuration}",
                        f"--storage.tsdb.path={folder / 'data'}",
                        f"--web.listen-address=127.0.0.1:{port}",
                        "--enable-feature=exemplar-storage",
                        "--log.level=warn",
                    ],
                    os.environ,
                    ready=f"{_address(port)}/-/ready",
                    log=folder / "prometheus.log",
                )
            )
        )
        yield Stage(_address(port), processes)


class Stage:
    """The running scene.

    Args:
        prometheus: Base URL of Prometheus.
        processes: All that has to run.
    """

    def __init__(self, prometheus: str, processes: list[Process]) -> None:
        self.prometheus = prometheus
        self._processes = processes

    def play(self, seconds: float) -> None:
        """Let it run for *seconds*.

        Raises:
            ProcessError: If a process ends meanwhile, or a role is not scraped at the end.
        """
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            for process in self._processes:
                process.check()
            time.sleep(1)
        down = [series["metric"]["job"] for series in self._query("up == 0")]
        if down:
            raise ProcessError(f"Prometheus cannot scrape {', '.join(down)}")
        if not self._query("platform_http_calls_total > 0"):
            raise ProcessError("the demo made no calls")

    def _query(self, expression: str) -> list[dict[str, dict[str, str]]]:
        query = urllib.parse.urlencode({"query": expression})
        address = f"{self.prometheus}/api/v1/query?{query}"
        with urllib.request.urlopen(address, timeout=10) as response:  # noqa: S310 - loopback
            result: list[dict[str, dict[str, str]]] = json.load(response)["data"]["result"]
            return result


def _issued(folder: Path) -> tuple[Path, Path]:
    """Write a certificate with its key, and the authority that issued it."""
    # For whoever takes pictures; the demo itself has no certificates.
    authority = trustme.CA()
    end = dt.datetime.now(dt.UTC) + _LIFETIME
    identity = authority.issue_cert("localhost", not_after=end)
    files = folder / "identity.pem", folder / "authority.pem"
    identity.private_key_and_cert_chain_pem.write_to_path(str(files[0]))
    authority.cert_pem.write_to_path(str(files[1]))
    return files


def settings_of(path: Path) -> dict[str, str]:
    """Return the variables of an env file: lines ``NAME=value``, comments and empty lines."""
    lines = (line.strip() for line in path.read_text().splitlines())
    return dict(line.split("=", maxsplit=1) for line in lines if line and not line.startswith("#"))


def moved(settings: Mapping[str, str], first: int) -> dict[str, str]:
    """Return *settings* with the URLs of the upstreams at the ports after *first*."""

    def replace(match: re.Match[str]) -> str:
        return f"{match['host']}:{first + int(match['port']) - _UPSTREAM_PORT}"

    return {name: _UPSTREAM_URL.sub(replace, value) for name, value in settings.items()}


def _plain_environment() -> dict[str, str]:
    """Return the environment without what would change the demo."""
    prefixes = ("PLATFORM_HTTP_", "OTEL_", "DEMO_")
    return {
        name: value for name, value in os.environ.items() if not name.upper().startswith(prefixes)
    }


def _configuration(ports: Mapping[str, int]) -> dict[str, object]:
    interval = f"{SCRAPE_SECONDS}s"
    return {
        "global": {"scrape_interval": interval, "evaluation_interval": f"{_RULE_SECONDS}s"},
        "rule_files": [str(path) for path in sorted(_RULES.glob("*.yaml"))],
        "scrape_configs": [
            {"job_name": role, "static_configs": [{"targets": [f"127.0.0.1:{port}"]}]}
            for role, port in ports.items()
        ],
    }


def _address(port: int) -> str:
    return f"http://127.0.0.1:{port}"
