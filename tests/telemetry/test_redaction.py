from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from platform_http.telemetry.redaction import REDACTED, UrlRedaction
from tests.telemetry.stand_ins import DEFAULT_KEYS

redact = UrlRedaction(DEFAULT_KEYS)


def encoded(text: str) -> URL:
    return URL(text, encoded=True)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://user:p4ss@h.example/a", "https://h.example/a"),
        ("https://user@h.example:8443/a", "https://h.example:8443/a"),
        ("http://h.example:80/a", "http://h.example/a"),
        ("http://[::1]:8080/a?b=1", "http://[::1]:8080/a?b=1"),
        ("https://h.example/a#access_token=hush", "https://h.example/a"),
        ("https://h.example/a?token=hush", "https://h.example/a?token=REDACTED"),
        ("https://h.example/a?TOKEN=hush&b=1", "https://h.example/a?TOKEN=REDACTED&b=1"),
        ("https://h.example/a?x-amz-signature=h", "https://h.example/a?x-amz-signature=REDACTED"),
        ("https://h.example/a?%74oken=hush", "https://h.example/a?%74oken=REDACTED"),
        ("https://h.example/a?token=a=b", "https://h.example/a?token=REDACTED"),
        ("https://h.example/a?token=", "https://h.example/a?token=REDACTED"),
        ("https://h.example/a?token", "https://h.example/a?token"),
        ("https://h.example/a?b=1;token=hush", "https://h.example/a?b=1;token=REDACTED"),
        ("https://h.example/a?b;token=hush&c=2", "https://h.example/a?b;token=REDACTED&c=2"),
        ("https://h.example/a?token=hu;sh&c=2", "https://h.example/a?token=REDACTED&c=2"),
        ("https://h.example/a?=;&&=", "https://h.example/a?=;&&="),
        ("https://h.example/a?b=%20+%C3%A4&b=2", "https://h.example/a?b=%20+%C3%A4&b=2"),
        ("https://h.example/a?mytoken=1", "https://h.example/a?mytoken=1"),
    ],
)
def test_secrets_go_and_the_rest_is_kept_byte_for_byte(url, expected):
    assert redact(encoded(url)) == expected


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("a=1&b=2", "a=REDACTED&b=REDACTED"),
        ("a=1;b=2", "a=REDACTED"),
        ("eyJhbGciOi", "REDACTED"),
        ("a=1&", "a=REDACTED&"),
    ],
)
def test_a_star_redacts_every_value(query, expected):
    assert UrlRedaction(["*"])(encoded(f"https://h.example/?{query}")).endswith(f"?{expected}")


def test_no_keys_keeps_the_query():
    assert UrlRedaction([])(encoded("https://h.example/?token=1")) == "https://h.example/?token=1"


secret = "S3CR3T-4711"
pieces = st.text(alphabet="ab=;&%+1", max_size=12)


@given(
    before=pieces,
    after=pieces,
    key=st.sampled_from([*DEFAULT_KEYS, "ToKeN", "%74oken", "tok%65n"]),
    separator=st.sampled_from(["&", ";"]),
)
def test_a_listed_value_never_shows_wherever_it_stands(before, after, key, separator):
    url = encoded(f"https://h.example/p?{before}{separator}{key}={secret}{separator}{after}")
    assert secret not in redact(url)


@given(
    st.text(
        alphabet=st.characters(min_codepoint=33, max_codepoint=126, exclude_characters="#"),
        max_size=40,
    )
)
def test_a_query_without_listed_names_is_untouched_and_nothing_raises(query):
    url = encoded(f"https://h.example/p?{query}")
    shown = redact(url)
    if REDACTED not in shown:
        assert shown == f"https://h.example/p{'?' if query else ''}{query}"
    UrlRedaction(["*"])(url)
