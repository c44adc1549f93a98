"""Faults of the demo fire alerts in Prometheus, which pass an Alertmanager and reach a webhook.

The rules are the real ones with shorter durations: see ``hurry``.
"""

from __future__ import annotations

import json
from urllib.parse import parse_qs, urlsplit

import pytest
import yaml

from tests.artifacts.live.hurry import hurried, hurried_expression
from tests.artifacts.live.story import ALWAYS, DASHBOARDS, HURRY, PROVOKED, RULES, RUNBOOKS

BY_UID = {
    dashboard["uid"]: dashboard
    for dashboard in (json.loads(path.read_text()) for path in DASHBOARDS.glob("*.json"))
}


def about(alerts, name, client):
    return [
        alert
        for alert in alerts
        if (alert["labels"]["alertname"], alert["labels"].get("client")) == (name, client)
    ]


def moments(story, name, client, state):
    """Return when the alert was in that state."""
    labels = f'alertname="{name}", client="{client}", alertstate="{state}"'
    found = story.in_a_hurry.between(story.began, story.recovered, f"ALERTS{{{labels}}}")
    return sorted(moment for series in found for moment, _ in series.points)


def test_alerts_fire_for_what_fails_and_for_nothing_else(story):
    before, after = (
        [moments(story, *alert, "firing")[0] for alert in alerts] for alerts in (ALWAYS, PROVOKED)
    )
    assert max(before) < story.healthy < min(after)


@pytest.mark.parametrize(
    ("client", "severities"), [("search", {"page", "ticket"}), ("billing", {"ticket"})]
)
def test_a_certificate_with_two_days_left_pages_and_one_with_ten_does_not(
    story, client, severities
):
    alerts = about(story.webhook.alerts("firing"), "CertificateExpiring", client)
    assert {alert["labels"]["severity"] for alert in alerts} == severities
    (side,) = {alert["labels"]["side"] for alert in alerts}
    assert side == {"search": "peer", "billing": "client"}[client]
    left = {"search": "1d 23h", "billing": "9d 23h"}[client]
    assert all(f"ends in {left}" in alert["annotations"]["summary"] for alert in alerts)


@pytest.mark.parametrize(("name", "client"), [*ALWAYS, *PROVOKED])
def test_a_fault_reaches_the_webhook_with_links_that_lead_somewhere(story, name, client):
    (alert, *_) = about(story.webhook.alerts("firing"), name, client)
    assert alert["labels"]["component"] == "platform_http"
    assert alert["labels"]["severity"] in ("page", "ticket")
    assert alert["labels"]["job"] == "caller"
    assert alert["annotations"]["summary"]
    assert client in alert["annotations"]["description"]
    runbook = urlsplit(alert["annotations"]["runbook_url"])
    assert (RUNBOOKS / runbook.path.rpartition("/")[2]).with_suffix(".md").is_file()
    dashboard = urlsplit(alert["annotations"]["dashboard_url"])
    uid = dashboard.path.rpartition("/")[2]
    chosen = parse_qs(dashboard.query)
    assert (chosen["var-job"], chosen["var-client"]) == (["caller"], [client])
    variables = {variable["name"] for variable in BY_UID[uid]["templating"]["list"]}
    assert {name.removeprefix("var-") for name in chosen} <= variables


@pytest.mark.parametrize(("name", "client"), PROVOKED)
def test_it_is_pending_before_it_fires(story, name, client):
    pending = moments(story, name, client, "pending")
    assert pending[0] < moments(story, name, client, "firing")[0]


def test_notifications_come_in_groups_of_one_alert_and_client(story):
    assert story.webhook.notifications
    for notification in story.webhook.notifications:
        group = notification["groupLabels"]
        assert "alertname" in group
        for alert in notification["alerts"]:
            assert group.items() <= alert["labels"].items()


def test_the_end_of_a_fault_is_told_too(story):
    (alert, *_) = about(story.webhook.alerts("resolved"), *PROVOKED[0])
    assert alert["endsAt"] > alert["startsAt"]


def test_only_durations_are_hurried():
    for path in RULES:
        real = yaml.safe_load(path.read_text())
        hasty = hurried(path, HURRY)
        for group, hasty_group in zip(real["groups"], hasty["groups"], strict=True):
            for rule, hasty_rule in zip(group["rules"], hasty_group["rules"], strict=True):
                assert rule.keys() == hasty_rule.keys()
                changed = {key for key in rule if rule[key] != hasty_rule[key]}
                assert changed <= {"expr", "for", "keep_firing_for"}


@pytest.mark.parametrize(
    ("expr", "expected"),
    [
        ("rate(calls_total[5m]) > 14.4", "rate(calls_total[5000ms]) > 14.4"),
        ("a:calls:rate1h offset 1h", "a:calls:rate1h offset 60000ms"),
        (
            "sum_over_time(a:calls:rate5m[2h:1m]) * 60",
            "sum_over_time(a:calls:rate5m[120000ms:1000ms]) * 60",
        ),
        ("increase(calls_total[1m])", "increase(calls_total[4000ms])"),
    ],
)
def test_ranges_steps_and_offsets_are_hurried_and_names_and_numbers_are_not(expr, expected):
    assert hurried_expression(expr, 60) == expected
