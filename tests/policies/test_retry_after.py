import math
from datetime import UTC, datetime
from email.utils import format_datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from platform_http.policies.retry_after import LONGEST, parse

NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("value", "seconds"),
    [("0", 0.0), ("1", 1.0), ("007", 7.0), ("120", 120.0), (" \t30 ", 30.0)],
)
def test_delay_seconds_are_read(value, seconds):
    assert parse(value, now=NOW) == seconds


@pytest.mark.parametrize(
    "value",
    [
        "Sun, 01 Mar 2026 12:00:30 GMT",
        "Sunday, 01-Mar-26 12:00:30 GMT",
        "Sun Mar  1 12:00:30 2026",
        "Sun Mar 01 12:00:30 2026",
    ],
    ids=["imf-fixdate", "rfc850", "asctime", "asctime-zero-padded"],
)
def test_all_three_forms_of_an_http_date_are_read(value):
    assert parse(value, now=NOW) == 30.0


@pytest.mark.parametrize(
    "value",
    ["Sun, 06 Nov 1994 08:49:37 GMT", "Sun Nov  6 08:49:37 1994", "Mon, 01 Jan 0001 00:00:00 GMT"],
)
def test_a_date_in_the_past_means_now(value):
    assert parse(value, now=NOW) == 0.0


@pytest.mark.parametrize(("year", "seconds"), [("94", 0.0), ("77", 0.0), ("76", LONGEST)])
def test_a_two_digit_year_is_at_most_50_years_ahead(year, seconds):
    assert parse(f"Sunday, 06-Nov-{year} 08:49:37 GMT", now=NOW) == seconds


def test_a_leap_second_counts_as_the_second_before():
    assert parse("Sun, 01 Mar 2026 12:00:60 GMT", now=NOW) == 59.0


@pytest.mark.parametrize(
    "value",
    [
        "X5",
        "",
        " ",
        "-1",
        "+1",
        "1.5",
        "1e3",
        "0x10",
        "1_000",
        "nan",
        "inf",
        "-inf",
        "Infinity",
        "120 seconds",
        "120, 120",
        "120\n",
        "\u00a0120",
        "\u0661\u0662",
        "\uff11\uff12",
        "\u00b2",
        "9" * 11,
        "9" * 5000,
        "soon",
        "Sun, 01 Mar 2026 12:00:30",
        "Sun, 01 Mar 2026 12:00:30 +0100",
        "Sun, 01 Mar -2026 12:00:30 GMT",
        "Sun, 32 Mar 2026 12:00:30 GMT",
        "Sun, 31 Feb 2026 12:00:30 GMT",
        "Sun, 01 Mar 2026 25:00:30 GMT",
        "Sun, 01 Mar 0000 12:00:30 GMT",
        "Sun, 01 Mrz 2026 12:00:30 GMT",
        "Sun, \u0660\u0661 Mar 2026 12:00:30 GMT",
        "Sun Mar , 12:00:30 2026",
        "Sun, 01 Mar 2026 12:00:30 GMT" + "x" * 100_000,
    ],
)
def test_a_hostile_or_broken_value_counts_as_absent(value):
    assert parse(value, now=NOW) is None


@pytest.mark.parametrize("value", ["9999999999", "Fri, 31 Dec 9999 23:59:59 GMT"])
def test_a_wait_of_ages_is_capped_at_a_year(value):
    assert parse(value, now=NOW) == LONGEST


@settings(deadline=None, max_examples=300)
@given(
    value=st.text()
    | st.text(alphabet="0123456789-+.eE, :GMTSunFeb\t\u0661\u00b2", max_size=40)
    | st.from_regex(
        r"[A-Z][a-z]{2}, [0-9]{2} (Jan|Feb|Dec) [0-9]{4} [0-9]{2}:[0-9]{2}:[0-9]{2} GMT",
        fullmatch=True,
    )
    | st.from_regex(
        r"[A-Z][a-z]+, [0-9]{2}-Feb-[0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2} GMT", fullmatch=True
    ),
    now=st.floats(0, 4e9),
)
def test_whatever_a_server_sends_gives_a_bounded_wait_or_nothing(value, now):
    seconds = parse(value, now=now)
    assert seconds is None or (math.isfinite(seconds) and 0.0 <= seconds <= LONGEST)


@settings(deadline=None)
@given(
    seconds=st.integers(0, int(LONGEST)),
    start=st.datetimes(min_value=datetime(1971, 1, 1), max_value=datetime(2500, 1, 1)),  # noqa: DTZ001 - Hypothesis takes naive bounds
)
def test_a_date_that_a_server_formats_comes_back_as_the_wait_it_meant(seconds, start):
    now = start.replace(microsecond=0, tzinfo=UTC).timestamp()
    date = format_datetime(datetime.fromtimestamp(now + seconds, UTC), usegmt=True)
    assert parse(date, now=now) == seconds
