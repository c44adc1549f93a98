"""Queries are judged by what they ask for."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry
from prometheus_client.metrics import MetricWrapperBase

from dashboards.source.promql import Vocabulary, judge, substituted, violations
from dashboards.source.samples import TARGET_LABELS
from platform_http.telemetry.metrics import Metrics

LIBRARY = Vocabulary.of_library()
BUCKET = "platform_http_call_duration_seconds_bucket"
CALLS = "platform_http_calls_total"

SOUND = [
    "up == 0",
    'ALERTS{component="platform_http", alertstate="firing", client=~"$client|"}',
    f'sum by (job) (rate({CALLS}{{job=~"$job", outcome=~"error|rejected"}}[$__rate_interval]))',
    f"increase({CALLS}[$__range])",
    f"count by (client) ({CALLS})",
    f"count(group by (client) ({CALLS}))",
    f"up == 1 unless on (job, instance) {CALLS}",
    f"absent({CALLS})",
    f"absent_over_time({CALLS}[1h])",
    f"changes({CALLS}[5m])",
    f"increase({CALLS}[5m]) > 0 or ({CALLS} unless {CALLS} offset 5m)",
    f"resets({CALLS}[5m])",
    f'sum(rate({BUCKET}{{le="0.5"}}[5m])) / sum(rate({BUCKET}{{le="+Inf"}}[5m]))',
    f"histogram_quantile(0.99, sum by (le, operation) (rate({BUCKET}[5m])))",
    f"histogram_quantile(0.99, sum without (instance) (rate({BUCKET}[5m])))",
    f"histogram_quantile(0.99, rate({BUCKET}[5m]))",
    'max by (client) (platform_http_circuit_state{state="open"} * 2)',
    "platform_http_concurrency_in_use / platform_http_concurrency_limit",
    "http_client_active_requests / on (job, client) group_left () platform_http_pool_limit",
    "up * on (job, instance) group_left (version) platform_http_build_info",
    "sum by (version) (up * on (job, instance) group_left (version) platform_http_build_info)",
    "platform_http_build_info * on (job, instance) group_right (version) up",
    "platform_http_pool_limit / ignoring (setting) platform_http_insecure_settings",
    'sum by (short) (label_replace(up, "short", "$1", "instance", "(.+):.+"))',
    'sum by (both) (label_join(up, "both", "/", "job", "instance"))',
    'count_values("value", platform_http_pool_limit)',
    'sum by (value, job) (count_values by (job) ("value", platform_http_pool_limit) * 0)',
    "avg_over_time(platform_http_retry_budget_tokens[1h])",
    "max_over_time(sum(rate(platform_http_retries_total[5m]))[1h:1m])",
    "topk(3, sum by (client) (rate(platform_http_retries_total[5m])))",
    "delta(platform_http_retry_budget_tokens[5m])",
    'count by (client) ({__name__=~"(platform_http|http_client)_.+", client=~"$client"})',
    "clamp_max(vector(time()) - 1, scalar(up))",
    "vector(0)",
    "1 - 2",
    "-up",
]


@pytest.mark.parametrize("expr", SOUND)
def test_a_sound_query_has_no_violation(expr: str) -> None:
    assert violations(expr, LIBRARY) == []


WRONG = [
    ("sum(", "does not parse"),
    ("rate(up)", "does not parse"),
    ("http_requests_total", "http_requests_total does not exist"),
    ("platform_http_calls", "platform_http_calls does not exist"),
    ("sum(rate(http_requests_total[5m]))", "http_requests_total does not exist"),
    ('{__name__=~"node_.+"}', "no metric has a name like 'node_.+'"),
    ('{job="caller"}', "names no metric"),
    ('up{client="billing"}', "up has no label 'client'"),
    (f'rate({CALLS}{{server_address=~"$server"}}[5m])', "has no label 'server_address'"),
    (f"sum by (url_template) (rate({CALLS}[5m]))", "sum by (url_template): its argument"),
    (f"sum without (url_template) (rate({CALLS}[5m]))", "sum without (url_template): its argument"),
    ("sum by (client) (sum by (job) (up))", "sum by (client): its argument"),
    (CALLS, f"counter {CALLS} is used outside rate() or increase()"),
    (f"topk(5, {CALLS})", "outside rate()"),
    (f"sum({CALLS})", "outside rate()"),
    (f"{CALLS} > 5", "outside rate()"),
    (f"up and (-{CALLS})", "outside rate()"),
    (f"max_over_time({CALLS}[5m])", "outside rate()"),
    (f"{CALLS} unless {CALLS}", "outside rate()"),
    (f"{CALLS} offset 5m unless {CALLS} offset 5m", "outside rate()"),
    (f"{CALLS} unless platform_http_retries_total offset 5m", "outside rate()"),
    (f"{CALLS} and {CALLS} offset 5m", "outside rate()"),
    (f"rate({CALLS}[5m:1m])", "outside rate()"),
    (f"delta({CALLS}[5m])", "outside rate()"),
    (f"{BUCKET} > 5", "outside rate()"),
    ("rate(platform_http_pool_limit[5m])", "rate() is over a gauge"),
    ("increase(up[5m])", "increase() is over a gauge"),
    ("resets(up[5m])", "resets() is over a gauge"),
    (f'rate({BUCKET}{{le="1"}}[5m])', "is an integer"),
    (f'rate({BUCKET}{{le="1.0"}}[5m])', "is an integer"),
    (f'rate({BUCKET}{{le=~"0.5|1"}}[5m])', "is an integer"),
    (f'rate({BUCKET}{{le=~"0.5|10\\\\.0"}}[5m])', "is an integer"),
    (f'rate({BUCKET}{{le!="5.0"}}[5m])', "is an integer"),
    (f'rate({BUCKET}{{le="0.3"}}[5m])', "le='0.3' is no bucket bound"),
    (f"histogram_quantile(0.9, sum by (client) (rate({BUCKET}[5m])))", "needs the label le"),
    (f"histogram_quantile(0.9, sum without (le) (rate({BUCKET}[5m])))", "needs the label le"),
    (f"histogram_quantile(0.9, sum(rate({BUCKET}[5m])))", "needs the label le"),
    ('histogram_quantile(0.9, label_replace(up, "le", "1", "", ""))', "is not over the buckets"),
    (f"sum by (client) (rate({BUCKET}[5m]))", "adds up cumulative buckets"),
    (f"avg(rate({BUCKET}[5m]))", "adds up cumulative buckets"),
    (
        "avg(sum by (job) (up * 0 + 1) / sum by (job) (up))",
        "avg over a quotient",
    ),
    ("sum(up / up)", "sum over a quotient"),
    ("avg(1 - (up / up or up))", "avg over a quotient"),
    ("avg(clamp_max(up / up, 1))", "avg over a quotient"),
    ("avg_over_time((up / up)[1h:1m])", "avg_over_time over a quotient"),
    ("avg(topk(3, up / up))", "avg over a quotient"),
    ("sum by (job) (up) / sum by (instance) (up)", "one keeps (job), the other (instance)"),
    ("up and platform_http_pool_limit", "one keeps (), the other (client)"),
    ("sum by (job) (up) unless up", "one keeps (), the other (instance)"),
    ("up * on (client) up", "'*' on (client): not both sides"),
    ("up or on (client) up", "'or' on (client): not both sides"),
    ("up / ignoring (client) up", "'/' ignoring (client): neither side"),
    ("up * on (job, instance) group_left (setting) up", "group_left (setting): the one side"),
    ("up * on (job, instance) group_right (setting) up", "group_right (setting): the one side"),
    ('label_replace(up, "a", "$1", "client", "(.+)")', "label_replace reads 'client'"),
    ('label_join(up, "a", "-", "job", "client")', "label_join reads 'client'"),
    ("sum by (client) (up or platform_http_pool_limit)", "sum by (client): its argument"),
    ("sum by (job) (vector(0))", "sum by (job): its argument"),
    ('sum by (job) (absent(up{instance="a"}))', "sum by (job): its argument"),
    ('sum by (job) (up{job=""})', "sum by (job): its argument"),
    ('up{job="a" or job="b"}', "not read by Prometheus 2"),
]


@pytest.mark.parametrize(("expr", "sentence"), WRONG)
def test_a_mistake_is_named(expr: str, sentence: str) -> None:
    assert any(sentence in violation for violation in violations(expr, LIBRARY))


def test_the_same_mistake_on_both_sides_is_told_once() -> None:
    assert len(violations(f"{CALLS} / {CALLS}", LIBRARY)) == 1


def test_the_vocabulary_holds_every_sample_of_the_registry_and_nothing_else() -> None:
    registry = CollectorRegistry()
    metrics = Metrics.of(registry)
    suffixes = {
        "counter": ("_total",),
        "gauge": ("",),
        "histogram": ("_bucket", "_sum", "_count"),
    }
    names = {
        family.name + suffix for family in registry.collect() for suffix in suffixes[family.type]
    }
    assert set(LIBRARY.samples) == names | {"up", "ALERTS"}
    assert len(names) > 50
    for family in vars(metrics).values():
        if isinstance(family, MetricWrapperBase):
            own = next(iter(family.describe())).name
            for name, sample in LIBRARY.samples.items():
                if name == own or (
                    name.startswith(own)
                    and name.removeprefix(own) in {"_total", "_bucket", "_sum", "_count"}
                ):
                    bound = {"le"} if name.endswith("_bucket") else set()
                    assert sample.labels == {*family._labelnames, *TARGET_LABELS, *bound}, name


def test_bounds_are_those_that_a_scrape_shows() -> None:
    bounds = LIBRARY.samples["http_client_request_duration_seconds_bucket"].bounds
    assert {"0.005", "0.25", "0.5", "2.5", "1.0", "+Inf"} <= bounds


def test_recorded_names_have_the_labels_that_their_expression_keeps(tmp_path) -> None:
    rules = tmp_path / "rules.yaml"
    rules.write_text(
        """
        groups:
          - name: later rules use earlier ones, and the other way round
            rules:
              - record: job_client:bad:ratio
                expr: job_client:bad:rate5m / job_client:calls:rate5m
              - record: job_client:bad:rate5m
                expr: sum by (job, client) (rate(platform_http_calls_total{outcome="error"}[5m]))
              - record: job_client:calls:rate5m
                expr: sum by (job, client) (rate(platform_http_calls_total[5m]))
                labels: {team: mine}
              - record: job:twice:sum
                expr: sum by (job, client) (platform_http_pool_limit)
              - record: job:twice:sum
                expr: sum by (job) (up)
              - alert: Ignored
                expr: up == 0
        """
    )
    vocabulary = LIBRARY.with_rules([rules])
    assert vocabulary.samples["job_client:bad:rate5m"].labels == {"job", "client"}
    assert vocabulary.samples["job_client:calls:rate5m"].labels == {"job", "client", "team"}
    assert vocabulary.samples["job:twice:sum"].labels == {"job"}
    assert violations("job_client:bad:rate5m > 1", vocabulary) == []
    assert violations("rate(job_client:bad:rate5m[5m])", vocabulary)
    assert violations('job_client:bad:rate5m{instance="a"}', vocabulary)
    assert "avg over a quotient" in violations("avg(job_client:bad:ratio)", vocabulary)[0]
    assert violations("max(job_client:bad:ratio)", vocabulary) == []
    assert violations("job_client:bad:rate5m", LIBRARY)


def test_a_rule_file_that_is_no_yaml_is_named(tmp_path) -> None:
    rules = tmp_path / "rules.yaml"
    rules.write_text("groups: [")
    with pytest.raises(ValueError, match=r"rules\.yaml is no YAML"):
        LIBRARY.with_rules([rules])


@pytest.mark.parametrize(
    ("written", "seen"),
    [
        ("rate(x[$__rate_interval])", "rate(x[5m])"),
        ('x{job=~"$job"}', 'x{job=~"variable"}'),
        ('x{job=~"${job:regex}"}', 'x{job=~"variable"}'),
        ('x{job=~"[[job]]"}', 'x{job=~"variable"}'),
        ('label_replace(x, "a", "$1", "b", "(.)")', 'label_replace(x, "a", "$1", "b", "(.)")'),
    ],
)
def test_variables_of_grafana_are_replaced(written: str, seen: str) -> None:
    assert substituted(written) == seen


@st.composite
def _selections(draw: st.DrawFn) -> tuple[str, frozenset[str], frozenset[str]]:
    name = draw(st.sampled_from(sorted(LIBRARY.samples)))
    every = sorted({label for sample in LIBRARY.samples.values() for label in sample.labels})
    matched = draw(st.frozensets(st.sampled_from(every), max_size=3)) - {"le"}
    kept = draw(st.frozensets(st.sampled_from(every), max_size=4))
    return name, matched, kept


@given(_selections())
def test_exactly_the_labels_of_a_sample_may_be_matched_and_kept(selection) -> None:
    name, matched, kept = selection
    sample = LIBRARY.samples[name]
    matchers = ", ".join(f'{label}=~".+"' for label in sorted(matched))
    selector = f"{name}{{{matchers}}}"
    values = selector if sample.kind == "gauge" else f"rate({selector}[5m])"
    shape, found = judge(f"max by ({', '.join(sorted(kept))}) ({values})", LIBRARY)
    assert bool(found) == bool((matched | kept) - sample.labels)
    assert shape is not None
    assert shape.labels == kept & sample.labels


@given(_selections())
def test_a_quantile_is_sound_exactly_over_buckets_by_le(selection) -> None:
    name, _, kept = selection
    sample = LIBRARY.samples[name]
    kept &= sample.labels
    values = name if sample.kind == "gauge" else f"rate({name}[5m])"
    by = ", ".join(sorted(kept))
    found = violations(f"histogram_quantile(0.5, sum by ({by}) ({values}))", LIBRARY)
    assert (not found) == (sample.kind == "bucket" and "le" in kept)
