"""What ``import platform_http`` loads."""

from __future__ import annotations

import subprocess
import sys

import platform_http

# Each of these costs more than the library, and most services never need it.
HEAVY = (
    "grpc",
    "opentelemetry.sdk",
    "opentelemetry.exporter",
    "typer",
    "rich",
    "python_socks",
    "aiodns",
    "truststore",
)

NEEDED = (
    "import aiohttp, opentelemetry.trace, opentelemetry.propagate, prometheus_client, "
    "pydantic_settings"
)

# Building the settings models takes as long as importing all the rest; a proxy needs ipaddress, and
# nobody reads certificates before there is a factory or a connection.
LATE = (
    "platform_http.settings",
    "platform_http.transport.client_tls",
    "platform_http.transport.peers",
    "platform_http.transport.proxy",
    "platform_http.transport.tls",
)


def _modules_after(statement: str) -> set[str]:
    script = f"import sys; {statement}; print('\\n'.join(sys.modules))"
    run = [sys.executable, "-W", "error", "-c", script]
    result = subprocess.run(run, capture_output=True, text=True, check=True, timeout=60)
    return set(result.stdout.split())


def _among(modules: set[str], names: tuple[str, ...]) -> set[str]:
    """Return those of *modules* that are one of *names* or below one."""
    return {
        module
        for module in modules
        if any(module == name or module.startswith(f"{name}.") for name in names)
    }


def test_importing_the_package_loads_nothing_heavy() -> None:
    without = _modules_after("import aiohttp")
    loaded = _modules_after("import platform_http") - without
    assert _among(loaded, HEAVY) == set()


def test_importing_the_package_loads_its_own_modules_and_what_a_service_has_anyway() -> None:
    # benchmarks/import_cost.py measures what this bounds without a clock.
    own = _modules_after(f"{NEEDED}; import platform_http") - _modules_after(NEEDED)
    assert "platform_http.factory" in own
    assert own - _among(own, ("platform_http",)) == set()
    assert _among(own, LATE) == set()


def test_the_public_names_are_sorted_and_exist() -> None:
    assert sorted(platform_http.__all__) == platform_http.__all__
    for name in platform_http.__all__:
        assert getattr(platform_http, name).__doc__, name


def test_the_package_is_typed() -> None:
    from importlib.resources import files

    assert files("platform_http").joinpath("py.typed").is_file()
