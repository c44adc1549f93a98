from __future__ import annotations

import json
import logging
import os
import traceback
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from platform_http.errors import ConfigurationError
from platform_http.settings import HttpSettings, ProxySettings, SecretUrl
from platform_http.settings.variables import variables, without_secrets

CANARY = "c4naryc4nary"

# Each variable with the canary where a secret belongs, all valid together.
SECRETS = {
    "BASE_URL": f"https://user:{CANARY}@api.test/",
    "HEADERS": json.dumps({"X-Api-Key": CANARY}),
    "PROXY__URL": f"http://{CANARY}:{CANARY}@proxy.test",
    "PROXY__PASSWORD": CANARY,
    "TLS__CERT_FILE": "cert.pem",
    "TLS__KEY_PASSWORD": CANARY,
}


def _everything_about(error: BaseException) -> str:
    """Return all that a log or an error tracker could show of *error*."""
    chain: list[BaseException | None] = [error, error.__cause__, error.__context__]
    return "\n".join(
        [
            str(error),
            repr(error),
            repr(error.args),
            repr(vars(error)),
            *traceback.format_exception(error),
            *(repr(getattr(each, "errors", lambda: None)()) for each in chain),
            *map(repr, chain),
        ]
    )


def _refusal() -> ConfigurationError | None:
    try:
        HttpSettings()
    except ConfigurationError as error:
        return error
    return None


def test_valid_secrets_are_in_no_repr_dump_or_log(load, caplog):
    with caplog.at_level(logging.DEBUG):
        loaded = load(**SECRETS)
        client = loaded.client("billing")
    password = client.proxy.password
    assert password is not None
    assert password.get_secret_value() == CANARY
    for text in (
        repr(loaded),
        str(client),
        repr(client),
        client.model_dump_json(),
        str(client.model_dump()),
        repr(client.model_dump(mode="json")),
        *(repr(without_secrets(variable.of(client))) for variable in variables().values()),
        caplog.text,
    ):
        assert CANARY not in text


@pytest.mark.parametrize("variable", sorted(variables()))
def test_a_wrong_value_is_in_no_error(load, variable):
    name = variable.upper().replace(".", "__")
    # Valid text for some, wrong in its type or form for all others.
    for text in (CANARY, f"-{CANARY}", f"[{CANARY}", f'{{"{CANARY}', f"x://{CANARY}@{CANARY}/?#"):
        with mock.patch.dict(os.environ, {f"PLATFORM_HTTP_{name}": text}):
            error = _refusal()
        if error is not None:
            assert CANARY not in _everything_about(error)
            assert error.__cause__ is None
            assert error.__context__ is None


def test_neither_are_the_valid_secrets_beside_a_wrong_value(load):
    with pytest.raises(ConfigurationError) as caught:
        load(**SECRETS, TIMEOUT__TOTAL="soon")
    assert CANARY not in _everything_about(caught.value)


@pytest.mark.parametrize(
    "values",
    [
        {"proxy": {"url": f"http://u:{CANARY}@p/path"}},
        {"proxy": {"url": [CANARY]}},
        {"proxy": CANARY},
        {"headers": {"X-A": [CANARY]}},
        {"headers": {"X A": CANARY}},
        {"base_url": SecretUrl(f"http://u:{CANARY}@p/path")},
        {"clients": {"a": {"proxy": {"password": [CANARY]}}}},
        {"clients": CANARY},
    ],
)
def test_a_wrong_constructor_argument_is_in_no_error(values):
    with pytest.raises(ConfigurationError) as caught:
        HttpSettings(**values)
    assert CANARY not in _everything_about(caught.value)


def test_a_section_made_by_hand_tells_no_secret():
    with pytest.raises(ConfigurationError) as caught:
        ProxySettings(url=f"http://u:{CANARY}@p/path", password=[CANARY])
    assert CANARY not in _everything_about(caught.value)


@settings(max_examples=150)
@given(
    st.dictionaries(
        st.sampled_from([variable.suffix for variable in variables().values()]),
        st.sampled_from(
            [
                "{}",
                "{},{}",
                '["{}"]',
                '{"X-A": "{}"}',
                '{"X-A": {}}',
                "http://{}@a.test/",
                "http://a:{}@a.test:x/",
                "http+unix://{}/",
                "socks5://a:{}@a.test",
                "redis://:{}@a.test",
                "1e{}",
                "-{}\n",
            ]
        ),
        min_size=1,
        max_size=6,
    )
)
def test_no_combination_of_values_shows_a_secret(said):
    variables_said = {
        f"PLATFORM_HTTP_{name}": form.replace("{}", CANARY) for name, form in said.items()
    }
    with mock.patch.dict(os.environ, variables_said):
        error = _refusal()
        if error is not None:
            assert CANARY not in _everything_about(error)
            return
        client = HttpSettings().client()
    for path in ("headers", "base_url", "proxy.url", "proxy.password", "tls.key_password"):
        assert CANARY not in repr(variables()[path].of(client))
