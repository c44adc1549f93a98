from __future__ import annotations

import gc
import platform
import threading
import weakref
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait

import aiohttp
import pytest
from prometheus_client import CollectorRegistry, Gauge
from yarl import URL

from platform_http.call import DEFAULT_OPTIONS, Origin, WebSocketLife
from platform_http.errors import ConfigurationError
from platform_http.policies.concurrency import ConcurrencyLimit
from platform_http.telemetry import observer
from platform_http.telemetry.metrics import Metrics
from platform_http.telemetry.series import ClientSeries

SERVER = {"server_address": "api.example.com", "server_port": "80"}
ORIGIN = Origin("http", "api.example.com", 80)
DURATION = [
    *("0.005", "0.01", "0.025", "0.05", "0.075", "0.1", "0.25", "0.5", "0.75"),
    *("1.0", "2.5", "5.0", "7.5", "10.0", "+Inf"),
]

CONTRACT = {
    "http_client_request_duration_seconds": (
        "histogram",
        (
            "client http_request_method server_address server_port url_template "
            "http_response_status_code error_type"
        ),
    ),
    "http_client_active_requests": (
        "gauge",
        "client http_request_method server_address server_port",
    ),
    "http_client_open_connections": (
        "gauge",
        "client server_address server_port http_connection_state",
    ),
    "http_client_request_time_in_queue_seconds": (
        "histogram",
        "client server_address server_port",
    ),
    "http_client_connection_duration_seconds": (
        "histogram",
        "client server_address server_port",
    ),
    "http_client_request_body_size_bytes": ("histogram", "client http_request_method"),
    "http_client_response_body_size_bytes": ("histogram", "client http_request_method"),
    "dns_lookup_duration_seconds": ("histogram", "client error_type"),
    "platform_http_connect_duration_seconds": (
        "histogram",
        "client server_address server_port error_type",
    ),
    "platform_http_time_to_first_byte_seconds": ("histogram", "client http_request_method"),
    "platform_http_calls": ("counter", "client operation outcome error_type"),
    "platform_http_call_duration_seconds": ("histogram", "client operation outcome"),
    "platform_http_retries": ("counter", "client server_address server_port reason"),
    "platform_http_retry_stops": ("counter", "client reason"),
    "platform_http_retry_budget_tokens": ("gauge", "client server_address server_port"),
    "platform_http_circuit_state": ("gauge", "client server_address server_port state"),
    "platform_http_circuit_transitions": ("counter", "client server_address server_port to"),
    "platform_http_rejections": ("counter", "client server_address server_port reason"),
    "platform_http_concurrency_in_use": ("gauge", "client server_address server_port"),
    "platform_http_concurrency_limit": ("gauge", "client server_address server_port"),
    "platform_http_concurrency_wait_seconds": ("histogram", "client"),
    "platform_http_rate_limit_wait_seconds": ("histogram", "client"),
    "platform_http_rate_limit_store_errors": ("counter", "client"),
    "platform_http_hedges": ("counter", "client result"),
    "platform_http_pool_limit": ("gauge", "client"),
    "platform_http_pool_limit_per_host": ("gauge", "client"),
    "platform_http_egress_denied": ("counter", "client reason"),
    "platform_http_tls_certificate_expiry_timestamp_seconds": (
        "gauge",
        "client server_address side",
    ),
    "platform_http_tls_reloads": ("counter", "client result"),
    "platform_http_pitfalls": ("counter", "client kind"),
    "platform_http_token_refreshes": ("counter", "client result"),
    "platform_http_insecure_settings": ("gauge", "client setting"),
    "platform_http_policy_bypass": ("counter", "client"),
    "platform_http_telemetry_errors": ("counter", "client hook"),
    "platform_http_websocket_connections": ("gauge", "client"),
    "platform_http_websocket_duration_seconds": ("histogram", "client"),
    "platform_http_websocket_reconnects": ("counter", "client reason"),
    "platform_http_event_loop_lag_seconds": ("histogram", ""),
    "platform_http_build_info": ("gauge", "version aiohttp python"),
}


def watched(telemetry, origin=ORIGIN, *, in_use=0):
    """Return a limit that *telemetry* was told of, with so many of its slots taken."""
    limit = ConcurrencyLimit(limit=1000, queue=0)
    telemetry.concurrency_watched(origin, limit)
    for _ in range(in_use):
        limit.take()
    return limit


def exercise(scene):
    """Make every metric have a sample."""
    call = scene.call(operation="invoices.get", url_template="/invoices/{id}")
    attempt, _ = scene.attempt(call)
    attempt.queue_started, attempt.queue_ended = 1.0, 2.0
    attempt.dns_started, attempt.dns_ended = 1.0, 2.0
    attempt.connect_started, attempt.connect_ended = 1.0, 2.0
    scene.answer(attempt, 503)
    telemetry = scene.telemetry
    telemetry.resent(attempt, "503", 0.1)
    telemetry.retry_stopped(call, "exhausted")
    telemetry.rejected(call, ORIGIN, "circuit_open")
    telemetry.circuit_changed(ORIGIN, "closed", "open")
    telemetry.budget_changed(ORIGIN, 87.5)
    watched(telemetry, in_use=3)
    telemetry.concurrency_waited(0.2)
    telemetry.rate_limit_waited(0.3)
    telemetry.rate_limit_store_failed()
    telemetry.hedge_ended("won")
    telemetry.policy_bypassed(call)
    telemetry.egress_denied("link_local")
    telemetry.certificate_seen("api.example.com", "peer", 4e9)
    telemetry.tls_reloaded("success")
    telemetry.token_refreshed("failure")
    telemetry.pitfall_found("unread_response")
    socket = WebSocketLife(DEFAULT_OPTIONS, URL("ws://api.example.com/feed"), reconnects=1)
    socket.opened, socket.closed = 1.0, 61.0
    telemetry.websocket_opened(socket)
    telemetry.websocket_closed(socket)
    telemetry.websocket_reconnected("1001")
    telemetry.connections(ORIGIN).active.value += 1
    telemetry.connection_closed(ORIGIN, duration=3.0)
    if scene.telemetry._series is not None:
        # The factory sets this one, on the same condition, before a client has telemetry.
        scene.metrics.insecure_settings.labels("billing", "TLS__VERIFY").set(1)
    telemetry.hook_failed("call_ended", ValueError())
    call.request_body_size = call.response_body_size = 5
    call.close("error", "503", scene.now)


def test_names_types_and_labels_are_those_of_the_contract(scene):
    exercise(scene)
    scene.metrics.event_loop_lag.observe(0)
    found = {}
    for family in scene.registry.collect():
        labels = {
            tuple(label for label in sample.labels if label != "le") for sample in family.samples
        }
        assert len(labels) == 1, family.name
        found[family.name] = (family.type, " ".join(labels.pop()))
    assert found == CONTRACT


@pytest.mark.parametrize(
    ("name", "bounds"),
    [
        ("http_client_request_duration_seconds", DURATION),
        ("platform_http_concurrency_wait_seconds", DURATION),
        ("platform_http_rate_limit_wait_seconds", DURATION),
        ("platform_http_call_duration_seconds", [*DURATION[:-1], "30.0", "60.0", "+Inf"]),
        (
            "http_client_response_body_size_bytes",
            [
                *("256.0", "1024.0", "4096.0", "16384.0", "65536.0", "262144.0"),
                *("1.048576e+06", "4.194304e+06", "1.6777216e+07", "6.7108864e+07", "+Inf"),
            ],
        ),
    ],
)
def test_buckets_are_those_of_the_contract(scene, name, bounds):
    exercise(scene)
    family = next(family for family in scene.registry.collect() if family.name == name)
    found = [sample.labels["le"] for sample in family.samples if sample.name.endswith("_bucket")]
    assert found[: len(bounds)] == bounds


def test_metrics_are_registered_once_per_registry_and_die_with_it():
    first, second = CollectorRegistry(), CollectorRegistry()
    assert Metrics.of(first) is Metrics.of(first)
    assert Metrics.of(first) is not Metrics.of(second)
    watched = weakref.ref(first)
    del first
    gc.collect()
    assert watched() is None


def test_a_foreign_metric_of_the_same_name_is_refused_with_a_remedy_and_no_trace():
    registry = CollectorRegistry()
    Gauge("platform_http_pool_limit", "not ours", registry=registry)
    with pytest.raises(ConfigurationError, match=r"platform_http_pool_limit.*registry="):
        Metrics.of(registry)
    assert [family.name for family in registry.collect()] == ["platform_http_pool_limit"]


def test_build_info_names_the_versions(scene):
    family = next(
        family for family in scene.registry.collect() if family.name == "platform_http_build_info"
    )
    (sample,) = family.samples
    assert sample.value == 1
    assert sample.labels["aiohttp"] == aiohttp.__version__
    assert sample.labels["python"] == platform.python_version()
    assert sample.labels["version"]


def test_outcomes_exist_before_the_first_call_and_before_each_first_of_an_operation(scene):
    for outcome in ("success", "error", "rejected"):
        assert scene.sample("platform_http_calls_total", outcome=outcome) == 0
    call = scene.call(operation="invoices.get")
    call.close("success", "", scene.now)
    for outcome, count in (("success", 1), ("error", 0), ("rejected", 0)):
        labels = {"operation": "invoices.get", "outcome": outcome}
        assert scene.sample("platform_http_calls_total", **labels) == count
    assert scene.sample("platform_http_calls_total", outcome="cancelled") is None


def test_what_counts_from_zero_on_is_made_when_the_registry_is_first_looked_at(scene):
    hidden = (
        scene.metrics.calls,
        scene.metrics.call_duration,
        scene.metrics.hedges,
        scene.metrics.tls_reloads,
        scene.metrics.token_refreshes,
        scene.metrics.rate_limit_store_errors,
        scene.metrics.retry_stops,
        scene.metrics.pool_limit,
        scene.metrics.pool_limit_per_host,
    )
    assert [each for family in hidden for each in family.collect()[0].samples] == []
    list(scene.registry.collect())
    assert all(family.collect()[0].samples for family in hidden)


def test_who_asks_for_a_single_family_finds_it_complete_as_well(scene):
    only = scene.registry.restricted_registry(["platform_http_calls_total"])
    outcomes = {each.labels["outcome"] for family in only.collect() for each in family.samples}
    assert outcomes == {"success", "error", "rejected"}


def test_sessions_that_nobody_looks_at_pile_nothing_up(make_scene):
    scene = make_scene()
    for _ in range(5):
        make_scene(registry=scene.registry)
    assert len(scene.metrics._incomplete) == 1
    list(scene.registry.collect())
    assert not scene.metrics._incomplete


def test_a_session_that_opens_after_a_look_is_complete_at_the_next_one(make_scene):
    scene = make_scene(can_resend=False)
    assert scene.sample("platform_http_retry_stops_total", reason="budget") is None
    make_scene(registry=scene.registry)
    assert scene.sample("platform_http_retry_stops_total", reason="budget") == 0


def test_who_looks_while_another_thread_does_waits_until_all_is_there(scene, monkeypatch):
    begun, may_end = threading.Event(), threading.Event()
    complete = ClientSeries.complete

    def slow(series):
        begun.set()
        assert may_end.wait(10)
        complete(series)

    monkeypatch.setattr(ClientSeries, "complete", slow)
    with ThreadPoolExecutor(2) as pool:
        looks = [pool.submit(scene.sample, "platform_http_calls_total", outcome="success")]
        assert begun.wait(10)
        looks.append(pool.submit(scene.sample, "platform_http_calls_total", outcome="success"))
        wait(looks, 0.05, FIRST_COMPLETED)
        may_end.set()
        assert [look.result(10) for look in looks] == [0, 0]


def test_a_recovered_call_is_three_attempt_samples_and_one_success(scene):
    call = scene.call()
    for status in (503, 503, 200):
        attempt, _ = scene.attempt(call)
        scene.answer(attempt, status)
    call.close("success", "", scene.now)
    name = "http_client_request_duration_seconds_count"
    labels = {"http_request_method": "GET", **SERVER}
    assert scene.sample(name, **labels, http_response_status_code="200") == 1
    failed = {"http_response_status_code": "503", "error_type": "503"}
    assert scene.sample(name, **labels, **failed) == 2
    assert scene.sample("platform_http_calls_total", outcome="success") == 1
    total = scene.sample("platform_http_call_duration_seconds_sum", outcome="success")
    assert total == pytest.approx(0.06)


def test_a_cancelled_attempt_has_one_sample_that_is_neither_answer_nor_error(scene):
    attempt, _ = scene.attempt(scene.call())
    attempt.connect_started = attempt.dns_started = scene.now
    scene.cancel(attempt)
    labels = {"http_request_method": "GET", **SERVER}
    assert scene.sample("http_client_request_duration_seconds_count", **labels) == 1
    assert scene.sample("platform_http_connect_duration_seconds_count", **SERVER) == 0
    assert scene.sample("dns_lookup_duration_seconds_count") is None
    assert scene.sample("http_client_active_requests", **labels) == 0


def test_active_requests_counts_attempts_up_to_their_headers(scene):
    labels = {"http_request_method": "GET", **SERVER}
    call = scene.call()
    attempts = [scene.attempt(call)[0] for _ in range(3)]
    assert scene.sample("http_client_active_requests", **labels) == 3
    scene.answer(attempts[0])
    scene.fail(attempts[1], "connection_error")
    scene.cancel(attempts[2])
    assert scene.sample("http_client_active_requests", **labels) == 0


def test_phases_are_sampled_when_they_took_place(scene):
    attempt, _ = scene.attempt(scene.call())
    attempt.queue_started, attempt.queue_ended = 10.0, 10.5
    attempt.dns_started, attempt.dns_ended = 10.5, 10.75
    attempt.connect_started, attempt.connect_ended = 10.5, 11.5
    scene.answer(attempt, 200, after=0.25)
    assert scene.sample("http_client_request_time_in_queue_seconds_sum", **SERVER) == 0.5
    assert scene.sample("dns_lookup_duration_seconds_sum") == 0.25
    assert scene.sample("platform_http_connect_duration_seconds_sum", **SERVER) == 1.0
    labels = {"http_request_method": "GET"}
    assert scene.sample("platform_http_time_to_first_byte_seconds_sum", **labels) == 0.25


def test_a_reused_connection_has_no_phase_samples(scene):
    attempt, _ = scene.attempt(scene.call())
    attempt.reused = True
    scene.answer(attempt)
    assert scene.sample("http_client_request_time_in_queue_seconds_count", **SERVER) == 0
    assert scene.sample("platform_http_connect_duration_seconds_count", **SERVER) == 0


def test_failed_phases_are_sampled_with_their_error_type(scene):
    attempt, _ = scene.attempt(scene.call())
    attempt.dns_started = attempt.connect_started = scene.now
    scene.fail(attempt, "name_resolution_error", after=0.5)
    again, _ = scene.attempt(scene.call())
    again.dns_started = again.connect_started = scene.now
    scene.fail(again, "name_resolution_error", after=0.5)
    failed = {"error_type": "name_resolution_error"}
    assert scene.sample("dns_lookup_duration_seconds_sum", **failed) == 1.0
    assert scene.sample("platform_http_connect_duration_seconds_sum", **SERVER, **failed) == 1.0
    labels = {"http_request_method": "GET"}
    assert scene.sample("platform_http_time_to_first_byte_seconds_count", **labels) == 0


def test_a_wait_for_the_pool_that_was_given_up_is_sampled_too(scene):
    attempt, _ = scene.attempt(scene.call())
    attempt.queue_started = scene.now
    scene.fail(attempt, "pool_timeout", after=1.0)
    assert scene.sample("http_client_request_time_in_queue_seconds_sum", **SERVER) == 1.0


def test_body_sizes_are_sampled_when_they_are_known(scene):
    scene.call("POST").close("success", "", scene.now)
    name = "http_client_{}_body_size_bytes_{}"
    labels = {"http_request_method": "POST"}
    assert scene.sample(name.format("request", "count"), **labels) is None
    call = scene.call("post")
    call.request_body_size, call.response_body_size = 0, 300
    call.close("success", "", scene.now)
    assert scene.sample(name.format("request", "count"), **labels) == 1
    assert scene.sample(name.format("response", "sum"), **labels) == 300


def test_open_connections_follow_their_states(scene):
    def states():
        return tuple(
            scene.sample("http_client_open_connections", **SERVER, http_connection_state=state)
            for state in ("active", "idle")
        )

    telemetry = scene.telemetry
    connections = telemetry.connections(ORIGIN)
    connections.active.value += 2
    assert states() == (2, 0)
    connections.active.value -= 1
    connections.idle.value += 1
    assert states() == (1, 1)
    # Whoever asks again counts in the same place.
    telemetry.connections(ORIGIN).active.value -= 1
    telemetry.connections(ORIGIN).idle.value -= 1
    telemetry.connection_closed(ORIGIN, duration=2.0)
    telemetry.connection_closed(ORIGIN, duration=3.0)
    assert states() == (0, 0)
    assert scene.sample("http_client_connection_duration_seconds_sum", **SERVER) == 5.0


def test_decisions_of_policies_are_counted(scene):
    call = scene.call()
    attempt, _ = scene.attempt(call)
    scene.answer(attempt, 503)
    scene.telemetry.resent(attempt, "503", 0.1)
    scene.telemetry.retry_stopped(call, "exhausted")
    scene.telemetry.rejected(call, ORIGIN, "circuit_open")
    scene.telemetry.policy_bypassed(call)
    scene.metrics.insecure_settings.labels("billing", "TLS__VERIFY").set(1)
    assert scene.sample("platform_http_retries_total", **SERVER, reason="503") == 1
    assert scene.sample("platform_http_retry_stops_total", reason="exhausted") == 1
    assert scene.sample("platform_http_rejections_total", **SERVER, reason="circuit_open") == 1
    assert scene.sample("platform_http_policy_bypass_total") == 1
    assert scene.sample("platform_http_insecure_settings", setting="TLS__VERIFY") == 1
    assert scene.sample("platform_http_pool_limit") == 100
    assert scene.sample("platform_http_pool_limit_per_host") == 20


def test_a_retry_budget_shows_what_was_left_at_its_last_change(scene):
    scene.attempt(scene.call())
    # A budget that is not in use must not look like one that is spent.
    assert scene.sample("platform_http_retry_budget_tokens", **SERVER) is None
    scene.telemetry.budget_changed(ORIGIN, 90.0)
    scene.telemetry.budget_changed(ORIGIN, 70.5)
    assert scene.sample("platform_http_retry_budget_tokens", **SERVER) == 70.5
    scene.telemetry.budget_changed(ORIGIN, 0.0)
    assert scene.sample("platform_http_retry_budget_tokens", **SERVER) == 0


def test_permits_in_use_are_shown_next_to_how_many_there_are(make_scene):
    scene = make_scene(concurrency_limit=20)
    limit = watched(scene.telemetry)
    slots = [limit.take()]
    scene.attempt(scene.call())
    slots.append(limit.take())
    assert scene.sample("platform_http_concurrency_in_use", **SERVER) == 2
    assert scene.sample("platform_http_concurrency_limit", **SERVER) == 20
    for slot in slots:
        slot.release()
    assert scene.sample("platform_http_concurrency_in_use", **SERVER) == 0
    # Each origin has a limit of its own.
    scene.attempt(scene.call(), "http://other.example.com/")
    other = {"server_address": "other.example.com", "server_port": "80"}
    assert scene.sample("platform_http_concurrency_limit", **other) == 20


def test_without_a_concurrency_limit_none_is_shown(make_scene):
    scene = make_scene(concurrency_limit=0)
    scene.attempt(scene.call())
    assert scene.sample("platform_http_concurrency_limit", **SERVER) is None
    assert scene.sample("platform_http_concurrency_in_use", **SERVER) is None


def test_a_new_session_on_the_same_registry_shows_its_own_concurrency_limit(make_scene):
    registry = CollectorRegistry()
    for limit in (20, 50):
        scene = make_scene(registry=registry, concurrency_limit=limit)
        scene.attempt(scene.call())
        assert scene.sample("platform_http_concurrency_limit", **SERVER) == limit


def test_waits_for_permits_and_for_the_rate_limit_are_sampled(scene):
    scene.telemetry.concurrency_waited(0.25)
    scene.telemetry.concurrency_waited(0.5)
    scene.telemetry.rate_limit_waited(0.0)
    scene.telemetry.rate_limit_waited(2.0)
    assert scene.sample("platform_http_concurrency_wait_seconds_count") == 2
    assert scene.sample("platform_http_concurrency_wait_seconds_sum") == 0.75
    assert scene.sample("platform_http_rate_limit_wait_seconds_count") == 2
    assert scene.sample("platform_http_rate_limit_wait_seconds_sum") == 2.0


def test_hedges_and_failures_of_the_shared_store_are_counted_from_zero_on(scene):
    def hedges():
        return tuple(
            scene.sample("platform_http_hedges_total", result=result)
            for result in ("won", "lost", "denied")
        )

    assert hedges() == (0, 0, 0)
    assert scene.sample("platform_http_rate_limit_store_errors_total") == 0
    for result in ("won", "lost", "lost", "denied", "denied", "denied"):
        scene.telemetry.hedge_ended(result)
    scene.telemetry.rate_limit_store_failed()
    assert hedges() == (1, 2, 3)
    assert scene.sample("platform_http_rate_limit_store_errors_total") == 1


def test_a_hedge_that_ended_in_no_known_way_makes_no_series(scene):
    scene.telemetry.hedge_ended("exploded")
    assert label_values(scene, "platform_http_hedges", "result") == {"won", "lost", "denied"}
    assert scene.sample("platform_http_telemetry_errors_total", hook="hedge_ended") == 1


def test_refused_destinations_are_counted_by_their_reason(scene):
    for reason in ("link_local", "link_local", "port"):
        scene.telemetry.egress_denied(reason)
    assert scene.sample("platform_http_egress_denied_total", reason="link_local") == 2
    assert scene.sample("platform_http_egress_denied_total", reason="port") == 1


@pytest.mark.parametrize(
    ("hook", "name"),
    [("tls_reloaded", "tls_reloads_total"), ("token_refreshed", "token_refreshes_total")],
)
def test_what_is_renewed_is_counted_from_zero_on(scene, hook, name):
    def results():
        return tuple(
            scene.sample(f"platform_http_{name}", result=result)
            for result in ("success", "failure")
        )

    assert results() == (0, 0)
    for result in ("success", "failure", "failure", "unheard of"):
        getattr(scene.telemetry, hook)(result)
    assert results() == (1, 2)
    assert scene.sample("platform_http_telemetry_errors_total", hook=hook) == 1


EXPIRY = "platform_http_tls_certificate_expiry_timestamp_seconds"


def test_the_end_of_a_certificate_is_that_of_the_one_seen_last(scene):
    scene.telemetry.certificate_seen("", "client", 1e9)
    for expires in (2e9, 3e9, 2.5e9):
        scene.telemetry.certificate_seen("api.example.com", "peer", expires)
    peer = {"server_address": "api.example.com", "side": "peer"}
    assert scene.sample(EXPIRY, **peer) == 2.5e9
    assert scene.sample(EXPIRY, side="client") == 1e9


def test_certificates_beyond_the_first_hundred_show_the_one_that_ends_first(scene):
    for index in range(130):
        scene.telemetry.certificate_seen(f"h{index}.example.com", "peer", 2e9 - index)
    scene.telemetry.certificate_seen("h129.example.com", "peer", 3e9)
    scene.telemetry.certificate_seen("h0.example.com", "peer", 3e9)
    assert len(label_values(scene, EXPIRY, "server_address")) == 101
    assert scene.sample(EXPIRY, server_address="_OTHER", side="peer") == 2e9 - 129
    assert scene.sample(EXPIRY, server_address="h0.example.com", side="peer") == 3e9


def circuit(scene, **server):
    return {
        state: scene.sample("platform_http_circuit_state", **(server or SERVER), state=state)
        for state in ("closed", "open", "half_open")
    }


def test_a_circuit_is_shown_as_closed_from_the_first_attempt_on(scene):
    scene.attempt(scene.call())
    assert circuit(scene) == {"closed": 1, "open": 0, "half_open": 0}


def test_without_a_breaker_no_circuit_is_shown(make_scene):
    registry = CollectorRegistry()
    scene = make_scene(circuit_breaker="off", registry=registry)
    scene.attempt(scene.call())
    make_scene(circuit_breaker="off", registry=registry)
    assert circuit(scene) == {"closed": None, "open": None, "half_open": None}


def test_a_transition_moves_the_one_to_the_new_state(scene):
    scene.attempt(scene.call())
    scene.telemetry.circuit_changed(ORIGIN, "closed", "open")
    assert circuit(scene) == {"closed": 0, "open": 1, "half_open": 0}
    scene.telemetry.circuit_changed(ORIGIN, "open", "half_open")
    assert circuit(scene) == {"closed": 0, "open": 0, "half_open": 1}
    assert scene.sample("platform_http_circuit_transitions_total", **SERVER, to="open") == 1
    # An attempt that comes later does not close it.
    scene.attempt(scene.call(url_template="/other"))
    assert circuit(scene)["half_open"] == 1


def test_a_circuit_that_only_observes_has_states_and_transitions_of_its_own(make_scene):
    scene = make_scene(circuit_breaker="observe")
    scene.attempt(scene.call())
    scene.telemetry.circuit_changed(ORIGIN, "closed", "open", enforced=False)
    scene.telemetry.rejected(scene.call(), ORIGIN, "circuit_open", enforced=False)
    assert circuit(scene) == {"closed": None, "open": None, "half_open": None}
    state, transitions = "platform_http_circuit_state", "platform_http_circuit_transitions_total"
    rejections = "platform_http_rejections_total"
    assert scene.sample(state, **SERVER, state="closed_observed") == 0
    assert scene.sample(state, **SERVER, state="open_observed") == 1
    assert scene.sample(transitions, **SERVER, to="open_observed") == 1
    assert scene.sample(transitions, **SERVER, to="open") is None
    assert scene.sample(rejections, **SERVER, reason="circuit_open_observed") == 1
    assert scene.sample(rejections, **SERVER, reason="circuit_open") is None


def test_a_circuit_that_observed_in_an_earlier_session_is_no_longer_shown_as_such(make_scene):
    registry = CollectorRegistry()
    for mode in ("observe", "enforce"):
        scene = make_scene(circuit_breaker=mode, registry=registry)
        scene.attempt(scene.call())
    assert circuit(scene) == {"closed": 1, "open": 0, "half_open": 0}
    for state in ("closed_observed", "open_observed", "half_open_observed"):
        assert scene.sample("platform_http_circuit_state", **SERVER, state=state) == 0


def test_what_alerts_take_the_increase_of_is_counted_from_zero_on(scene):
    scene.attempt(scene.call())
    for state in ("closed", "open", "half_open"):
        name = "platform_http_circuit_transitions_total"
        assert scene.sample(name, **SERVER, to=state) == 0
    for reason in ("circuit_open", "concurrency_limited"):
        assert scene.sample("platform_http_rejections_total", **SERVER, reason=reason) == 0
    assert scene.sample("platform_http_retry_stops_total", reason="budget") == 0


def test_what_no_policy_can_refuse_is_not_counted(make_scene):
    scene = make_scene(circuit_breaker="off", concurrency_limit=0, can_resend=False)
    scene.attempt(scene.call())
    rejections = "platform_http_rejections_total"
    assert scene.sample(rejections, **SERVER, reason="circuit_open") is None
    assert scene.sample(rejections, **SERVER, reason="concurrency_limited") is None
    assert scene.sample("platform_http_retry_stops_total", reason="budget") is None


def test_a_destination_that_is_only_observed_to_be_denied_is_told_apart(scene):
    scene.telemetry.egress_denied("private", enforced=False)
    assert scene.sample("platform_http_egress_denied_total", reason="private_observed") == 1
    rejections = "platform_http_rejections_total"
    assert scene.sample(rejections, reason="egress_denied_observed") == 1
    assert scene.sample(rejections, reason="egress_denied") is None


def test_a_new_session_on_the_same_registry_begins_with_closed_circuits(make_scene):
    registry = CollectorRegistry()
    old = make_scene(registry=registry)
    old.telemetry.circuit_changed(ORIGIN, "closed", "open")
    new = make_scene(registry=registry)
    assert circuit(new) == {"closed": 1, "open": 0, "half_open": 0}


def label_values(scene, name, label):
    family = next(family for family in scene.registry.collect() if family.name == name)
    return {sample.labels[label] for sample in family.samples}


def test_a_million_hosts_operations_and_paths_keep_their_series_bounded(scene):
    for index in range(300):
        call = scene.call(operation=f"o{index}", url_template=f"/t{index}")
        attempt, _ = scene.attempt(call, f"http://h{index}.example.com/")
        scene.answer(attempt)
        call.close("success", "", scene.now)
    duration = "http_client_request_duration_seconds"
    hosts = label_values(scene, duration, "server_address")
    assert len(hosts) == 101
    assert {"h0.example.com", "h99.example.com", "_OTHER"} <= hosts
    templates = label_values(scene, duration, "url_template")
    assert len(templates) == 201
    assert {"/t0", "/t199", "_OTHER"} <= templates
    operations = label_values(scene, "platform_http_calls", "operation")
    assert operations == {"", *(f"o{index}" for index in range(200)), "_OTHER"}
    assert scene.sample(
        "platform_http_calls_total", operation="_OTHER", outcome="success"
    ) == pytest.approx(100)
    others = {"server_address": "_OTHER", "server_port": "_OTHER"}
    assert circuit(scene, **others) == {"closed": None, "open": None, "half_open": None}
    scene.telemetry.circuit_changed(Origin("http", "h299.example.com", 80), "closed", "open")
    assert scene.sample("platform_http_circuit_transitions_total", **others, to="open") == 1
    assert circuit(scene, **others)["open"] is None


def test_levels_of_origins_without_a_series_of_their_own_are_not_mixed(scene):
    limits = []
    for index in range(150):
        origin = Origin("http", f"h{index}.example.com", 80)
        scene.telemetry.budget_changed(origin, float(index))
        limits.append(watched(scene.telemetry, origin, in_use=index))
        scene.attempt(scene.call(), f"http://{origin.host}/")
    own = {f"h{index}.example.com" for index in range(100)}
    for name in ("retry_budget_tokens", "concurrency_in_use", "concurrency_limit"):
        assert label_values(scene, f"platform_http_{name}", "server_address") == own
    last = {"server_address": "h99.example.com", "server_port": "80"}
    assert scene.sample("platform_http_retry_budget_tokens", **last) == 99
    assert scene.sample("platform_http_concurrency_in_use", **last) == 99
    for hook in ("budget_changed", "concurrency_watched", "attempt_started"):
        assert scene.sample("platform_http_telemetry_errors_total", hook=hook) is None


def test_the_shortcuts_to_series_are_bounded_too(scene, monkeypatch):
    monkeypatch.setattr(observer, "_MAX_RECORDS", 4096)
    telemetry = scene.telemetry
    call = scene.call()
    for index in range(4100):
        attempt, _ = scene.attempt(call, f"http://h{index}.example.com/")
        scene.answer(attempt)
    assert len(telemetry._records) == 4096
    # The first one was given up; its series goes on.
    attempt, _ = scene.attempt(call, "http://h0.example.com/")
    scene.answer(attempt)
    labels = {"http_request_method": "GET", "server_address": "h0.example.com"}
    assert (
        scene.sample(
            "http_client_request_duration_seconds_count",
            **labels,
            server_port="80",
            http_response_status_code="200",
        )
        == 2
    )


def test_unknown_methods_share_one_series(scene):
    for method in ("PURGE", "BREW"):
        call = scene.call(method)
        attempt, _ = scene.attempt(call)
        scene.answer(attempt)
        call.response_body_size = 1
        call.close("success", "", scene.now)
    labels = {"http_request_method": "_OTHER"}
    assert scene.sample("http_client_response_body_size_bytes_count", **labels) == 2
    methods = label_values(scene, "http_client_request_duration_seconds", "http_request_method")
    assert methods == {"_OTHER"}


def test_no_label_is_looked_up_once_the_series_are_known(scene, monkeypatch):
    limit = watched(scene.telemetry)

    def one_call():
        call = scene.call(operation="invoices.get", url_template="/invoices/{id}")
        attempt, _ = scene.attempt(call)
        attempt.connect_started, attempt.connect_ended = 1.0, 2.0
        attempt.dns_started, attempt.dns_ended = 1.0, 2.0
        telemetry = scene.telemetry
        telemetry.concurrency_waited(0.1)
        telemetry.rate_limit_waited(0.1)
        telemetry.rate_limit_store_failed()
        slot = limit.take()
        connections = telemetry.connections(ORIGIN)
        connections.active.value += 1
        telemetry.hedge_ended("lost")
        scene.answer(attempt)
        telemetry.budget_changed(ORIGIN, 100.0)
        slot.release()
        connections.active.value -= 1
        telemetry.connection_closed(ORIGIN, duration=1.0)
        call.response_body_size = 10
        call.close("success", "", scene.now)

    one_call()

    def explode(*_: object, **__: object) -> None:
        raise AssertionError("looked labels up on the hot path")

    monkeypatch.setattr("prometheus_client.metrics.MetricWrapperBase.labels", explode)
    one_call()
    monkeypatch.undo()
    counted = {"operation": "invoices.get", "outcome": "success"}
    assert scene.sample("platform_http_calls_total", **counted) == 2
    assert scene.sample("platform_http_concurrency_wait_seconds_count") == 2
    assert scene.sample("platform_http_rate_limit_store_errors_total") == 2
    assert scene.sample("platform_http_hedges_total", result="lost") == 2
    family = next(
        family
        for family in scene.registry.collect()
        if family.name == "platform_http_telemetry_errors"
    )
    assert not family.samples


def test_metrics_off_leaves_only_the_spans(make_scene, caplog):
    scene = make_scene(metrics=False)
    with caplog.at_level("DEBUG", "platform_http"):
        exercise(scene)
    # One hook reports a failure of its own; none failed for want of a series.
    assert "AttributeError" not in caplog.text
    names = {sample.name for family in scene.registry.collect() for sample in family.samples}
    assert not [name for name in names if "lag" not in name and "build_info" not in name]
    assert len(scene.exporter.get_finished_spans()) == 2


def test_without_metrics_and_traces_nothing_is_prepared_for_an_attempt(make_scene):
    scene = make_scene(metrics=False, traces=False)
    exercise(scene)
    assert not scene.telemetry._records
