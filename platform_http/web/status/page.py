"""The report as one self-contained HTML page, without a script."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from platform_http.policies.circuit_breaker import State
from platform_http.settings.listing import as_text
from platform_http.web.status.markup import Html, joined, tag
from platform_http.web.status.style import CSS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from platform_http.inspection import ClientInspection, OriginInspection
    from platform_http.policies.circuit_breaker import CircuitSnapshot
    from platform_http.settings.listing import Listed
    from platform_http.telemetry.recorder import RecordedCall
    from platform_http.web.status.report import ClientReport, Report

PATH: Final = "/debug/platform-http"
JSON_PATH: Final = f"{PATH}.json"

_REFRESH: Final = 5
_NONE: Final = "\N{EN DASH}"
_ORIGINS: Final = ("origin", "circuit", "failures", "retry budget", "in use", "waiting", "rate")
_CALLS: Final = (
    "ended", "operation", "request", "result", "attempts", "duration", "trace"
)  # fmt: skip
_SETTINGS: Final = ("setting", "value", "from")
_BADGES: Final = {State.CLOSED: "badge", State.HALF_OPEN: "badge warn", State.OPEN: "badge bad"}


def as_html(report: Report, refresh: int | None = None) -> str:
    """Return *report* as a page.

    Args:
        report: What to show.
        refresh: Seconds after which the browser loads it again; ``None`` for never.
    """
    head = [
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("title", "platform_http status"),
        tag("style", Html(CSS)),
    ]
    if refresh is not None:
        head.append(tag("meta", http_equiv="refresh", content=str(refresh)))
    body = (
        _header(report, refresh),
        tag(
            "main",
            *(_client(client, report.made_at) for client in report.clients),
            *_left_out(report.clients_left_out, "clients"),
        ),
        tag("footer", tag("p", _versions(report))),
    )
    document = tag("html", tag("head", *head), tag("body", *body), lang="en")
    return f"<!doctype html>\n{document}\n"


def _header(report: Report, refresh: int | None) -> Html:
    state = _badge("draining", "warn") if report.draining else _badge("serving")
    again = (
        tag("a", f"refresh every {_REFRESH} s", href=f"{PATH}?refresh={_REFRESH}")
        if refresh is None
        else tag("a", f"stop refreshing every {refresh} s", href=PATH)
    )
    links = (
        tag("li", tag("a", client.name, href=f"#client-{client.name}")) for client in report.clients
    )
    return tag(
        "header",
        tag("div", tag("h1", "platform_http status"), state, class_="title"),
        tag(
            "p",
            f"up {_duration(report.uptime)}, as of ",
            _time(report.made_at),
            " · ",
            again,
            " · ",
            tag("a", "JSON", href=JSON_PATH),
            class_="soft",
        ),
        tag("nav", tag("ul", *links), aria_label="Clients"),
    )


def _client(client: ClientReport, now: float) -> Html:
    title = [tag("h2", client.name)]
    content: list[str] = []
    if client.activity is None:
        content.append(tag("p", "Its session was not asked for yet.", class_="soft"))
    else:
        title += _client_badges(client.activity)
        content += _activity(client.activity, now)
    heading = f"Settings that differ from the defaults ({len(client.changed)})"
    return tag(
        "section",
        tag("div", *title, class_="title"),
        *content,
        tag("details", tag("summary", heading), _settings(client.changed)),
        tag(
            "details",
            tag("summary", f"All settings ({len(client.settings)})"),
            _settings(client.settings),
        ),
        id=f"client-{client.name}",
        aria_label=f"Client {client.name}",
    )


def _client_badges(activity: ClientInspection) -> list[Html]:
    badges = [_badge("closing", "warn")] if activity.closing else []
    for state, kind in ((State.OPEN, "bad"), (State.HALF_OPEN, "warn")):
        states = (each.circuit.state for each in activity.origins if each.circuit is not None)
        number = sum(each is state for each in states)
        if number:
            noun = "circuit" if number == 1 else "circuits"
            badges.append(_badge(f"{number} {noun} {state.value}", kind))
    return badges


def _activity(activity: ClientInspection, now: float) -> list[Html]:
    pool = activity.pool
    limits = [_limit(pool.limit), f"{_limit(pool.limit_per_host)} per origin"]
    return [
        tag(
            "dl",
            _fact("calls in flight", str(activity.in_flight)),
            _fact("connections open", _share(pool.active + pool.idle, pool.limit)),
            _fact("active, idle", f"{pool.active}, {pool.idle}"),
            _fact("waiting for one", str(pool.waiting)),
            _fact("pool limit", ", ".join(limits)),
        ),
        tag("h3", "Origins"),
        _table(
            _ORIGINS,
            [_origin(each, activity) for each in activity.origins],
            "Nothing was sent yet.",
        ),
        *_left_out(activity.origins_left_out, "origins, which look better"),
        tag("h3", "Last failed calls"),
        _table(_CALLS, [_call(each, now) for each in activity.failed], "None."),
        tag("h3", "Slowest calls of the last minutes"),
        _table(_CALLS, [_call(each, now) for each in activity.slowest], "None."),
    ]


def _left_out(number: int, which: str) -> Iterable[Html]:
    if number:
        yield tag("p", f"and {number} more {which}", class_="soft")


def _origin(each: OriginInspection, client: ClientInspection) -> list[str]:
    return [
        tag("code", str(each.origin)),
        _NONE if each.circuit is None else _circuit(each.circuit),
        _NONE if each.circuit is None else _failures(each.circuit),
        _NONE if each.budget is None else f"{each.budget:.0f} of {client.budget_capacity:g}",
        _NONE if each.in_use is None else f"{each.in_use} of {client.concurrency_limit}",
        _NONE if each.waiting is None else str(each.waiting),
        _rate(each.next_token),
    ]


def _circuit(circuit: CircuitSnapshot) -> Html:
    parts: list[str] = [tag("span", circuit.state.value, class_=_BADGES[circuit.state])]
    if circuit.forced is not None:
        parts.append(" forced")
    elif circuit.retry_after > 0:
        parts.append(f" for {_duration(circuit.retry_after)}")
    return tag("span", *parts)


def _failures(circuit: CircuitSnapshot) -> str:
    finished = circuit.ok + circuit.failed
    share = f"{circuit.failed / finished:.0%} of {finished}" if finished else _NONE
    return f"{share}, {circuit.slow} slow" if circuit.slow else share


def _rate(next_token: float | None) -> str:
    if next_token is None:
        return _NONE
    return f"next in {_duration(next_token)}" if next_token > 0 else "free"


def _call(call: RecordedCall, now: float) -> list[str]:
    result = str(call.status) if call.status else ""
    if call.error_type and call.error_type != result:
        result = f"{result} {call.error_type}".strip()
    kind = {"error": "bad", "rejected": "warn"}.get(call.outcome, "")
    where = " ".join(filter(None, (call.method, call.origin)))
    return [
        tag("span", _time(call.ended_at), f", {_duration(max(0.0, now - call.ended_at))} ago"),
        call.operation or _NONE,
        tag("code", f"{where}{call.url_template}"),
        tag("span", _badge(call.outcome, kind), f" {result}"),
        str(call.attempts),
        _duration(call.duration),
        tag("code", call.trace_id) if call.trace_id else _NONE,
    ]


def _settings(settings: Sequence[Listed]) -> Html:
    rows: list[list[str]] = [
        [
            tag("code", each.path),
            tag("code", as_text(each.value)) if as_text(each.value) else "not set",
            each.origin,
        ]
        for each in settings
    ]
    return _table(_SETTINGS, rows, "None.")


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]], empty: str) -> Html:
    if not rows:
        return tag("p", empty, class_="soft")
    # Their roles, because the phone's layout takes them from browsers that go by the layout.
    head = (tag("th", name, scope="col", role="columnheader") for name in columns)
    body = (
        tag(
            "tr",
            *(
                tag("td", cell, role="cell", data_label=name)
                for name, cell in zip(columns, cells, strict=True)
            ),
            role="row",
        )
        for cells in rows
    )
    return tag(
        "table",
        tag("thead", tag("tr", *head, role="row"), role="rowgroup"),
        tag("tbody", *body, role="rowgroup"),
        role="table",
    )


def _fact(name: str, value: str) -> Html:
    return tag("div", tag("dt", name), tag("dd", value))


def _share(number: int, limit: int) -> Html:
    if not limit:
        return joined([str(number)])
    meter = tag("meter", f"{number} of {limit}", min="0", max=str(limit), value=str(number))
    return joined([f"{number} ", meter])


def _limit(limit: int) -> str:
    return str(limit) if limit else "unlimited"


def _badge(text: str, kind: str = "") -> Html:
    return tag("span", text, class_=f"badge {kind}".strip())


def _versions(report: Report) -> str:
    return ", ".join(f"{name} {version}" for name, version in report.versions.items())


def _time(seconds: float) -> Html:
    moment = time.gmtime(seconds)
    shown = time.strftime("%H:%M:%S UTC", moment)
    return tag("time", shown, datetime=time.strftime("%Y-%m-%dT%H:%M:%SZ", moment))


def _duration(seconds: float) -> str:
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(int(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours < 48 else f"{hours // 24} days"
