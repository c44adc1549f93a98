"""The README's examples work as they are printed, and what it says of settings is so."""

from __future__ import annotations

import asyncio
import os
import re
import sys
import tomllib
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from yarl import URL

from platform_http import open_session

pytest_plugins = "pytester"

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")
SCRIPTS = re.findall(r"^```python\n(.*?)^```$", TEXT, re.DOTALL | re.MULTILINE)
LAST_LINE = "asyncio.run(main())\n"


def _script(word: str) -> str:
    """Return the one Python example that holds *word*."""
    (script,) = (each for each in SCRIPTS if word in each)
    return script


@pytest.fixture
def invoices() -> web.Application:
    async def invoice(request: web.Request) -> web.Response:
        return web.json_response({"number": request.match_info["number"]})

    application = web.Application()
    application.router.add_get("/api/{kind}/{number}", invoice)
    return application


async def _run(script: str, **environ: str) -> tuple[str, str]:
    """Run *script* in an interpreter of its own; return its output and what it logged."""
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PLATFORM_HTTP_", "OTEL_", "PROMETHEUS_"))
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-W",
        "error",
        "-c",
        script,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        cwd=ROOT,
        env={**inherited, **environ},
    )
    output, errors = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 0, errors.decode()
    return output.decode(), errors.decode()


async def test_the_quick_start_is_a_whole_script(invoices):
    async with TestServer(invoices, host="127.0.0.1") as server:
        output, errors = await _run(
            _script("CallOptions("),
            PLATFORM_HTTP_CLIENTS__BILLING__BASE_URL=str(server.make_url("/api/")),
            PLATFORM_HTTP_CLIENTS__BILLING__TIMEOUT__TOTAL="3",
            PLATFORM_HTTP_RETRY__MAX_ATTEMPTS="2",
        )
    assert output == "{'number': '42'}\n"
    assert errors == ""


async def test_the_quick_start_with_telemetry_has_sent_its_spans_after_the_shutdown(invoices):
    quick_start = _script("CallOptions(")
    assert quick_start.endswith(LAST_LINE)
    script = f"""{quick_start.removesuffix(LAST_LINE)}{_script("configure_telemetry(")}
print("after the shutdown")
"""
    async with TestServer(invoices, host="127.0.0.1") as server:
        output, _ = await _run(
            script,
            PLATFORM_HTTP_CLIENTS__BILLING__BASE_URL=str(server.make_url("/api/")),
            OTEL_TRACES_EXPORTER="console",
        )
    answer, spans = output.removesuffix("after the shutdown\n").split("\n", 1)
    assert answer == "{'number': '42'}"
    assert "after the shutdown" not in spans
    assert '"name": "GET /invoices/{id}"' in spans
    assert '"name": "invoices.get"' in spans
    assert '"service.name": "billing-gateway"' in spans


async def test_the_service_has_sessions_probes_and_a_metrics_page(invoices, monkeypatch):
    page: dict[str, object] = {}
    exec(_script("platform_http.web"), page)
    application = page["application"]
    assert isinstance(application, web.Application)
    async with TestServer(invoices, host="127.0.0.1") as server:
        base_url = str(server.make_url("/api/"))
        monkeypatch.setenv("PLATFORM_HTTP_CLIENTS__INVENTORY__BASE_URL", base_url)
        async with (
            TestServer(application, host="127.0.0.1") as scraped,
            open_session("readme") as session,
        ):
            async with session.get(scraped.make_url("/stock/7")) as response:
                assert await response.json(content_type=None) == {"number": "7"}
            elsewhere = URL(f"{scraped.make_url('/stock/')}..%2F..%2Fadmin", encoded=True)
            async with session.get(elsewhere) as response:
                assert response.status == 404
            for probe in ("/healthz", "/readyz"):
                async with session.get(scraped.make_url(probe)) as response:
                    assert response.status == 200
            async with session.get(scraped.make_url("/metrics")) as response:
                assert response.content_type == "text/plain"
                text = await response.text()
            openmetrics = {"Accept": "application/openmetrics-text"}
            async with session.get(scraped.make_url("/metrics"), headers=openmetrics) as response:
                assert response.content_type == "application/openmetrics-text"
    sample = (
        r'^platform_http_calls_total\{client="inventory",error_type="",.*outcome="success"\} 1\.0$'
    )
    assert re.search(sample, text, re.MULTILINE)


async def test_the_log_lines_have_the_trace_in_them():
    script = _script("TraceContextFilter") + (
        "from opentelemetry.sdk.trace import TracerProvider\n"
        'with TracerProvider().get_tracer("readme").start_as_current_span("work") as span:\n'
        '    logging.getLogger("application").info("inside")\n'
        "print(f'{span.get_span_context().trace_id:032x} {span.get_span_context().span_id:016x}')\n"
    )
    output, errors = await _run(script)
    assert errors == f"INFO application {output.strip()} inside\n"


async def test_the_faults_of_the_testing_package_are_got_over():
    output, errors = await _run(_script("FaultProxy"))
    assert output == "at last after 3 requests\n"
    assert errors == ""


def test_the_fixtures_of_the_testing_package_are_found(pytester: pytest.Pytester):
    pytester.makeini(
        "[pytest]\nasyncio_mode = auto\nasyncio_default_fixture_loop_scope = function\n"
    )
    pytester.makepyfile(_script("platform_http_overrides"))
    pytester.runpytest_inprocess("-p", "no:cloudcoil", "-W", "error").assert_outcomes(passed=1)


def test_every_example_is_run():
    assert len(SCRIPTS) == 6


def test_every_extra_is_described():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    table = TEXT.partition("| extra | brings |")[2].partition("\n\n")[0]
    described = dict(re.findall(r"^\| `(\w+)` \| (.+) \|$", table, re.MULTILINE))
    assert set(described) == set(project["optional-dependencies"])
    assert all(len(words.split()) <= 8 for words in described.values())
