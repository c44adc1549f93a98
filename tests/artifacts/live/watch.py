"""The Prometheus servers and the Alertmanager that watch the demo."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import yaml

from tests.artifacts.live.hurry import hurried
from tests.artifacts.live.prometheus_api import Prometheus
from tests.servers import alertmanager, prometheus

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from contextlib import ExitStack
    from pathlib import Path

SCRAPE_INTERVAL = 1.0
# Of the groups of rules that take their time.
_SELDOM = "5s"

_Content = dict[str, object]


class Watch:
    """Starts servers that scrape and evaluate once a second.

    Args:
        servers: Ends them.
        folder: Holds the data that they know already, each in a folder of its name.
        rules: The files that they evaluate.
    """

    def __init__(self, servers: ExitStack, folder: Path, rules: Sequence[Path]) -> None:
        self._servers = servers
        self._folder = folder
        self._rules = rules

    def patiently(self, name: str, jobs: Sequence[_Content]) -> Prometheus:
        """Evaluate the rules as they are; groups with an interval of their own more often."""
        rules = [yaml.safe_load(path.read_text()) for path in self._rules]
        for content in rules:
            for group in content["groups"]:
                if "interval" in group:
                    group["interval"] = _SELDOM
        return self._start(name, jobs, rules)

    def in_a_hurry(
        self, name: str, jobs: Sequence[_Content], factor: float, webhook: int
    ) -> Prometheus:
        """Evaluate them with all durations divided by *factor*, and send alerts to *webhook*.

        Args:
            name: Of the data.
            jobs: What to scrape.
            factor: As :func:`hurried` takes it.
            webhook: Port of the page that an Alertmanager notifies.
        """
        manager = self._servers.enter_context(alertmanager(_routing(webhook)))
        rules = [hurried(path, factor) for path in self._rules]
        return self._start(name, jobs, rules, [f"127.0.0.1:{manager}"])

    def _start(
        self,
        name: str,
        jobs: Sequence[_Content],
        rules: Sequence[_Content],
        managers: Sequence[str] = (),
    ) -> Prometheus:
        files = []
        for number, content in enumerate(rules):
            file = self._folder / f"{name}_rules_{number}.json"
            file.write_text(json.dumps(content))
            files.append(str(file))
        interval = f"{SCRAPE_INTERVAL:.0f}s"
        configuration = {
            "global": {"scrape_interval": interval, "evaluation_interval": interval},
            "scrape_configs": jobs,
            "rule_files": files,
            "alerting": {"alertmanagers": [{"static_configs": [{"targets": managers}]}]},
        }
        server = prometheus(configuration, data=self._folder / name)
        return Prometheus(self._servers.enter_context(server))


def job(name: str, address: str, **options: object) -> _Content:
    """Return what makes a Prometheus scrape *address* as the job *name*."""
    return {"job_name": name, "static_configs": [{"targets": [address]}], **options}


def _routing(port: int) -> Mapping[str, object]:
    webhook = {"url": f"http://127.0.0.1:{port}/alerts", "send_resolved": True}
    return {
        "route": {
            "receiver": "webhook",
            "group_by": ["alertname", "job", "client"],
            "group_wait": "1s",
            "group_interval": "1s",
            "repeat_interval": "1h",
        },
        "receivers": [{"name": "webhook", "webhook_configs": [webhook]}],
    }
