from __future__ import annotations

import importlib.util
import traceback

import aiohttp
import pytest

from platform_http.errors import ConfigurationError
from platform_http.settings import ProxySettings, SecretUrl
from platform_http.transport import proxy
from platform_http.transport.proxy import ProxyChoice, ProxyResolver


def resolver(environ: dict[str, str] | None = None, **values: object) -> ProxyResolver:
    if "url" in values:
        values["url"] = SecretUrl(str(values["url"]))
    return ProxyResolver.of(ProxySettings.model_validate(values), environ or {})


def from_env(**environ: str) -> ProxyResolver:
    return resolver(environ, from_env=True)


def chosen(resolver: ProxyResolver, scheme: str = "http", host: str = "api.test") -> str | None:
    choice = resolver.choose(scheme, host, 443 if scheme in {"https", "wss"} else 80)
    return None if choice is None else str(choice.url)


def auth(resolver: ProxyResolver) -> aiohttp.BasicAuth | None:
    choice = resolver.choose("http", "api.test", 80)
    assert choice is not None
    return choice.auth


class TestTheSetting:
    def test_without_one_every_destination_is_reached_directly(self) -> None:
        assert chosen(resolver()) is None
        assert chosen(resolver(), "https") is None

    @pytest.mark.parametrize("scheme", ["http", "https", "ws", "wss"])
    def test_is_for_every_scheme(self, scheme: str) -> None:
        assert chosen(resolver(url="http://proxy.test:3128"), scheme) == "http://proxy.test:3128"

    @pytest.mark.parametrize(
        ("url", "expected", "port"),
        [
            ("http://proxy.test", "http://proxy.test", 80),
            ("https://proxy.test/", "https://proxy.test", 443),
            ("socks5://proxy.test", "socks5://proxy.test:1080", 1080),
            ("http://[2001:db8::1]:3128", "http://[2001:db8::1]:3128", 3128),
            ("http://bücher.test:3128", "http://xn--bcher-kva.test:3128", 3128),
        ],
    )
    def test_is_reduced_to_scheme_host_and_port(self, url: str, expected: str, port: int) -> None:
        choice = resolver(url=url).choose("http", "api.test", 80)

        assert choice is not None
        assert choice.url.port == port
        assert str(choice.url) == expected

    def test_yields_to_no_proxy(self) -> None:
        chooses = resolver(url="http://proxy.test:3128", no_proxy=("internal.test", "192.0.2.0/24"))

        assert chosen(chooses, host="api.internal.test") is None
        assert chosen(chooses, host="192.0.2.1") is None
        assert chosen(chooses) == "http://proxy.test:3128"

    def test_minds_the_port_of_a_no_proxy_entry(self) -> None:
        chooses = resolver(url="http://proxy.test:3128", no_proxy=("api.test:8080",))

        assert chooses.choose("http", "api.test", 8080) is None
        assert chooses.choose("http", "api.test", 80) is not None

    def test_ignores_the_environment_unless_told_otherwise(self) -> None:
        everything = {"HTTP_PROXY": "http://other.test:1", "NO_PROXY": "*"}

        assert chosen(resolver(everything)) is None
        assert chosen(resolver(everything, url="http://proxy.test:1")) == "http://proxy.test:1"


class TestCredentials:
    def test_leave_the_url(self) -> None:
        choice = resolver(url="http://user:p%40ss@proxy.test:3128").choose("http", "api.test", 80)

        assert choice is not None
        assert str(choice.url) == "http://proxy.test:3128"
        assert choice.auth == ("user", "p@ss", "utf-8")

    def test_are_absent_when_nobody_gave_any(self) -> None:
        assert auth(resolver(url="http://proxy.test:3128")) is None

    def test_of_the_settings_beat_those_of_the_url(self) -> None:
        chooses = resolver(url="http://user:pass@proxy.test", username="me", password="mine")

        assert auth(chooses) == ("me", "mine", "utf-8")

    def test_of_the_settings_beat_those_of_the_url_one_by_one(self) -> None:
        assert auth(resolver(url="http://user@proxy.test", password="mine")) == (
            "user",
            "mine",
            "utf-8",
        )

    def test_of_the_settings_are_for_a_proxy_of_the_environment_too(self) -> None:
        chooses = resolver(
            {"http_proxy": "http://proxy.test"}, from_env=True, username="me", password="mine"
        )

        assert auth(chooses) == ("me", "mine", "utf-8")

    def test_encode_as_utf_8_without_a_warning(self) -> None:
        credentials = auth(resolver(url="http://proxy.test", username="jürgen", password="x"))

        assert credentials is not None
        assert aiohttp.BasicAuth.decode(credentials.encode(), "utf-8") == ("jürgen", "x", "utf-8")

    def test_are_never_shown(self) -> None:
        choice = resolver(url="http://canary-user:canary-pass@proxy.test:3128").choose(
            "http", "api.test", 80
        )

        assert repr(choice) == "ProxyChoice(url=URL('http://proxy.test:3128'))"
        assert "canary" not in str(choice)


class TestTheEnvironment:
    def test_has_one_variable_for_each_scheme(self) -> None:
        chooses = from_env(HTTP_PROXY="http://plain.test:1", HTTPS_PROXY="http://tls.test:2")

        assert chosen(chooses, "http") == chosen(chooses, "ws") == "http://plain.test:1"
        assert chosen(chooses, "https") == chosen(chooses, "wss") == "http://tls.test:2"

    def test_has_one_variable_for_what_is_left(self) -> None:
        chooses = from_env(HTTPS_PROXY="http://tls.test:2", ALL_PROXY="socks5h://all.test:3")

        assert chosen(chooses, "http") == "socks5://all.test:3"
        assert chosen(chooses, "https") == "http://tls.test:2"

    def test_leaves_schemes_without_a_variable_direct(self) -> None:
        assert chosen(from_env(HTTP_PROXY="http://plain.test:1"), "https") is None

    @pytest.mark.parametrize("name", ["http_proxy", "https_proxy", "all_proxy"])
    def test_prefers_the_lower_case_name(self, name: str) -> None:
        environ = {name: "http://lower.test:1", name.upper(): "http://upper.test:2"}

        scheme = "https" if name == "https_proxy" else "http"
        assert chosen(resolver(environ, from_env=True), scheme) == "http://lower.test:1"

    def test_counts_an_empty_variable_as_unset(self) -> None:
        chooses = from_env(http_proxy="", HTTP_PROXY="http://upper.test:2", NO_PROXY="")

        assert chosen(chooses) == "http://upper.test:2"

    def test_names_http_when_it_names_no_scheme(self) -> None:
        chooses = from_env(http_proxy="user:pass@proxy.test:3128")

        assert chosen(chooses) == "http://proxy.test:3128"
        assert auth(chooses) == ("user", "pass", "utf-8")

    def test_of_a_cgi_process_is_not_led_by_a_request_header(self) -> None:
        attacked = {"REQUEST_METHOD": "GET", "HTTP_PROXY": "http://evil.test:1"}

        assert chosen(resolver(attacked, from_env=True)) is None
        lower = attacked | {"http_proxy": "http://proxy.test:2"}
        assert chosen(resolver(lower, from_env=True)) == "http://proxy.test:2"

    @pytest.mark.parametrize("separator", [",", ", ", " ", ",,", "\t"])
    def test_lists_exceptions(self, separator: str) -> None:
        exceptions = separator.join(["internal.test", "192.0.2.0/24"])
        chooses = from_env(ALL_PROXY="http://proxy.test:1", NO_PROXY=exceptions)

        assert chosen(chooses, host="internal.test") is None
        assert chosen(chooses, host="192.0.2.9") is None
        assert chosen(chooses) == "http://proxy.test:1"

    def test_prefers_the_lower_case_exceptions(self) -> None:
        chooses = from_env(ALL_PROXY="http://proxy.test:1", no_proxy="a.test", NO_PROXY="*")

        assert chosen(chooses, host="a.test") is None
        assert chosen(chooses, host="b.test") == "http://proxy.test:1"

    def test_yields_to_the_setting(self) -> None:
        environ = {"ALL_PROXY": "http://env.test:1", "NO_PROXY": "internal.test"}
        chooses = resolver(environ, from_env=True, url="http://proxy.test:2")

        assert chosen(chooses) == "http://proxy.test:2"
        assert chosen(chooses, host="internal.test") is None

    def test_yields_its_exceptions_to_those_of_the_setting(self) -> None:
        environ = {"ALL_PROXY": "http://env.test:1", "NO_PROXY": "*"}
        chooses = resolver(environ, from_env=True, no_proxy=("internal.test",))

        assert chosen(chooses) == "http://env.test:1"
        assert chosen(chooses, host="internal.test") is None

    def test_is_read_once(self) -> None:
        environ = {"ALL_PROXY": "http://env.test:1"}
        chooses = resolver(environ, from_env=True)
        environ.clear()

        assert chosen(chooses) == "http://env.test:1"


class TestWhatCannotBeUsed:
    @pytest.mark.parametrize(
        "url",
        [
            "socks4://canary@proxy.test",
            "socks://canary@proxy.test",
            "pac+http://canary@proxy.test",
            "quic://canary@proxy.test:443",
        ],
    )
    def test_is_a_kind_of_proxy_that_is_not_supported(self, url: str) -> None:
        with pytest.raises(ConfigurationError) as caught:
            resolver({"ALL_PROXY": url}, from_env=True)

        assert caught.value.violations == (
            "ALL_PROXY: an unsupported kind of proxy; use an http, https or socks5 URL",
        )

    @pytest.mark.parametrize(
        "url",
        [
            "http://",
            "http://canary:secret@",
            "http://canary@proxy.test:port",
            "http://canary@proxy.test:99999",
            "http://canary@proxy.test:0",
            "http://proxy.test/canary",
            "http://proxy.test?canary",
            "http://proxy.test#canary",
            "pac+http://proxy.test/canary.pac",
            "http://[::1/canary",
            "http://canary:pa/ss@proxy.test",
            "http://user:pass@canary phrase",
        ],
    )
    def test_is_not_a_url_and_its_secret_stays_one(self, url: str) -> None:
        with pytest.raises(ConfigurationError) as caught:
            resolver({"https_proxy": url}, from_env=True)

        assert caught.value.violations == (
            "https_proxy: not a proxy URL; write it as scheme://host:port",
        )
        assert "canary" not in "".join(traceback.format_exception(caught.value))

    def test_is_a_user_name_that_basic_cannot_carry(self) -> None:
        with pytest.raises(ConfigurationError, match="a colon") as caught:
            resolver(url="http://proxy.test", username="canary:x", password="canary")

        assert "canary" not in str(caught.value)

    @pytest.mark.parametrize(
        ("username", "password", "words"),
        [
            ("canary", None, "both a user name and a password"),
            (None, "canary", "both a user name and a password"),
            ("canary-ü", "x", "ASCII"),
            ("canary", "ü", "ASCII"),
            ("canary" * 50, "x", "255 characters"),
        ],
    )
    def test_is_a_login_that_socks5_cannot_carry(
        self, username: str | None, password: str | None, words: str
    ) -> None:
        with pytest.raises(ConfigurationError, match=words) as caught:
            resolver(url="socks5://proxy.test", username=username, password=password)

        assert "canary" not in str(caught.value)

    def test_is_socks5_without_its_extra(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)

        with pytest.raises(ConfigurationError, match=r"install platform-http\[socks\]"):
            resolver(url="socks5://proxy.test")

    def test_is_an_exception_that_means_nothing_in_the_setting(self) -> None:
        with pytest.raises(ConfigurationError, match="PROXY__NO_PROXY: entry 1"):
            resolver(no_proxy=("10.*",))

    @pytest.mark.parametrize("name", ["NO_PROXY", "no_proxy"])
    def test_is_an_exception_that_means_nothing_in_the_environment(self, name: str) -> None:
        with pytest.raises(ConfigurationError, match=f"{name}: entry 2"):
            resolver({name: "localhost,10.*"}, from_env=True)


class TestRepeatedChoices:
    def test_are_decided_once(self, monkeypatch: pytest.MonkeyPatch) -> None:
        chooses = resolver(url="http://proxy.test:1", no_proxy=("internal.test",))
        first = [chosen(chooses), chosen(chooses, host="internal.test")]

        def undecided(*_: object) -> bool:
            raise AssertionError("decided again")

        monkeypatch.setattr(proxy.NoProxy, "matches", undecided)

        assert [chosen(chooses), chosen(chooses, host="internal.test")] == first

    def test_are_remembered_for_a_bounded_number_of_destinations(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(proxy, "_CACHE_SIZE", 3)
        chooses = resolver(url="http://proxy.test:1", no_proxy=("h0.test",))

        for number in range(10):
            chosen(chooses, host=f"h{number}.test")

        assert len(chooses._choices) == 3
        assert chosen(chooses, host="h0.test") is None


def test_a_choice_is_a_value() -> None:
    one = resolver(url="http://u:p@proxy.test:1").choose("http", "api.test", 80)
    other = resolver(url="http://u:p@proxy.test:1").choose("https", "other.test", 443)

    assert isinstance(one, ProxyChoice)
    assert one == other
    assert hash(one) == hash(other)
