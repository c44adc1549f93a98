"""The three roles as commands, as processes, and the load."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import aiohttp
import pytest
from aiohttp import web
from prometheus_client import CollectorRegistry
from typer.testing import CliRunner
from yarl import URL

from platform_http import HttpSettings
from platform_http.cli import build_app
from platform_http.cli.demo.roles.load import load_app
from platform_http.cli.demo.roles.process import Address, run_role
from tests.web.conftest import running

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from click.testing import Result

PROGRAM = str(Path(sys.executable).parent / "platform-http")


class Started:
    """Stands for running a role."""

    def __init__(self) -> None:
        self.name = ""
        self.address: Address | None = None
        self.make: Callable[[object], web.Application] | None = None

    def __call__(self, name: str, make, address: Address) -> None:
        self.name, self.make, self.address = name, make, address


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> Started:
    started = Started()
    monkeypatch.setattr("platform_http.cli.demo.roles.process.run_role", started)
    return started


def _demo(*arguments: str, **environ: str) -> Result:
    return CliRunner().invoke(build_app(), ["demo", *arguments], env=environ)


@pytest.mark.parametrize(
    ("role", "address"),
    [
        ("upstream", Address("127.0.0.1", 9000, 1.0)),
        ("caller", Address("127.0.0.1", 8080, 1.0)),
        ("load", Address("127.0.0.1", 8081, 0.0)),
    ],
)
def test_roles_have_ports_that_fit_together(started: Started, role, address) -> None:
    result = _demo(role)
    assert result.exit_code == 0, result.output
    assert (started.name, started.address) == (role, address)


@pytest.mark.parametrize("role", ["upstream", "caller", "load"])
def test_options_come_from_variables_and_the_command_line_is_stronger(started, role) -> None:
    variables = {"DEMO_HOST": "0.0.0.0", "DEMO_PORT": "7000", "DEMO_DRAIN_DELAY": "3"}
    assert _demo(role, **variables).exit_code == 0
    assert started.address == Address("0.0.0.0", 7000, 3.0)
    assert _demo(role, "--port", "7001", "--host", "::1", **variables).exit_code == 0
    assert started.address == Address("::1", 7001, 3.0)


@pytest.mark.parametrize(
    ("arguments", "environ", "said"),
    [
        (["load", "--target", "caller"], {}, "a URL of http"),
        (["load"], {"DEMO_TARGET": "ftp://caller"}, "DEMO_TARGET"),
        (["load"], {"DEMO_RATE": "0"}, "DEMO_RATE"),
        (["upstream"], {"DEMO_DAY": "-1"}, "DEMO_DAY"),
        (["upstream", "--port", "65535"], {}, "--port"),
        (["upstream"], {"DEMO_TLS_FILE": __file__}, "a PEM file with a certificate"),
        (["upstream", "--tls-file", "absent.pem"], {}, "a PEM file with a certificate"),
        (["caller"], {"DEMO_DRAIN_DELAY": "-1"}, "DEMO_DRAIN_DELAY"),
        (["--once", "upstream"], {}, "--once is not an option of upstream"),
    ],
)
def test_wrong_usage_names_what_to_change(started, arguments, environ, said) -> None:
    result = _demo(*arguments, **environ)
    assert result.exit_code == 2
    assert said in " ".join(result.stderr.replace("│", " ").split())
    assert started.address is None


def _run(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [PROGRAM, "demo", *arguments],
        env={"PATH": os.environ["PATH"], **environ},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_an_invalid_configuration_is_exit_code_2() -> None:
    result = _run("caller", "--port", "0", PLATFORM_HTTP_TIMEOUT__TOTAL="never")
    assert result.returncode == 2
    assert "PLATFORM_HTTP_TIMEOUT__TOTAL" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_taken_port_is_exit_code_1() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        result = _run("caller", "--port", str(taken.getsockname()[1]))
    assert result.returncode == 1
    assert "caller cannot listen: " in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("host", ["192.0.2.1", "no-such-host.invalid"])
def test_an_address_that_is_not_of_this_machine_is_exit_code_1(host) -> None:
    result = _run("load", "--port", "0", "--host", host)
    assert result.returncode == 1
    assert "load cannot listen: " in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    "error",
    [
        PermissionError(errno.EACCES, "Permission denied", "token"),
        OSError(errno.ENOSPC, "No space left on device"),
        ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_no_other_error_says_that_it_cannot_listen(capsys, error) -> None:
    def make(_: object) -> web.Application:
        raise error

    with pytest.raises(type(error)):
        run_role("caller", make, Address("127.0.0.1", 0, 0))
    assert "cannot listen" not in capsys.readouterr().err


@contextlib.asynccontextmanager
async def _process(*arguments: str, **environ: str) -> AsyncIterator[tuple[URL, object]]:
    process = await asyncio.create_subprocess_exec(
        PROGRAM,
        "demo",
        *arguments,
        env={"PATH": os.environ["PATH"], **environ},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        line = (await asyncio.wait_for(process.stdout.readline(), 30)).decode()
        yield URL(line.partition(" ")[2].strip()), process
        process.send_signal(signal.SIGTERM)
        _, errors = await asyncio.wait_for(process.communicate(), 30)
        assert process.returncode == 0
        assert "Traceback" not in errors.decode()
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()


@pytest.mark.parametrize("role", ["upstream", "caller", "load"])
async def test_every_role_has_the_pages_for_probes_and_scrapes_and_ends_on_sigterm(role) -> None:
    arguments = [role, "--port", "0", "--drain-delay", "0"]
    if role == "load":
        arguments += ["--target", "http://127.0.0.1:9"]
    async with _process(*arguments) as (url, _), aiohttp.ClientSession() as client:
        for page, text in (
            ("healthz", "alive"),
            ("readyz", "ready"),
            ("metrics", "platform_http_build_info"),
        ):
            async with client.get(url / page) as response:
                assert response.status == 200
                assert text in await response.text()


CANCELLED = (
    'platform_http_calls_total{client="caller",error_type="",'
    'operation="orders.browse",outcome="cancelled"}'
)


async def _count(url: URL, sample: str) -> float:
    async with aiohttp.ClientSession() as client, client.get(url / "metrics") as response:
        lines = (await response.text()).splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(sample))


async def test_the_load_is_steady_mixed_and_impatient_and_survives_failures() -> None:
    seen: list[tuple[str, str, str | None]] = []

    async def answer(request: web.Request) -> web.Response:
        time_left = request.headers.get("X-Request-Timeout-Ms")
        seen.append((request.method, request.path.split("/")[1], time_left))
        await asyncio.sleep(0.25)
        # What the load never stops on.
        if len(seen) % 3 == 0:
            request.transport.abort()
        return web.json_response({}, status=503 if len(seen) % 3 == 1 else 200)

    caller = web.Application()
    caller.router.add_route("*", "/{path:.*}", answer)
    registry = CollectorRegistry()
    async with running(caller) as url:
        settings = HttpSettings(
            clients={"caller": {"base_url": str(url)}}, circuit_breaker={"mode": "off"}
        )
        app = load_app(settings, rate=100, seed=1, registry=registry)
        async with running(app) as page:
            async with asyncio.timeout(20):
                while len(seen) < 100 or not await _count(page, CANCELLED):  # noqa: ASYNC110 - a page
                    await asyncio.sleep(0.05)
    assert {path for _, path, _ in seen} >= {"orders", "search", "suggest", "legacy", "partners"}
    assert ("POST", "orders") in {(method, path) for method, path, _ in seen}
    # The caller bounds its own calls by this.
    assert all(time_left is not None for _, _, time_left in seen)
    ended = len(seen)
    await asyncio.sleep(0.2)
    assert len(seen) == ended
