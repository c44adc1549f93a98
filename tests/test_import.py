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


def _modules_after(statement: str) -> set[str]:
    script = f"import sys; {statement}; print('\\n'.join(sys.modules))"
    run = [sys.executable, "-W", "error", "-c", script]
    result = subprocess.run(run, capture_output=True, text=True, check=True, timeout=60)
    return set(result.stdout.split())


def test_importing_the_package_loads_nothing_heavy() -> None:
    without = _modules_after("import aiohttp")
    loaded = _modules_after("import platform_http") - without
    for name in HEAVY:
        assert not {module for module in loaded if module == name or module.startswith(f"{name}.")}


def test_the_public_names_are_sorted_and_exist() -> None:
    assert sorted(platform_http.__all__) == platform_http.__all__
    for name in platform_http.__all__:
        assert getattr(platform_http, name).__doc__, name


def test_the_package_is_typed() -> None:
    from importlib.resources import files

    assert files("platform_http").joinpath("py.typed").is_file()
