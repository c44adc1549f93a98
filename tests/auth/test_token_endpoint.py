"""Judging what a token endpoint answers."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from platform_http.auth.token_endpoint import Grant, endpoint_settings, judge
from platform_http.settings import HttpSettings

GOOD = {"access_token": "t-1", "token_type": "Bearer", "expires_in": 60}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, Grant("t-1", 60)),
        ({"token_type": "BEARER", "scope": "x"}, Grant("t-1", 60)),
        ({"expires_in": 0}, Grant("t-1", 0)),
        ({"expires_in": 1.5}, Grant("t-1", 1.5)),
        ({"expires_in": 10**400}, Grant("t-1", 1e9)),
    ],
)
def test_a_good_answer_is_taken(changes: dict[str, object], expected: Grant) -> None:
    assert judge(json.dumps(GOOD | changes).encode()) == expected


def test_nobody_has_to_say_how_long_a_token_lives() -> None:
    assert judge(b'{"access_token": "t", "token_type": "bearer"}') == Grant("t", None)


@pytest.mark.parametrize(
    "changes",
    [
        {"access_token": None},
        {"access_token": ""},
        {"access_token": 7},
        {"access_token": "canary\r\nX-Admin: 1"},
        {"access_token": "canary token"},
        {"access_token": "canäry"},
        {"token_type": None},
        {"token_type": "mac"},
        {"token_type": ["bearer"]},
        {"expires_in": None},
        {"expires_in": "60"},
        {"expires_in": True},
        {"expires_in": -1},
        {"expires_in": float("nan")},
        {"expires_in": float("inf")},
    ],
)
def test_anything_else_is_refused_by_field_and_without_a_quote(changes: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(changes))) as caught:
        judge(json.dumps(GOOD | changes).encode())
    assert "can" not in str(caught.value)


@pytest.mark.parametrize(
    "body",
    [b"", b"canary", b"[]", b'"canary"', b"null", b"\xff\xfe", b"[" * 60_000, b'{"a": "canary'],
)
def test_what_is_no_object_is_refused_without_a_cause_that_quotes_it(body: bytes) -> None:
    with pytest.raises(ValueError, match="no JSON object") as caught:
        judge(body)
    assert caught.value.__context__ is None


@given(
    st.binary(max_size=200)
    | st.dictionaries(
        st.sampled_from([*GOOD]), st.none() | st.text() | st.floats() | st.booleans()
    ).map(lambda answer: json.dumps(answer).encode())
)
def test_no_answer_raises_anything_but_a_value_error(body: bytes) -> None:
    try:
        grant = judge(body)
    except ValueError:
        return
    assert grant.token
    assert grant.lifetime is None or grant.lifetime >= 0


def test_the_session_that_asks_for_tokens_takes_nothing_of_the_client_along() -> None:
    settings = HttpSettings(
        base_url="https://api.test/",
        headers={"X-Api-Key": "k"},
        timeout={"total": 0.5},
        auth={"scheme": "basic", "username": "u", "password": "p"},
        hedging={"enabled": True},
        egress={"denied_hosts": ["a.test"]},
        proxy={"url": "http://proxy.test"},
        tls={"min_version": "1.3"},
    ).client()
    inner = endpoint_settings(settings)
    assert (inner.name, inner.base_url, inner.headers) == ("auth", None, {})
    assert inner.auth.scheme == "none"
    assert inner.timeout.total == 10
    assert not inner.hedging.enabled
    assert (inner.egress, inner.proxy, inner.tls) == (settings.egress, settings.proxy, settings.tls)


def test_a_grant_shows_no_token():
    assert "canary" not in repr(Grant("canary", 1.0))
