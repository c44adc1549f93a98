"""The plugin as a service has it: found by pytest, in its own suite, in both modes."""

from __future__ import annotations

import functools
import subprocess
import sys

import pytest

import platform_http.testing
from platform_http.testing import LeakDetector

pytest_plugins = "pytester"

AUTO = "[pytest]\nasyncio_mode = auto\nasyncio_default_fixture_loop_scope = function\n"
STRICT = AUTO.replace("auto", "strict")

SERVICE = """
import pytest

from platform_http import CircuitOpenError
from platform_http.testing.actions import respond

@pytest.fixture
def platform_http_overrides(fault_server):
    return {"base_url": str(fault_server.url), "retry": {"max_attempts": 2}}

async def status(session):
    async with session.get("orders") as response:
        await response.read()
        return response.status

MARK
async def test_a_scripted_failure_is_retried(platform_http_session, fault_server):
    fault_server.script = [respond(503), respond(200)]
    assert await status(platform_http_session) == 200
    assert len(fault_server.requests) == 2

MARK
@pytest.mark.platform_http(retry={"enabled": False}, circuit_breaker={"minimum_calls": 3})
async def test_an_open_circuit_lets_a_probe_through(
    fake_clock, platform_http_session, fault_server
):
    fault_server.script = [respond(503)]
    for _ in range(3):
        assert await status(platform_http_session) == 503
    with pytest.raises(CircuitOpenError):
        await status(platform_http_session)
    fault_server.script = [respond(200)]
    fake_clock.advance(60)
    assert await status(platform_http_session) == 200

MARK
async def test_what_is_recorded_can_be_read(
    platform_http_session, fault_server, captured_spans, captured_metrics
):
    fault_server.script = [respond(503), respond(200)]
    assert await status(platform_http_session) == 200
    (call,) = captured_spans.calls
    assert [span.attributes["http.response.status_code"] for span in
            captured_spans.attempts_of(call)] == [503, 200]
    assert captured_metrics.value("platform_http_retries_total", reason="503") == 1
"""


def _suite(pytester: pytest.Pytester, text: str, configuration: str = AUTO) -> None:
    pytester.makeini(configuration)
    mark = "" if "asyncio_mode = auto" in configuration else "@pytest.mark.asyncio"
    pytester.makepyfile(text.replace("MARK", mark))


def _run(pytester: pytest.Pytester, *arguments: str) -> pytest.RunResult:
    # What this project loads beside it would only be in the way.
    return pytester.runpytest_inprocess("-p", "no:cacheprovider", "-p", "no:cloudcoil", *arguments)


@pytest.mark.parametrize("mode", [AUTO, STRICT], ids=["auto", "strict"])
def test_a_service_tests_with_the_fixtures(pytester: pytest.Pytester, mode: str) -> None:
    _suite(pytester, SERVICE, mode)
    _run(pytester, "--strict-markers", "-W", "error").assert_outcomes(passed=3)


def test_the_markers_lie_over_the_overrides_the_closest_one_on_top(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PLATFORM_HTTP_RETRY__MAX_ATTEMPTS", "5")
    monkeypatch.setenv("PLATFORM_HTTP_NO_SUCH_SETTING", "1")
    _suite(
        pytester,
        """
        import pytest

        pytestmark = pytest.mark.platform_http(retry={"max_attempts": 4}, timeout={"total": 3})

        @pytest.fixture
        def platform_http_overrides():
            return {"retry": {"max_attempts": 2, "statuses": [500]}}

        @pytest.mark.platform_http(timeout={"total": 1}, clients={"a": {"timeout": {"total": 2}}})
        def test_settings(platform_http_settings):
            settings = platform_http_settings.client()
            assert settings.retry.max_attempts == 4
            assert settings.retry.statuses == {500}
            assert settings.timeout.total == 1
            assert settings.retry.backoff_max < 0.01
            assert platform_http_settings.client("a").timeout.total == 2

        @pytest.mark.platform_http("retry")
        def test_a_marker_without_names(platform_http_settings):
            pass

        @pytest.mark.platform_http(rettry={"max_attempts": 1})
        def test_a_misspelled_marker(platform_http_settings):
            pass
        """,
    )
    result = _run(pytester)
    result.assert_outcomes(passed=1, errors=2)
    result.stdout.fnmatch_lines(["*takes keyword arguments only*"])
    result.stdout.fnmatch_lines(["*rettry is unknown*"])


def test_in_a_loop_for_the_whole_session_too(pytester: pytest.Pytester) -> None:
    wide = AUTO.replace("function", "session") + "asyncio_default_test_loop_scope = session\n"
    _suite(pytester, SERVICE, f"{wide}platform_http_leaks = true\n")
    _run(pytester, "--strict-markers", "-W", "error").assert_outcomes(passed=3)


LEAKING = """
import asyncio
import pytest

left = []

MARK
async def test_a_task_is_left():
    left.append(asyncio.create_task(asyncio.sleep(60), name="loiterer"))

MARK
async def test_nothing_is_left():
    pass

def test_synchronous():
    pass
"""


@pytest.mark.parametrize("mode", [AUTO, STRICT], ids=["auto", "strict"])
def test_leaks_fail_every_asynchronous_test_where_asked_for(
    pytester: pytest.Pytester, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What is left on purpose need not be waited for long.
    impatient = functools.partial(LeakDetector, settle=0.05)
    monkeypatch.setattr(platform_http.testing, "LeakDetector", impatient)
    _suite(pytester, LEAKING, f"{mode}platform_http_leaks = true\n")
    result = _run(pytester)
    result.assert_outcomes(passed=3, errors=1)
    result.stdout.fnmatch_lines(["*LeakError: left behind:*", "*task loiterer (sleep)*"])


def test_nothing_watches_for_leaks_by_default(pytester: pytest.Pytester) -> None:
    _suite(pytester, LEAKING)
    result = _run(pytester, "--setup-show")
    result.assert_outcomes(passed=3)
    result.stdout.no_fnmatch_line("*platform_http*")
    result.stdout.no_fnmatch_line("*leak_detector*")


def test_without_pytest_asyncio_the_fixtures_say_what_to_install(
    pytester: pytest.Pytester,
) -> None:
    pytester.makepyfile(
        """
        def test_it(platform_http_session):
            pass

        def test_a_server(fault_server):
            pass

        def test_what_needs_no_loop(fake_clock, captured_metrics, platform_http_settings):
            pass
        """
    )
    result = _run(pytester, "-p", "no:asyncio", "-p", "no:aiohttp")
    result.assert_outcomes(passed=1, errors=2)
    result.stdout.fnmatch_lines(["*needs pytest-asyncio*install platform-http?testing?*"])


def test_the_plugin_loads_nothing_of_the_package_until_a_fixture_is_used() -> None:
    script = (
        "import sys, pytest_platform_http;"
        "print([name for name in sys.modules if name.partition('.')[0] in "
        "('platform_http', 'aiohttp', 'opentelemetry', 'prometheus_client', 'pydantic')])"
    )
    # Where there is no pytest-asyncio it does without.
    for blocked in ("", "import sys; sys.modules['pytest_asyncio'] = None; "):
        run = [sys.executable, "-W", "error", "-c", blocked + script]
        output = subprocess.run(run, capture_output=True, text=True, check=True, timeout=60).stdout
        assert output == "[]\n"
