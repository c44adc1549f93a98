from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from platform_http.settings import SecretUrl

CANARY = "c4nary"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://api.test/v1/", "https://api.test/v1/"),
        ("https://api.test:8443/v1/", "https://api.test:8443/v1/"),
        ("https://user:pass@api.test/v1/", "https://***@api.test/v1/"),
        ("https://user@api.test/", "https://***@api.test/"),
        ("https://api.test/v1/?token=abc", "https://api.test/v1/"),
        ("https://api.test/v1/#abc", "https://api.test/v1/"),
        ("http+unix://%2Frun%2Fapi.sock/v1/", "http+unix://%2Frun%2Fapi.sock/v1/"),
        ("http://u:p@[::1]:3128", "http://***@[::1]:3128"),
        ("memory://", "memory://"),
        # What should have been percent-encoded.
        ("http://user:pa/ss@proxy.test", "***"),
        ("http://user/pass@proxy.test", "http://***"),
        ("http://user?pass@proxy.test", "http://***"),
        ("http://user#pass@proxy.test", "http://***"),
        ("http://user@pass@proxy.test", "http://***"),
        # Not a URL at all.
        ("secret", "***"),
        ("user:pass@proxy.test", "***"),
        ("http://[::1", "***"),
        ("http://proxy.test:secret", "***"),
        ("", "***"),
    ],
)
def test_a_secret_url_shows_neither_userinfo_nor_query(url, shown):
    secret = SecretUrl(url)
    assert str(secret) == shown
    assert repr(secret) == f"SecretUrl('{shown}')"
    assert secret.get_secret_value() == url


@given(
    st.sampled_from(["http://", "https://", "socks5://", ""]),
    st.text(st.characters(codec="ascii"), max_size=5),
    st.text(st.characters(codec="ascii"), max_size=5),
)
def test_a_password_before_the_host_is_never_shown(scheme, before, behind):
    secret = SecretUrl(f"{scheme}user:{before}{CANARY}{behind}@proxy.test/")
    assert CANARY not in f"{secret}{secret!r}"


def test_secret_urls_are_equal_by_their_secret():
    one, same, other = SecretUrl("http://a:b@c"), SecretUrl("http://a:b@c"), SecretUrl("http://c")
    assert one == same
    assert hash(one) == hash(same)
    assert one != other
    assert one != "http://a:b@c"


class _Model(BaseModel):
    url: SecretUrl


def test_a_model_takes_text_and_shows_the_mask():
    model = _Model.model_validate({"url": "http://user:pass@a.test/"})
    assert model.model_dump_json() == '{"url":"http://***@a.test/"}'
    assert model.model_dump()["url"] == SecretUrl("http://user:pass@a.test/")
    assert _Model.model_validate_json('{"url": "http://a.test/"}').url == SecretUrl(
        "http://a.test/"
    )
    assert "pass" not in repr(model)
    schema = _Model.model_json_schema()["properties"]["url"]
    assert schema == {"title": "Url", "type": "string", "format": "uri", "writeOnly": True}
