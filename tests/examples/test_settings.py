"""The reference settings show every metric of the library in a run of the three roles."""

from __future__ import annotations

import re
import time
from pathlib import Path

from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from platform_http.telemetry.metrics import Metrics
from tests.examples.commands import PLATFORM_HTTP, ROOT, SECONDS, free_ports, get, printing_its_url

SETTINGS = Path("examples/service/settings.env")
EMPTY = {
    "platform_http_telemetry_errors": "no telemetry hook fails in a healthy library",
    "platform_http_tls_certificate_expiry_timestamp_seconds": "no certificate comes with the demo",
    "platform_http_tls_reloads": "as above",
    "platform_http_token_refreshes": "the upstreams ask for no token",
    "platform_http_rate_limit_store_errors": "the rate limit is not shared, so there is no store",
}
BASE_URL = re.compile(r"^(PLATFORM_HTTP_CLIENTS__\w+__BASE_URL)=(https?://localhost:)(90\d\d)/$")


def _families() -> set[str]:
    registry = CollectorRegistry()
    Metrics.of(registry)
    return {family.name for family in registry.collect()}


def _base_urls(control_port: int) -> dict[str, str]:
    """Return the base URLs of the file with the ports that this test has."""
    lines = (ROOT / SETTINGS).read_text(encoding="utf-8").splitlines()
    found = [match for line in lines if (match := BASE_URL.match(line))]
    return {match[1]: f"{match[2]}{int(match[3]) - 9000 + control_port}/" for match in found}


def _filled(page: str) -> set[str]:
    return {
        family.name
        for family in text_string_to_metric_families(page)
        if any(sample.value for sample in family.samples)
    }


def test_every_metric_has_data_within_a_day() -> None:
    port = free_ports(4)
    base_urls = _base_urls(port)
    assert len(base_urls) == 4
    wanted = _families() - EMPTY.keys()
    filled: set[str] = set()
    with (
        printing_its_url(PLATFORM_HTTP, "demo", "upstream", DEMO_PORT=str(port), DEMO_DAY="12"),
        printing_its_url(
            PLATFORM_HTTP,
            "demo",
            "caller",
            DEMO_PORT="0",
            PLATFORM_HTTP_ENV_FILE=str(SETTINGS),
            **base_urls,
        ) as caller,
        printing_its_url(
            PLATFORM_HTTP, "demo", "load", DEMO_PORT="0", DEMO_TARGET=caller, DEMO_RATE="30"
        ),
    ):
        give_up = time.monotonic() + SECONDS
        # A gauge may be zero again at the end.
        while not wanted <= filled and time.monotonic() < give_up:
            time.sleep(0.5)
            filled |= _filled(get(f"{caller}metrics"))
    assert wanted - filled == set()
    assert filled.isdisjoint(EMPTY)
