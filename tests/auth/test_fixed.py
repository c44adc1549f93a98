"""Credentials that never change."""

from __future__ import annotations

import base64
from unittest.mock import Mock

import pytest

from platform_http.auth.fixed import FixedCredentials, basic, bearer, is_token


def test_basic_is_utf_8_with_the_password_behind_the_first_colon() -> None:
    login = basic("ü", "a:b")["Authorization"].removeprefix("Basic ")
    assert base64.b64decode(login) == "ü:a:b".encode()


async def test_a_refusal_changes_nothing_about_them() -> None:
    credentials = FixedCredentials(bearer("t"))
    credentials.reject({"Authorization": "Bearer t"})
    assert credentials.ready() == {"Authorization": "Bearer t"}
    assert await credentials.obtain(Mock()) == {"Authorization": "Bearer t"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [("a-._~+/=Z9", True), ("", False), ("a b", False), ("a\n", False), ("ä", False)],
)
def test_a_token_is_visible_ascii(text: str, *, expected: bool) -> None:
    assert is_token(text) is expected
