"""The page as HTML: complete, bounded, and made of nobody's markup but its own."""

from __future__ import annotations

from html.parser import HTMLParser

import pytest

from platform_http.call import Origin
from platform_http.inspection import ClientInspection, OriginInspection
from platform_http.policies.circuit_breaker import CircuitSnapshot, State
from platform_http.settings.listing import Listed
from platform_http.telemetry.recorder import RecordedCall
from platform_http.transport.connector import PoolUse
from platform_http.web.status.document import as_json
from platform_http.web.status.markup import tag
from platform_http.web.status.page import as_html
from platform_http.web.status.report import ClientReport, Report

HOSTILE = "<script>alert('x')</script>\u202e\ud800&\"'\n</style><img src=//evil.test onerror=x>"


class _Outline(HTMLParser):
    """What a browser makes of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag, attrs) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data) -> None:
        self.text += data


def _call(**changes: object) -> RecordedCall:
    fields: dict[str, object] = {
        "operation": "invoices.get",
        "method": "GET",
        "origin": "http://billing.test:80",
        "url_template": "/invoices/{id}",
        "outcome": "error",
        "status": 503,
        "error_type": "503",
        "attempts": 3,
        "duration": 0.25,
        "ended_at": 1_800_000_000.0,
        "trace_id": "0af7651916cd43dd8448eb211c80319c",
    }
    return RecordedCall(**fields | changes)


def _origin(**changes: object) -> OriginInspection:
    fields: dict[str, object] = {
        "origin": Origin("http", "billing.test", 80),
        "circuit": CircuitSnapshot(State.OPEN, None, 1, 3, 2, 0, 12.0),
        "budget": 40.0,
        "in_use": 2,
        "waiting": 1,
        "next_token": 0.5,
    }
    return OriginInspection(**fields | changes)


def _page(*, uptime: float = 7.0, settings: tuple[Listed, ...] = (), **changes: object) -> str:
    return as_html(_report(uptime=uptime, settings=settings, **changes))


def _report(*, uptime: float = 7.0, settings: tuple[Listed, ...] = (), **changes: object) -> Report:
    fields: dict[str, object] = {
        "name": "billing",
        "in_flight": 4,
        "closing": False,
        "pool": PoolUse(3, 2, 1, 100, 20),
        "budget_capacity": 100.0,
        "concurrency_limit": 20,
        "origins": (_origin(),),
        "origins_left_out": 0,
        "slowest": (),
        "failed": (),
    }
    activity = ClientInspection(**fields | changes)
    client = ClientReport("billing", settings, activity)
    return Report(1_800_000_010.0, uptime, False, {"aiohttp": "3.14"}, (client,), 0)


@pytest.mark.parametrize("name", ["operation", "method", "url_template", "error_type", "origin"])
def test_what_the_application_names_is_text_whatever_it_holds(name) -> None:
    plain = _Outline(_page(failed=(_call(),)))
    hostile = _Outline(_page(failed=(_call(**{name: HOSTILE}),)))
    assert hostile.tags == plain.tags
    assert hostile.attributes == plain.attributes
    assert "<script>alert('x')</script>" in hostile.text


@pytest.mark.parametrize("name", ["path", "value", "origin"])
def test_settings_are_text_whatever_they_hold(name) -> None:
    plain = {"path": "base_url", "value": "x", "origin": "constructor"}
    outline = _Outline(_page(settings=(Listed(**plain),)))
    hostile = _Outline(_page(settings=(Listed(**plain | {name: HOSTILE}),)))
    assert hostile.tags == outline.tags
    assert "<script>" in hostile.text


def test_what_cannot_be_sent_or_lies_about_its_direction_is_replaced() -> None:
    page = _page(failed=(_call(operation=HOSTILE),))
    assert page.encode()
    assert "\u202e" not in page
    assert as_json(_report(failed=(_call(operation=HOSTILE),))).encode()


def test_it_loads_nothing_and_runs_nothing() -> None:
    outline = _Outline(_page(failed=(_call(),), slowest=(_call(),)))
    assert not {"script", "link", "img", "iframe", "form", "object"} & set(outline.tags)
    names = {name for name, _ in outline.attributes}
    assert not {name for name in names if name.startswith("on")} | (names & {"src", "style"})
    addresses = [value for name, value in outline.attributes if name == "href"]
    assert addresses
    assert all(address.startswith(("#", "/debug/platform-http")) for address in addresses)


def test_it_has_landmarks_headings_and_headers_for_every_column() -> None:
    outline = _Outline(_page(failed=(_call(),)))
    assert [outline.tags.count(name) for name in ("header", "nav", "main", "h1")] == [1, 1, 1, 1]
    assert outline.tags.count("th") == outline.attributes.count(("scope", "col")) > 0
    assert ("lang", "en") in outline.attributes


def test_an_origin_shows_circuit_budget_permits_and_rate() -> None:
    text = _Outline(_page()).text
    for told in (
        "open",
        "for 12.0 s",
        "75% of 4, 2 slow",
        "40 of 100",
        "2 of 20",
        "next in 500 ms",
    ):
        assert told in text


def test_what_is_off_is_a_dash() -> None:
    off = _origin(circuit=None, budget=None, in_use=None, waiting=None, next_token=None)
    assert _Outline(_page(origins=(off,))).text.count("\N{EN DASH}") == 6


def test_an_unused_and_a_forced_circuit_say_so() -> None:
    unused = CircuitSnapshot(State.CLOSED, None, 0, 0, 0, 0, 0.0)
    forced = CircuitSnapshot(State.OPEN, State.OPEN, 0, 0, 0, 0, 0.0)
    probing = CircuitSnapshot(State.HALF_OPEN, None, 1, 0, 0, 1, 0.0)
    origins = tuple(_origin(circuit=each) for each in (unused, forced, probing))
    text = _Outline(_page(origins=origins, closing=True)).text
    assert "open forced" in text
    assert "1 circuit half_open" in text
    assert "closing" in text


def test_origins_that_are_left_out_are_counted() -> None:
    assert "and 7 more origins" in _page(origins_left_out=7)


def test_limits_that_are_off_are_unlimited() -> None:
    outline = _Outline(_page(pool=PoolUse(0, 0, 0, 0, 0)))
    assert "unlimited, unlimited per origin" in outline.text
    assert "meter" not in outline.tags


def test_a_call_without_names_or_a_trace_shows_what_there_is() -> None:
    bare = {"operation": "", "url_template": "", "trace_id": "", "status": 0, "origin": ""}
    text = _Outline(_page(failed=(_call(**bare, error_type="egress_denied"),))).text
    assert "egress_denied" in text


def test_a_status_and_another_error_are_both_told() -> None:
    assert "200 payload_error" in _page(failed=(_call(status=200, error_type="payload_error"),))


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0.0014, "1 ms"),
        (2.55, "2.5 s"),
        (61, "1 min 1 s"),
        (3_700, "1 h 1 min"),
        (200_000, "2 days"),
    ],
)
def test_durations_are_as_long_as_people_read_them(seconds, shown) -> None:
    assert f"up {shown}," in _Outline(_page(uptime=seconds)).text


def test_json_says_what_is_off_in_words() -> None:
    listed = (Listed("timeout.total", float("inf"), "constructor"),)
    assert '"value": "none"' in as_json(_report(settings=listed))


def test_an_attribute_can_be_on_off_or_text() -> None:
    assert (
        tag("p", "&", hidden=True, open=False, class_='"') == '<p hidden class="&quot;">&amp;</p>'
    )
