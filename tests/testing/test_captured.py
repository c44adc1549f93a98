import pytest
from prometheus_client import Counter, Gauge, Histogram

from platform_http.factory import SessionFactory
from platform_http.testing import CapturedMetrics, CapturedSpans, FaultServer
from platform_http.testing.actions import respond


class TestMetrics:
    def test_a_value_is_the_sum_over_the_labels_that_are_not_named(self) -> None:
        metrics = CapturedMetrics()
        calls = Counter("calls", "Calls.", ["client", "outcome"], registry=metrics.registry)
        calls.labels("a", "success").inc(2)
        calls.labels("a", "error").inc()
        calls.labels("b", "error").inc(4)
        assert metrics.value("calls_total") == 7
        assert metrics.value("calls_total", client="a") == 3
        assert metrics.value("calls_total", client="b", outcome="error") == 4
        assert metrics.value("calls_total", client="c") == 0

    def test_a_delta_counts_from_when_it_was_asked_for(self) -> None:
        metrics = CapturedMetrics()
        waits = Histogram("wait_seconds", "Waits.", registry=metrics.registry)
        waits.observe(1)
        more = metrics.delta("wait_seconds_count")
        assert more() == 0
        waits.observe(1)
        waits.observe(1)
        assert more() == 2

    def test_a_metric_that_was_never_touched_is_zero(self) -> None:
        metrics = CapturedMetrics()
        Gauge("depth", "Depth.", ["client"], registry=metrics.registry)
        assert metrics.value("depth", client="a") == 0

    def test_a_misspelled_name_or_label_is_not_zero(self) -> None:
        metrics = CapturedMetrics()
        Counter("calls", "Calls.", ["client"], registry=metrics.registry).labels("a").inc()
        with pytest.raises(LookupError, match=r"'call_total'; did you mean 'calls_total'\?"):
            metrics.value("call_total")
        with pytest.raises(LookupError, match=r"no label 'cient'; did you mean 'client'\?"):
            metrics.value("calls_total", cient="a")
        with pytest.raises(LookupError, match="no metric has samples 'calls'"):
            metrics.delta("calls")


async def test_the_spans_of_a_call_are_found_by_it(captured_spans: CapturedSpans) -> None:
    script = [respond(503), respond(200), respond(200)]
    async with FaultServer(script) as server:
        async with SessionFactory(tracer_provider=captured_spans.provider) as factory:
            for _ in range(2):
                async with factory.session().get(server.url) as response:
                    await response.read()
    first, second = captured_spans.calls
    assert len(captured_spans.attempts_of(first)) == 2
    assert len(captured_spans.attempts_of(second)) == 1
    assert len(captured_spans.finished) == 5
    captured_spans.clear()
    assert captured_spans.finished == ()
