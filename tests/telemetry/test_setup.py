from __future__ import annotations

import importlib.util
import os
import socket
import subprocess
import sys
import sysconfig
import threading
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from opentelemetry import trace

from platform_http.errors import ConfigurationError
from platform_http.telemetry.setup import configure_telemetry
from tests.telemetry.receivers import GrpcReceiver, HttpReceiver
from tests.telemetry.stand_ins import Scene

pytestmark = pytest.mark.usefixtures("fresh_opentelemetry")


@pytest.fixture
def configured():
    """Make telemetry that is shut down at the end of the test."""
    with ExitStack() as stack:

        def configure(*args, **kwargs):
            telemetry = configure_telemetry(*args, **kwargs)
            stack.callback(telemetry.shutdown, 1.0)
            return telemetry

        yield configure


@contextmanager
def calling(scene):
    """Make one call whose spans go to the global provider."""
    call = scene.call(operation="invoices.get", url_template="/invoices/{id}")
    attempt, _ = scene.attempt(call, "http://api.example.com/invoices/42?token=hush")
    scene.answer(attempt)
    call.close("success", "", scene.now)
    try:
        yield
    finally:
        scene.close()


def export_one_call(configured):
    scene = Scene(sdk=False)
    telemetry = configured("billing-service", registry=scene.registry)
    with calling(scene):
        telemetry.shutdown()
    return telemetry


def check(received):
    assert [(span.name, span.kind) for span in received.spans()] == [
        ("GET /invoices/{id}", 3),
        ("invoices.get", 1),
    ]
    attempt, whole = received.spans()
    assert attempt.parent_span_id == whole.span_id
    assert received.resource()["service.name"] == "billing-service"
    metrics = received.metrics()
    (point,) = [
        point
        for point in metrics["platform_http.calls"].sum.data_points
        if point.as_double and metrics["platform_http.calls"].sum.is_monotonic
    ]
    assert {pair.key: pair.value.string_value for pair in point.attributes} == {
        "client": "billing",
        "operation": "invoices.get",
        "outcome": "success",
    }
    (duration,) = metrics["http.client.request.duration"].histogram.data_points
    assert duration.count == 1
    assert not duration.HasField("min")
    assert duration.exemplars[0].trace_id == attempt.trace_id
    assert "hush" not in str(received.spans())


def test_spans_and_metrics_arrive_over_grpc(configured, monkeypatch):
    with GrpcReceiver() as receiver:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{receiver.port}")
        monkeypatch.setenv("OTEL_METRICS_EXPORTER", "otlp")
        telemetry = export_one_call(configured)
        check(receiver)
    telemetry.shutdown()


def test_spans_and_metrics_arrive_over_http(configured, monkeypatch):
    with HttpReceiver() as receiver:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{receiver.port}")
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-tenant=t1")
        monkeypatch.setenv("OTEL_METRICS_EXPORTER", "otlp,prometheus")
        export_one_call(configured)
        check(receiver)
        assert [headers["x-tenant"] for headers in receiver.headers] == ["t1", "t1"]


def test_each_signal_may_have_its_own_protocol(configured, monkeypatch):
    with GrpcReceiver() as by_grpc, HttpReceiver() as by_http:
        monkeypatch.setenv("OTEL_METRICS_EXPORTER", "otlp")
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "grpc")
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", f"http://127.0.0.1:{by_grpc.port}")
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{by_http.port}")
        export_one_call(configured)
        assert len(by_grpc.spans()) == 2
        assert not by_grpc.metrics()
        assert "platform_http.calls" in by_http.metrics()
        assert not by_http.spans()


def test_metrics_are_pushed_each_interval(configured, monkeypatch):
    with HttpReceiver() as receiver:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{receiver.port}")
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")
        monkeypatch.setenv("OTEL_METRICS_EXPORTER", "otlp")
        monkeypatch.setenv("OTEL_METRIC_EXPORT_INTERVAL", "20")
        monkeypatch.setenv("OTEL_TRACES_EXPORTER", "none")
        scene = Scene(sdk=False)
        telemetry = configured(registry=scene.registry)
        with calling(scene):
            receiver.wait(lambda received: "http.client.request.duration" in received.metrics())
        telemetry.shutdown()


def free_ports(count):
    with ExitStack() as stack:
        listening = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in listening:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in listening]


@contextmanager
def collector(receiver, directory):
    """Start the rotel collector in front of *receiver* and yield its OTLP port."""
    spec = importlib.util.find_spec("rotel")
    assert spec is not None, "the collector is a development dependency"
    program = Path(spec.submodule_search_locations[0]) / "rotel-agent"
    grpc_port, http_port = free_ports(2)
    with (directory / "collector.log").open("wb") as log:
        process = subprocess.Popen(
            [
                str(program),
                "start",
                *("--otlp-grpc-endpoint", f"127.0.0.1:{grpc_port}"),
                *("--otlp-http-endpoint", f"127.0.0.1:{http_port}"),
                *("--exporter", "otlp"),
                *("--otlp-exporter-endpoint", f"http://127.0.0.1:{receiver.port}"),
                *("--batch-timeout", "50ms"),
                *("--pid-file", str(directory / "collector.pid")),
            ],
            stdout=log,
            stderr=log,
            cwd=directory,
            # It is linked against the library of this Python, which need not be the system's.
            env={**os.environ, "LD_LIBRARY_PATH": sysconfig.get_config_var("LIBDIR")},
        )
    try:
        deadline = time.monotonic() + 20
        while True:
            try:
                socket.create_connection(("127.0.0.1", grpc_port), 0.5).close()
                break
            except OSError:
                message = (directory / "collector.log").read_text()
                assert process.poll() is None, message
                assert time.monotonic() < deadline, message
                time.sleep(0.05)
        yield grpc_port
    finally:
        process.terminate()
        process.wait(10)


def test_spans_and_metrics_pass_through_a_real_collector(configured, monkeypatch, tmp_path):
    with GrpcReceiver() as receiver, collector(receiver, tmp_path) as port:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{port}")
        monkeypatch.setenv("OTEL_METRICS_EXPORTER", "otlp")
        export_one_call(configured)
        receiver.wait(lambda received: len(received.spans()) == 2 and received.metrics())
        check(receiver)


def test_the_console_exporter_and_none_may_be_asked_for(configured, monkeypatch, capsys):
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "console")
    export_one_call(configured)
    assert '"name": "invoices.get"' in capsys.readouterr().out


def test_none_exports_nothing_and_still_makes_spans_for_propagation(configured, monkeypatch):
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "none")
    configured()
    scene = Scene(sdk=False)
    _, request = scene.attempt(scene.call())
    assert request.headers["traceparent"].startswith("00-")
    scene.close()


def test_a_disabled_sdk_sets_nothing_up(configured, monkeypatch):
    monkeypatch.setenv("OTEL_SDK_DISABLED", " TRUE ")
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "nonsense")
    telemetry = configured("billing-service")
    assert isinstance(telemetry.tracer_provider, trace.NoOpTracerProvider)
    assert isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider)


def test_the_handle_gives_the_provider_that_is_global(configured, monkeypatch):
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "none")
    telemetry = configured("billing-service")
    assert telemetry.tracer_provider is trace.get_tracer_provider()


@pytest.mark.parametrize(
    ("environ", "argument", "expected"),
    [
        ({}, "code", "code"),
        ({"OTEL_SERVICE_NAME": "env"}, "code", "env"),
        ({"OTEL_RESOURCE_ATTRIBUTES": "a=b, service.name=env"}, "code", "env"),
        ({"OTEL_SERVICE_NAME": "env"}, None, "env"),
        ({"OTEL_RESOURCE_ATTRIBUTES": "service.namespace=n"}, "code", "code"),
    ],
)
def test_what_operators_name_the_service_wins(configured, monkeypatch, environ, argument, expected):
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "none")
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    telemetry = configured(argument)
    assert telemetry.tracer_provider.resource.attributes["service.name"] == expected


def test_a_second_set_up_is_refused(configured, monkeypatch):
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "none")
    configured()
    with pytest.raises(ConfigurationError, match="once"):
        configured()


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("OTEL_TRACES_EXPORTER", "s3cret-zipkin"),
        ("OTEL_TRACES_EXPORTER", "otlp,none"),
        ("OTEL_METRICS_EXPORTER", "s3cret-statsd"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "s3cret-http/json"),
        ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "s3cret"),
        ("OTEL_EXPORTER_OTLP_METRICS_PROTOCOL", "s3cret"),
        ("OTEL_METRIC_EXPORT_INTERVAL", "s3cret"),
        ("OTEL_METRIC_EXPORT_INTERVAL", "0"),
        ("OTEL_METRIC_EXPORT_TIMEOUT", "-1"),
    ],
)
def test_an_unknown_value_is_refused_by_the_name_of_its_variable(monkeypatch, variable, value):
    monkeypatch.setenv(variable, value)
    with pytest.raises(ConfigurationError) as caught:
        configure_telemetry()
    (violation,) = caught.value.violations
    assert violation.startswith(variable)
    assert "use " in violation
    assert "s3cret" not in violation
    assert isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider)


def test_all_violations_are_reported_at_once(monkeypatch):
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "zipkin")
    monkeypatch.setenv("OTEL_METRIC_EXPORT_INTERVAL", "soon")
    with pytest.raises(ConfigurationError) as caught:
        configure_telemetry()
    assert len(caught.value.violations) == 2


def test_a_collector_that_never_answers_does_not_hold_up_the_shutdown(configured, monkeypatch):
    of_others = set(threading.enumerate())
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen()
        endpoint = f"http://127.0.0.1:{deaf.getsockname()[1]}"
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "4")
        monkeypatch.setenv("OTEL_METRICS_EXPORTER", "otlp")
        scene = Scene(sdk=False)
        telemetry = configured(registry=scene.registry)
        with calling(scene):
            began = time.monotonic()
            telemetry.shutdown(timeout=0.3)
            assert time.monotonic() - began < 2.5
            telemetry.shutdown()
    # The collector is gone now, and nobody goes on trying to reach it.
    for thread in set(threading.enumerate()) - of_others:
        if thread.name == "OtelBatchSpanRecordProcessor":
            thread.join(2.0)
            assert not thread.is_alive()


def test_importing_telemetry_loads_no_sdk_exporter_or_grpc():
    names = sorted(
        path.stem
        for path in (Path(__file__).parents[2] / "platform_http/telemetry").glob("*.py")
        # These hold the SDK's types: the set-up loads the one, a tracer of the SDK the other.
        if path.stem not in ("__init__", "otlp_metrics", "sdk_spans")
    )
    imports = "\n".join(f"import platform_http.telemetry.{name}" for name in names)
    script = f"""
import sys
import sysconfig
{imports}
heavy = ("grpc", "opentelemetry.sdk", "opentelemetry.exporter", "google.protobuf", "requests")
loaded = [name for name in sys.modules if name.startswith(heavy)]
assert not loaded, loaded
"""
    subprocess.run([sys.executable, "-c", script], check=True, cwd=Path(__file__).parents[2])
