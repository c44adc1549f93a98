"""What is installed: the same for all clients."""

from __future__ import annotations

import importlib.util
import platform
import ssl
from importlib.metadata import version
from typing import TYPE_CHECKING

import aiohttp
from aiohttp import compression_utils, http_parser

from platform_http.cli.check.report import ok, warning

if TYPE_CHECKING:
    from collections.abc import Iterator

    from platform_http.cli.check.report import Item

# A module of each extra that brings one; "cli" is here, or nobody would ask.
_EXTRAS = {
    "dns": "aiodns",
    "redis": "limits",
    "socks": "python_socks",
    "simulation": "matplotlib",
    "testing": "trustme",
}


def installation() -> Iterator[Item]:
    """Yield what concerns the whole process."""
    yield ok(
        None,
        "versions",
        f"platform_http {version('platform-http')}, aiohttp {aiohttp.__version__}, "
        f"Python {platform.python_version()}, {ssl.OPENSSL_VERSION}",
    )
    yield _parser()
    yield ok(
        None,
        "zstd",
        "zstd responses are decoded"
        if compression_utils.HAS_ZSTD
        else "zstd is not asked for; platform-http[speedups] brings it",
    )
    extras = [extra for extra, module in _EXTRAS.items() if importlib.util.find_spec(module)]
    yield ok(None, "extras", ", ".join(["cli", *extras]))


def _parser() -> Item:
    if http_parser.HttpResponseParser is http_parser.HttpResponseParserPy:
        return warning(
            None,
            "parser",
            "aiohttp parses HTTP in Python: slower, and more lenient in its past",
            "install a wheel of aiohttp for this platform, and unset AIOHTTP_NO_EXTENSIONS",
        )
    return ok(None, "parser", "aiohttp parses HTTP in C (llhttp)")
