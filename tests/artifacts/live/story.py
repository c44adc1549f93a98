"""One run of the demo that all live tests look back at.

Three Prometheus servers watch the same processes: one scrapes them and evaluates the rules as they
are, one has the same by way of OTLP, and one scrapes them and evaluates the rules in a hurry, for
the sake of an Alertmanager. What they saw stays there to be asked about when the demo is over.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from tests.artifacts.live.demo import ROLES, running_demo
from tests.artifacts.live.history import Page, Past
from tests.artifacts.live.otlp_page import OtlpPage
from tests.artifacts.live.queries import of_panels
from tests.artifacts.live.watch import SCRAPE_INTERVAL, Watch, job
from tests.artifacts.live.webhook import Webhook

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from tests.artifacts.live.demo import Demo
    from tests.artifacts.live.prometheus_api import Prometheus

ROOT = Path(__file__).parents[3]
DASHBOARDS = ROOT / "dashboards" / "grafana"
RUNBOOKS = ROOT / "dashboards" / "runbooks"
RULES = tuple(
    ROOT / "dashboards" / "prometheus" / name for name in ("recording.yaml", "alerts.yaml")
)
SETTINGS = ROOT / "examples" / "service" / "settings.env"

# A rule that looks at five minutes looks at five seconds.
HURRY = 60
_CALLS_PER_SECOND = 20.0
# Enough for every kind of call to have been made, and for a history to be drawn from.
_WARM_UP = 6.0

# Which upstream misbehaves how.
FAULTS: Mapping[str, Mapping[str, object]] = {
    # Slow as well, so that calls queue for the few connections of its pool.
    "billing": {"fault": "unavailable", "share": 0.6, "latency": 0.15},
    # So slow that calls pile up at its concurrency limit and time out, until its circuit opens.
    "inventory": {"fault": "unavailable", "share": 1.0, "latency": 0.5},
    # Seldom enough for the 95th percentile to stay what it is, so that hedges come soon and win.
    "search": {"fault": "hang", "share": 0.03},
}
# What protects an upstream from resends has to be out of the way for an alert about them.
_OVERRIDES = {
    "PLATFORM_HTTP_CLIENTS__BILLING__RETRY__BUDGET__CAPACITY": "5000",
    "PLATFORM_HTTP_CLIENTS__BILLING__CIRCUIT_BREAKER__MODE": "off",
}
# The server's is due for a page, the caller's own for a ticket.
_LIFETIMES = {"search": timedelta(days=2), "billing": timedelta(days=10)}
# Certificates end, customers name addresses that are refused, and the partner always fails: once
# that has come, any other alert had the time to come as well.
ALWAYS = (
    ("CertificateExpiring", "billing"),
    ("CertificateExpiring", "search"),
    ("DnsOrTlsFailures", "partner"),
    ("EgressDenied", "webhooks"),
)
# The alerts that the faults have to raise, and about which client.
PROVOKED = (
    ("CircuitOpen", "inventory"),
    ("ErrorBudgetBurn", "billing"),
    ("RetryAmplification", "billing"),
)


@dataclass(frozen=True)
class Story:
    """What happened when, in seconds since the epoch, and who saw it.

    Args:
        scraped: Scraped the demo, with the rules as they are.
        pushed: Got the same over OTLP.
        in_a_hurry: Scraped it too, with every duration of the rules shortened.
        webhook: What Alertmanager sent.
        pages: The metrics of each role, as text, while there were faults.
        began: The servers ran.
        healthy: The last moment before there were faults, when alerts had had the time to fire.
        faulty: All alerts that the faults had to raise had come, or time was up.
        recovered: The first of the alerts had been resolved, or time was up.
        still: The load had ended, and both ways showed the same, or time was up.
    """

    scraped: Prometheus
    pushed: Prometheus
    in_a_hurry: Prometheus
    webhook: Webhook
    pages: Mapping[str, str]
    began: float
    healthy: float
    faulty: float
    recovered: float
    still: float


@contextlib.contextmanager
def played(folder: Path) -> Iterator[Story]:
    """Play the story; the servers stay until the block ends."""
    with contextlib.ExitStack() as servers:
        webhook = servers.enter_context(Webhook())
        otlp = servers.enter_context(OtlpPage())
        with running_demo(
            SETTINGS,
            folder,
            overrides=_OVERRIDES,
            lifetimes=_LIFETIMES,
            calls_per_second=_CALLS_PER_SECOND,
            otlp_port=otlp.port,
        ) as demo:
            ready = time.time()
            time.sleep(_WARM_UP)
            _remember(folder, demo, otlp, age=time.time() - ready)
            own = [job(role, demo.addresses[role]) for role in ROLES]
            over_otlp = [job("otlp", f"127.0.0.1:{otlp.page_port}", honor_labels=True)]
            watch = Watch(servers, folder, RULES)
            scraped = watch.patiently("scraped", own)
            pushed = watch.patiently("pushed", over_otlp)
            in_a_hurry = watch.in_a_hurry("in_a_hurry", own, HURRY, webhook.port)
            began = time.time()
            until(lambda: all(_came(webhook, "firing", *alert) for alert in ALWAYS), 30)
            healthy = time.time()
            for client, fault in FAULTS.items():
                demo.enter_phase(client, seconds=300, **fault)
            until(lambda: all(_came(webhook, "firing", *alert) for alert in PROVOKED), 45)
            pages = {role: demo.page(role) for role in ROLES}
            faulty = time.time()
            for client in FAULTS:
                demo.enter_phase(client, seconds=300)
            until(lambda: _came(webhook, "resolved", *PROVOKED[0]), 45)
            recovered = time.time()
            demo.end("load")
            until(lambda: not differing_counts(scraped, pushed, time.time()), 15)
            still = time.time()
            # A scrape that has begun would fail and take back what there was at its beginning.
            time.sleep(SCRAPE_INTERVAL)
        yield Story(
            scraped=scraped,
            pushed=pushed,
            in_a_hurry=in_a_hurry,
            webhook=webhook,
            pages=pages,
            began=began,
            healthy=healthy,
            faulty=faulty,
            recovered=recovered,
            still=still,
        )


def until(condition: Callable[[], bool], seconds: float) -> bool:
    """Wait until *condition* holds, at most *seconds*, and tell whether it does."""
    give_up = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > give_up:
            return False
        time.sleep(0.2)
    return True


def differing_counts(scraped: Prometheus, pushed: Prometheus, moment: float) -> list[str]:
    """Return the counts of the caller that the two do not agree about."""
    query = '{job="caller", __name__=~"(http_client|dns|platform_http)_.*_(total|count)"}'
    one, other = (
        {
            json.dumps(series.labels, sort_keys=True): series.points[0][1]
            for series in server.at(moment, query)
        }
        for server in (scraped, pushed)
    )
    if not one:
        return ["nothing was scraped"]
    # It counts as long as the loop runs, whether there is work or not.
    lag = "platform_http_event_loop_lag_seconds_count"
    return [
        f"{key}: {one.get(key)} scraped, {other.get(key)} pushed"
        for key in one.keys() | other.keys()
        if one.get(key) != other.get(key) and lag not in key
    ]


def _came(webhook: Webhook, status: str, alert: str, client: str) -> bool:
    return any(
        came["labels"]["alertname"] == alert and came["labels"].get("client") == client
        for came in webhook.alerts(status)
    )


def _remember(folder: Path, demo: Demo, otlp: OtlpPage, *, age: float) -> None:
    """Write what the three servers know from before they began."""
    past = Past.of(RULES, [query.expr for query in of_panels(DASHBOARDS)])
    pages = {
        "scraped": [
            Page(demo.page(role), {"job": role, "instance": demo.addresses[role]}, age)
            for role in ROLES
        ],
        "pushed": [Page(otlp.text(), {}, age)],
    }
    now = time.time()
    with ThreadPoolExecutor() as pool:
        writing = [
            pool.submit(past.write, shown, now, folder / name) for name, shown in pages.items()
        ]
        for written in writing:
            written.result()
    shutil.copytree(folder / "scraped", folder / "in_a_hurry")
