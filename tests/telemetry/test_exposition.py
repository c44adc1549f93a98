from __future__ import annotations

import itertools
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from opentelemetry.sdk.trace import sampling
from prometheus_client import CollectorRegistry, Counter
from prometheus_client.core import CounterMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_metrics
from prometheus_client.parser import text_string_to_metric_families as plain_text

from platform_http.telemetry import exposition
from platform_http.telemetry.exposition import render

ROOT = Path(__file__).parents[2]
OPEN_METRICS = "application/openmetrics-text; version=1.0.0,text/plain;version=0.0.4;q=0.5"


def one_call(scene):
    call = scene.call()
    attempt, _ = scene.attempt(call)
    scene.answer(attempt)
    call.close("success", "", scene.now)


def exemplars(scene):
    content, _ = render(scene.registry, OPEN_METRICS)
    return {
        family.name: sample.exemplar.labels
        for family in open_metrics(content.decode())
        for sample in family.samples
        if sample.exemplar
    }


@pytest.mark.parametrize("accept", [None, "", "*/*", "text/html"])
def test_plain_text_is_the_answer_to_whoever_does_not_ask_for_more(scene, accept):
    one_call(scene)
    content, content_type = render(scene.registry, accept)
    assert content_type.startswith("text/plain")
    names = {family.name for family in plain_text(content.decode())}
    assert "http_client_request_duration_seconds" in names


def test_open_metrics_is_what_prometheus_gets_and_it_parses(scene):
    one_call(scene)
    content, content_type = render(scene.registry, OPEN_METRICS)
    assert content_type.startswith("application/openmetrics-text")
    assert content.endswith(b"# EOF\n")
    units = {family.name: family.unit for family in open_metrics(content.decode())}
    assert units["http_client_request_duration_seconds"] == "seconds"
    assert units["http_client_response_body_size_bytes"] == "bytes"


def test_durations_carry_exemplars_that_lead_to_their_sampled_spans(scene):
    one_call(scene)
    attempt, whole = scene.exporter.get_finished_spans()
    assert exemplars(scene) == {
        name: {
            "trace_id": f"{span.context.trace_id:032x}",
            "span_id": f"{span.context.span_id:016x}",
        }
        for name, span in (
            ("http_client_request_duration_seconds", attempt),
            ("platform_http_call_duration_seconds", whole),
        )
    }


def test_a_span_that_is_not_sampled_is_no_exemplar(make_scene):
    class RecordOnly(sampling.Sampler):
        def should_sample(self, *args, **kwargs):
            return sampling.SamplingResult(sampling.Decision.RECORD_ONLY)

        def get_description(self):
            return "record only"

    for options in ({"sampler": sampling.ALWAYS_OFF}, {"sampler": RecordOnly()}, {"sdk": False}):
        scene = make_scene(**options)
        one_call(scene)
        assert exemplars(scene) == {}


def test_in_multiprocess_mode_the_page_is_that_of_the_workers_files(scene, monkeypatch, tmp_path):
    one_call(scene)
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    content, _ = render(scene.registry, OPEN_METRICS)
    assert content == b"# EOF\n"


WORKER = """
import multiprocessing
import sys

from prometheus_client import CollectorRegistry, multiprocess

from platform_http.policies.concurrency import ConcurrencyLimit
from platform_http.telemetry.exposition import render
from tests.telemetry.stand_ins import Scene


def work(stay):
    scene = Scene()
    call = scene.call()
    attempt, _ = scene.attempt(call)
    scene.answer(attempt)
    call.close("success", "", scene.now)
    still_open, _ = scene.attempt(scene.call())
    scene.metrics.insecure_settings.labels("billing", "TLS__VERIFY").set(1)
    scene.telemetry.certificate_seen("", "client", float(sys.argv[2]))
    scene.telemetry.budget_changed(attempt.origin, 60.0)
    limit = ConcurrencyLimit(limit=20, queue=0)
    scene.telemetry.concurrency_watched(attempt.origin, limit)
    slots = [limit.take() for _ in range(4)]
    slots[0].release()
    connections = scene.telemetry.connections(attempt.origin)
    connections.active.value += 2
    connections.idle.value += 1
    connections.active.value -= 1
    scene.close()
    if stay:
        sys.stdin.readline()


if sys.argv[1] == "work":
    work(False)
    print("ready", flush=True)
    sys.stdin.readline()
else:
    if sys.argv[1] == "dead":
        multiprocess.mark_process_dead(int(sys.argv[2]))
    content, _ = render(CollectorRegistry(), "application/openmetrics-text; version=1.0.0")
    sys.stdout.buffer.write(content)
"""


def test_workers_share_one_page_in_multiprocess_mode(tmp_path):
    script = tmp_path / "worker.py"
    script.write_text(textwrap.dedent(WORKER))
    samples_dir = tmp_path / "samples"
    samples_dir.mkdir()
    environ = {
        **os.environ,
        "PROMETHEUS_MULTIPROC_DIR": str(samples_dir),
        "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path]),
    }

    def start(*args):
        return subprocess.Popen(
            [sys.executable, str(script), *args],
            env=environ,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def page(*args):
        with start(*args) as process:
            content, _ = process.communicate()
        assert process.returncode == 0
        return {
            (sample.name, *sorted(sample.labels.items())): sample
            for family in open_metrics(content)
            for sample in family.samples
        }

    def value(samples, name, **labels):
        found = [
            sample.value
            for sample in samples.values()
            if sample.name == name and labels.items() <= sample.labels.items()
        ]
        assert len(found) == 1, (name, found)
        return found[0]

    workers = [start("work", expires) for expires in ("4e9", "3e9")]
    try:
        for worker in workers:
            assert worker.stdout.readline() == "ready\n"
        samples = page("render")
        labels = {"client": "billing", "http_request_method": "GET"}
        calls = {"client": "billing", "outcome": "success", "operation": ""}
        assert value(samples, "platform_http_calls_total", **calls) == 2
        assert value(samples, "http_client_request_duration_seconds_count", **labels) == 2
        assert value(samples, "http_client_active_requests", **labels) == 2
        assert value(samples, "platform_http_pool_limit") == 200
        assert value(samples, "platform_http_circuit_state", state="closed") == 2
        assert value(samples, "platform_http_retry_budget_tokens") == 120
        assert value(samples, "platform_http_concurrency_in_use") == 6
        assert value(samples, "platform_http_concurrency_limit") == 40
        for state in ("active", "idle"):
            connections = "http_client_open_connections"
            assert value(samples, connections, http_connection_state=state) == 2
        assert value(samples, "platform_http_insecure_settings") == 1
        assert value(samples, "platform_http_build_info") == 1
        expiry = "platform_http_tls_certificate_expiry_timestamp_seconds"
        assert value(samples, expiry, side="client") == 3e9
        assert not [sample for sample in samples.values() if sample.exemplar]
    finally:
        for worker in workers:
            worker.communicate("\n")
    samples = page("dead", str(workers[0].pid))
    assert value(samples, "http_client_active_requests", **labels) == 1
    assert value(samples, "platform_http_retry_budget_tokens") == 60
    assert value(samples, "platform_http_calls_total", **calls) == 2


@pytest.mark.parametrize("accept", [None, OPEN_METRICS])
def test_giving_way_changes_nothing_of_the_page(scene, accept):
    one_call(scene)
    encode, _ = choose_encoder(accept or "")
    assert render(scene.registry, accept)[0] == encode(scene.registry)


def test_rendering_pauses_after_each_slice_of_work_in_the_middle_of_a_family(monkeypatch):
    registry = CollectorRegistry()
    counter = Counter("a", "x", ("n",), registry=registry)
    for number in range(1000):
        counter.labels(str(number))
    ticks, pauses = itertools.count(0, 0.0002), []
    monkeypatch.setattr(exposition.time, "perf_counter", lambda: next(ticks))
    monkeypatch.setattr(exposition.time, "sleep", pauses.append)
    render(registry, None)
    # 2000 samples, 16 at a time, and one look at the clock for each: a slice is over at the third.
    assert len(pauses) >= 2000 / 16 / 3
    assert set(pauses) == {0.001}


def test_a_page_that_takes_no_longer_than_a_slice_pauses_nowhere(scene, monkeypatch):
    pauses = []
    monkeypatch.setattr(exposition.time, "perf_counter", lambda: 1.0)
    monkeypatch.setattr(exposition.time, "sleep", pauses.append)
    render(scene.registry, None)
    assert not pauses


def test_threads_take_turns_sooner_for_as_long_as_any_page_is_made():
    usual = sys.getswitchinterval()
    seen = []

    class Looking:
        def __init__(self, inner=None):
            self.inner = inner

        def collect(self):
            seen.append(sys.getswitchinterval())
            if self.inner:
                render(self.inner, None)
                seen.append(sys.getswitchinterval())
            yield CounterMetricFamily("a", "x", value=1)

    inner, outer = CollectorRegistry(), CollectorRegistry()
    inner.register(Looking())
    outer.register(Looking(inner))
    seen.clear()
    render(outer, None)
    assert seen == [pytest.approx(0.0005)] * 3
    assert sys.getswitchinterval() == usual


def test_a_page_that_fails_leaves_the_interval_of_threads_as_it_was():
    usual = sys.getswitchinterval()
    registry = CollectorRegistry()

    class Failing:
        def collect(self):
            raise LookupError

        def describe(self):
            return []

    registry.register(Failing())
    with pytest.raises(LookupError):
        render(registry, None)
    assert sys.getswitchinterval() == usual


def test_an_interval_that_the_application_sets_meanwhile_stays():
    usual = sys.getswitchinterval()
    registry = CollectorRegistry()

    class Setting:
        def collect(self):
            sys.setswitchinterval(0.002)
            yield CounterMetricFamily("a", "x", value=1)

    registry.register(Setting())
    sys.setswitchinterval(usual)
    try:
        render(registry, None)
        assert sys.getswitchinterval() == pytest.approx(0.002)
    finally:
        sys.setswitchinterval(usual)


FORK = """
import os, sys, threading
from prometheus_client import CollectorRegistry
from platform_http.telemetry.exposition import _SWITCHING_SOON, render

usual = sys.getswitchinterval()
making, may_end = threading.Event(), threading.Event()

class Slow:
    def collect(self):
        making.set()
        may_end.wait(10)
        return []

registry = CollectorRegistry()
registry.register(Slow())
page = threading.Thread(target=render, args=(registry, None))
making.clear()
page.start()
making.wait(10)
with _SWITCHING_SOON._lock:
    child = os.fork()
    if not child:
        inherited = sys.getswitchinterval()
        render(CollectorRegistry(), None)
        os._exit(0 if inherited == sys.getswitchinterval() == usual else 1)
assert sys.getswitchinterval() < usual
may_end.set()
page.join()
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
assert sys.getswitchinterval() == usual
"""


def test_a_process_that_is_forked_while_a_page_is_made_takes_turns_as_usual():
    subprocess.run([sys.executable, "-W", "ignore", "-c", FORK], check=True, timeout=30)


@pytest.mark.parametrize("pages", [0, 2])
def test_a_forked_process_forgets_the_pages_that_it_does_not_make(pages):
    usual = sys.getswitchinterval()
    switching = exposition._SwitchingSoon()
    for _ in range(pages):
        switching.__enter__()
    switching.forget()
    assert sys.getswitchinterval() == usual
    with switching:
        assert sys.getswitchinterval() == pytest.approx(0.0005)
    assert sys.getswitchinterval() == usual


def test_what_a_collector_keeps_is_left_as_it_is():
    family = CounterMetricFamily("kept", "x", value=1)
    samples = family.samples

    class Keeping:
        def collect(self):
            yield family

    registry = CollectorRegistry()
    registry.register(Keeping())
    assert render(registry, None) == render(registry, None)
    assert family.samples is samples
