"""The pytest plugin of platform_http: fixtures for the tests of services.

Nothing has to be imported or declared: pytest finds it wherever platform_http is installed. It does
nothing until a test asks for one of its fixtures:

- ``platform_http_factory`` and ``platform_http_session``; their ``platform_http_settings`` are what
  ``platform_http_overrides`` and the marker ``platform_http`` say, and nothing of the environment;
- ``fault_server``, ``fake_clock``, ``captured_spans``, ``captured_metrics`` and ``leak_detector``.

The asynchronous ones run in the event loop that ``asyncio_default_fixture_loop_scope`` names; where
tests run in a wider one than their own (``loop_scope=``), set it to the same.

With ``platform_http_leaks = true`` in pytest's configuration the leak detector watches every
asynchronous test. ``-p no:platform_http`` switches the plugin off.

It is a module beside the package and imports platform_http only inside of its fixtures: every run
of pytest loads it, wherever platform_http is installed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

try:
    from pytest_asyncio import fixture as _async_fixture
except ImportError:
    # Its place is taken by what fails with a remedy, see _platform_http_event_loop.
    _async_fixture = pytest.fixture  # type: ignore[assignment]  # see the comment

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    import aiohttp

    from platform_http import HttpSettings, SessionFactory
    from platform_http.testing import CapturedMetrics, CapturedSpans, FakeClock, FaultServer

_LEAKS = "platform_http_leaks"
_MARKERS = (
    "platform_http(**settings): settings of this test's factory, as the arguments of HttpSettings",
    "closes_in_flight(reason): the test closes sessions under running requests on purpose",
)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option that lets the leak detector watch every test."""
    parser.addini(
        _LEAKS,
        "fail every asynchronous test that leaves a task, a file descriptor or an acquired "
        "connection behind",
        type="bool",
        default=False,
    )


def pytest_configure(config: pytest.Config) -> None:
    """Register the markers, and the fixture for every test where it was asked for."""
    for marker in _MARKERS:
        config.addinivalue_line("markers", marker)
    if config.getini(_LEAKS):
        config.pluginmanager.register(_LeaksOfEveryTest(), _LEAKS)


class _LeaksOfEveryTest:
    """A plugin of its own: without it no test has a fixture that it did not ask for."""

    @pytest.fixture(autouse=True)
    def _platform_http_leaks(self, request: pytest.FixtureRequest) -> None:
        # Set up first and torn down last, so that the fixtures of a test tidy up before the look.
        if request.node.get_closest_marker("asyncio") is not None:
            request.getfixturevalue("leak_detector")


@pytest.fixture
def _platform_http_event_loop(pytestconfig: pytest.Config) -> None:
    if not pytestconfig.pluginmanager.has_plugin("asyncio"):
        pytest.fail(
            "this fixture of platform_http needs pytest-asyncio, which is not active: "
            "install platform-http[testing], which brings it with pytest-aiohttp, "
            "and run without -p no:asyncio",
            pytrace=False,
        )


@pytest.fixture
def platform_http_overrides() -> Mapping[str, object]:
    """Settings of all tests, as the arguments of HttpSettings; override it in a conftest.py.

    For example the address of a client::

        @pytest.fixture
        def platform_http_overrides(fault_server):
            return {"clients": {"billing": {"base_url": str(fault_server.url)}}}
    """
    return {}


@pytest.fixture
def platform_http_settings(
    request: pytest.FixtureRequest, platform_http_overrides: Mapping[str, object]
) -> HttpSettings:
    """Settings of production, with waits that no test notices, and without the environment.

    Over the defaults lie ``platform_http.testing.FAST``, ``platform_http_overrides`` and the
    markers, the closest one on top::

        @pytest.mark.platform_http(retry={"max_attempts": 1})

    Raises:
        ConfigurationError: With everything that is wrong.
    """
    from platform_http.testing.fast_settings import fast_settings, merged  # noqa: PLC0415 - see the module

    settings = dict(platform_http_overrides)
    for marker in reversed(list(request.node.iter_markers("platform_http"))):
        if marker.args:
            pytest.fail(
                "the marker platform_http takes keyword arguments only, for example "
                "platform_http(retry={'max_attempts': 1})",
                pytrace=False,
            )
        settings = merged(settings, marker.kwargs)
    return fast_settings(**settings)


@_async_fixture
async def platform_http_factory(
    request: pytest.FixtureRequest,
    _platform_http_event_loop: None,
    platform_http_settings: HttpSettings,
    captured_metrics: CapturedMetrics,
    captured_spans: CapturedSpans,
) -> AsyncIterator[SessionFactory]:
    """A SessionFactory of ``platform_http_settings``, closed at the end of the test.

    Its metrics go to ``captured_metrics`` and its spans to ``captured_spans``, its jitter is the
    same in every run, and where a test asks for ``fake_clock`` its policies go by that.
    """
    import random  # noqa: PLC0415 - see the module

    from platform_http import SessionFactory  # noqa: PLC0415 - see the module

    asked = "fake_clock" in request.fixturenames
    async with SessionFactory(
        platform_http_settings,
        registry=captured_metrics.registry,
        tracer_provider=captured_spans.provider,
        clock=request.getfixturevalue("fake_clock") if asked else None,
        rng=random.Random(0),  # noqa: S311 - jitter
    ) as factory:
        yield factory


@_async_fixture
async def platform_http_session(
    platform_http_factory: SessionFactory,
) -> aiohttp.ClientSession:
    """The session of the client ``default``; others are ``platform_http_factory.session(...)``."""
    return platform_http_factory.session()


@_async_fixture
async def fault_server(_platform_http_event_loop: None) -> AsyncIterator[FaultServer]:
    """A server on loopback that answers 200, or by the script that the test sets.

    ::

        fault_server.script = [respond(503), reset(), respond(200)]
    """
    from platform_http.testing import FaultServer  # noqa: PLC0415 - see the module

    async with FaultServer() as server:
        yield server


@pytest.fixture
def fake_clock() -> FakeClock:
    """The clock of the policies of ``platform_http_factory``, moved by ``advance()``."""
    from platform_http.testing import FakeClock  # noqa: PLC0415 - see the module

    return FakeClock()


@pytest.fixture
def captured_spans() -> CapturedSpans:
    """The spans of ``platform_http_factory``."""
    from platform_http.testing import CapturedSpans  # noqa: PLC0415 - see the module

    return CapturedSpans()


@pytest.fixture
def captured_metrics() -> CapturedMetrics:
    """The metrics of ``platform_http_factory``."""
    from platform_http.testing import CapturedMetrics  # noqa: PLC0415 - see the module

    return CapturedMetrics()


@_async_fixture
async def leak_detector(
    request: pytest.FixtureRequest, _platform_http_event_loop: None
) -> AsyncIterator[None]:
    """Fail the test when it leaves a task, a file descriptor or an acquired connection behind.

    Ask for it first: what is set up before it is no concern of it. The marker ``closes_in_flight``
    says that a test closes sessions under running requests on purpose.
    """
    from platform_http.testing import LeakDetector  # noqa: PLC0415 - see the module

    intended = request.node.get_closest_marker("closes_in_flight") is not None
    async with LeakDetector(closes_in_flight=intended):
        yield
