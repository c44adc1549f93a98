"""Which log records and which figures become events."""

from __future__ import annotations

import logging

import pytest
from prometheus_client import CollectorRegistry

from platform_http.call import Origin
from platform_http.cli.demo.events import Events
from platform_http.cli.demo.readings import Reading
from platform_http.telemetry.logging import log_circuit_changed
from platform_http.telemetry.metrics import Metrics

ORIGIN = Origin("http", "127.0.0.1", 8001)


@pytest.fixture
def events() -> Events:
    return Events(lambda: 5.0)


def test_a_circuit_that_changes_is_an_event_and_no_log_line(events, caplog):
    with events.listening():
        log_circuit_changed("billing", ORIGIN, "open", "half_open")
    (event,) = events.latest
    assert event[:3] == (5.0, "billing", "circuit half-open")
    assert not caplog.records


def test_failed_calls_are_left_to_the_figures(events, caplog):
    with events.listening():
        logging.getLogger("platform_http").warning("failed", extra={"error_type": "503"})
    assert events.latest == ()
    assert not caplog.records


def test_what_else_is_warned_of_is_an_event(events):
    with events.listening():
        logging.getLogger("opentelemetry.exporter").error("the collector is away")
        logging.getLogger("platform_http").info("settings")
    assert [event.text for event in events.latest] == ["the collector is away"]


def test_logging_is_as_before_afterwards(events, caplog):
    logger = logging.getLogger("platform_http")
    handlers = list(logger.handlers)
    with events.listening():
        pass
    assert logger.handlers == handlers
    logger.warning("heard")
    assert caplog.messages == ["heard"]
    assert events.latest == ()


def test_retry_stops_are_gathered_by_client(events):
    registry = CollectorRegistry()
    stops = Metrics.of(registry).retry_stops
    stops.labels("billing", "exhausted").inc(9)
    earlier = Reading.of(registry, 0.0)
    stops.labels("billing", "exhausted").inc(2)
    stops.labels("billing", "deadline").inc(1)
    events.add_retry_stops(Reading.of(registry, 3.0).since(earlier))
    assert [(event.client, event.text) for event in events.latest] == [
        ("billing", "retries stopped: 1 deadline, 2 exhausted")
    ]


def test_an_event_is_read_once_and_kept(events):
    events.add("billing", "first")
    assert [event.text for event in events.unread()] == ["first"]
    assert list(events.unread()) == []
    assert [event.text for event in events.latest] == ["first"]


def test_only_the_latest_are_kept(events):
    for number in range(1000):
        events.add("", str(number))
    assert len(events.latest) < 100
    assert events.latest[-1].text == "999"
