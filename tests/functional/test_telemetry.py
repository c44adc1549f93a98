"""What an operator sees of a call."""

from __future__ import annotations

import logging

import aiohttp
import pytest
from opentelemetry import trace
from opentelemetry.trace import SpanKind, StatusCode

from platform_http.call import CURRENT_ATTEMPT, CURRENT_CALL, CallOptions
from platform_http.errors import CircuitOpenError
from platform_http.telemetry import exposition
from platform_http.testing import FaultServer
from platform_http.testing.actions import partial_body, reset, respond
from tests.functional.conftest import Observed

INVOICE = CallOptions(operation="invoices.get", url_template="/invoices/{id}")


async def test_each_attempt_is_a_span_a_sample_and_a_traceparent_of_its_own(
    observed: Observed,
) -> None:
    async with FaultServer([respond(503), respond(503), respond(200)]) as server:
        async with observed.factory() as factory:
            url = server.url.with_path("/invoices/42")
            async with factory.session("billing").get(url, trace_request_ctx=INVOICE):
                pass
    attempts, (call,) = observed.attempts, observed.calls
    assert [span.attributes.get("http.request.resend_count") for span in attempts] == [None, 1, 2]
    assert [span.attributes["http.response.status_code"] for span in attempts] == [503, 503, 200]
    assert [span.name for span in attempts] == ["GET /invoices/{id}"] * 3
    for request, span in zip(server.requests, attempts, strict=True):
        _, trace_id, span_id, _ = request.headers["traceparent"].split("-")
        assert int(trace_id, 16) == span.context.trace_id
        assert int(span_id, 16) == span.context.span_id
        assert span.parent.span_id == call.context.span_id
    assert call.name == "invoices.get"
    assert call.kind is SpanKind.INTERNAL
    assert not [name for name in call.attributes if name.startswith("http.")]
    assert call.attributes["platform_http.attempts"] == 3
    assert call.attributes["platform_http.outcome"] == "success"
    assert call.status.status_code is StatusCode.UNSET
    name = "http_client_request_duration_seconds_count"
    assert observed.value(name, client="billing", url_template="/invoices/{id}") == 3
    assert observed.value(name, http_response_status_code="503", error_type="503") == 2
    assert observed.value("platform_http_calls_total") == 1
    assert (
        observed.value("platform_http_calls_total", operation="invoices.get", outcome="success")
        == 1
    )


async def test_spans_hang_below_the_applications_own(observed: Observed) -> None:
    tracer = observed.provider.get_tracer("test")
    async with FaultServer() as server, observed.session() as session:
        with tracer.start_as_current_span("handler") as parent:
            async with session.get(server.url):
                assert trace.get_current_span() is parent
    (call,) = observed.calls[:1]
    assert call.parent.span_id == parent.get_span_context().span_id


async def test_a_call_that_cannot_be_resent_has_one_span(observed: Observed) -> None:
    async with FaultServer() as server:
        async with observed.session(retry={"enabled": False}) as session:
            async with session.get(server.url):
                pass
    assert [span.kind for span in observed.spans] == [SpanKind.CLIENT]


async def test_each_redirect_hop_is_an_attempt(observed: Observed) -> None:
    def script(request):
        moved = request.target == "/old"
        return respond(302, headers={"Location": "/new"}) if moved else respond(200)

    async with FaultServer(script) as server, observed.session() as session:
        async with session.get(server.url.with_path("/old")) as response:
            assert response.status == 200
    statuses = [span.attributes["http.response.status_code"] for span in observed.attempts]
    assert statuses == [302, 200]
    assert observed.value("platform_http_calls_total", outcome="success") == 1


async def test_body_sizes_are_those_on_the_wire(observed: Observed) -> None:
    async with FaultServer([respond(200, body=b"x" * 1000)]) as server:
        async with observed.session() as session:
            async with session.post(server.url, data=b"y" * 300) as response:
                await response.read()
    assert observed.value("http_client_request_body_size_bytes_sum") == 300
    assert observed.value("http_client_response_body_size_bytes_sum") == 1000


async def test_a_body_that_breaks_makes_the_call_an_error(observed: Observed) -> None:
    async with FaultServer([partial_body(b"begin", content_length=100)]) as server:
        async with observed.session() as session:
            with pytest.raises(aiohttp.ClientPayloadError):
                async with session.get(server.url) as response:
                    await response.read()
    (call,) = observed.calls
    assert call.attributes["platform_http.outcome"] == "error"
    assert call.attributes["error.type"] == "payload_error"
    assert call.status.status_code is StatusCode.ERROR
    assert observed.attempts[0].attributes["http.response.status_code"] == 200
    assert observed.value("platform_http_calls_total", error_type="payload_error") == 1
    assert observed.value("platform_http_calls_total") == 1


async def test_a_response_closed_early_is_judged_by_its_status(observed: Observed) -> None:
    async with FaultServer([partial_body(b"begin", content_length=100, then="hang")]) as server:
        async with observed.session() as session, session.get(server.url):
            pass
    assert observed.value("platform_http_calls_total", outcome="success") == 1
    assert observed.value("platform_http_calls_total") == 1


@pytest.mark.parametrize(("status", "outcome"), [(404, "success"), (500, "error")])
async def test_raise_for_status_changes_no_outcome(
    observed: Observed, status: int, outcome: str
) -> None:
    async with FaultServer([respond(status)]) as server, observed.session() as session:
        with pytest.raises(aiohttp.ClientResponseError):
            await session.get(server.url, raise_for_status=True)
    assert observed.value("platform_http_calls_total", outcome=outcome) == 1
    assert observed.value("platform_http_calls_total") == 1


@pytest.mark.parametrize(
    "target",
    [
        "opentelemetry.sdk.trace.Tracer.start_span",
        "opentelemetry.sdk.trace.Span.end",
        "prometheus_client.Histogram.observe",
    ],
)
async def test_a_telemetry_hook_that_raises_never_fails_a_call(
    observed: Observed, monkeypatch: pytest.MonkeyPatch, target: str
) -> None:
    def broken(*args: object, **kwargs: object) -> None:
        raise RuntimeError("telemetry is broken")

    monkeypatch.setattr(target, broken)
    async with FaultServer([respond(503), respond(200, body=b"fine")]) as server:
        async with observed.session() as session, session.get(server.url) as response:
            assert await response.text() == "fine"
    monkeypatch.undo()
    assert observed.value("platform_http_telemetry_errors_total") >= 2
    assert observed.value("http_client_active_requests") == 0
    assert observed.value("platform_http_calls_total", outcome="success") == 1


async def test_nothing_of_a_call_stays_in_the_callers_context(observed: Observed) -> None:
    async with FaultServer([respond(200), reset()]) as server:
        async with observed.session(retry={"enabled": False}) as session:
            async with session.get(server.url):
                assert (CURRENT_CALL.get(), CURRENT_ATTEMPT.get()) == (None, None)
            with pytest.raises(aiohttp.ClientError):
                await session.get(server.url)
            assert (CURRENT_CALL.get(), CURRENT_ATTEMPT.get()) == (None, None)


async def test_a_bypass_of_the_middlewares_is_counted(observed: Observed) -> None:
    async with FaultServer() as server, observed.session() as session:
        async with session.get(server.url, middlewares=()):
            pass
    assert observed.value("platform_http_policy_bypass_total") == 1
    assert observed.value("platform_http_calls_total", outcome="success") == 1


async def test_a_failed_call_is_logged_once_a_second_without_secrets(
    observed: Observed, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "platform_http")
    async with FaultServer([reset()]) as server, observed.session() as session:
        for _ in range(5):
            with pytest.raises(aiohttp.ClientError):
                await session.get(server.url.with_query(token="geheim"))
    warnings = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert len(warnings) == 1
    assert "geheim" not in caplog.text


async def test_a_refused_call_is_logged_with_its_origin(
    observed: Observed, caplog: pytest.LogCaptureFixture
) -> None:
    settings = {"circuit_breaker": {"minimum_calls": 1}, "retry": {"enabled": False}}
    async with FaultServer([respond(503)]) as server, observed.session(**settings) as session:
        async with session.get(server.url):
            pass
        with pytest.raises(CircuitOpenError):
            await session.get(server.url)
    line = next(r.getMessage() for r in caplog.records if "circuit_open" in r.getMessage())
    assert f"127.0.0.1:{server.port}" in line


async def test_samples_carry_exemplars_of_their_trace(observed: Observed) -> None:
    async with FaultServer() as server, observed.session() as session:
        async with session.get(server.url):
            pass
    body, content_type = exposition.render(observed.registry, "application/openmetrics-text")
    assert content_type.startswith("application/openmetrics-text")
    trace_id = format(observed.attempts[0].context.trace_id, "032x")
    lines = [line for line in body.decode().splitlines() if trace_id in line]
    assert any(line.startswith("http_client_request_duration_seconds_bucket") for line in lines)


async def test_nothing_is_emitted_when_telemetry_is_off(observed: Observed) -> None:
    off = {"telemetry": {"traces": False, "metrics": False}}
    async with FaultServer([respond(503), respond(200)]) as server:
        async with observed.session(**off) as session, session.get(server.url) as response:
            assert response.status == 200
    assert observed.spans == ()
    assert observed.value("http_client_request_duration_seconds_count") == 0
