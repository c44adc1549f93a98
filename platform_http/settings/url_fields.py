"""The types of settings that are URLs. Each may hold credentials."""

import re
from typing import Annotated
from urllib.parse import SplitResult, unquote, urlsplit

from pydantic import AfterValidator, BeforeValidator

from platform_http.settings.fields import Expects, refusal, stripped, text_or_none
from platform_http.settings.secret_url import SecretUrl


def _split(url: SecretUrl, schemes: frozenset[str]) -> SplitResult:
    """Return the parts of *url* after the checks that every URL setting needs."""
    text = url.get_secret_value()
    if re.search(r"[\s\x00-\x1f\x7f\\]", text):
        raise refusal("is a URL with white space, control characters or a backslash")
    parts, valid_port = _parts(text)
    if parts is None:
        raise refusal("is not a URL")
    if parts.scheme not in schemes:
        raise refusal("is not a URL with a supported scheme")
    if not valid_port:
        raise refusal("is a URL with an invalid port")
    if parts.query or parts.fragment or text.endswith(("?", "#")):
        raise refusal("is a URL with a query or a fragment")
    return parts


def _parts(text: str) -> tuple[SplitResult | None, bool]:
    # urlsplit puts parts of the URL into its messages; nothing may chain them.
    try:
        parts = urlsplit(text)
    except ValueError:
        return None, False
    try:
        valid_port = parts.port != 0 and not parts.netloc.endswith(":")
    except ValueError:
        valid_port = False
    return parts, valid_port


def _base_url(url: SecretUrl | None) -> SecretUrl | None:
    if url is None:
        return None
    parts = _split(url, frozenset({"http", "https", "http+unix"}))
    if parts.scheme == "http+unix":
        socket_path = unquote(parts.netloc)
        if not socket_path.startswith("/") or "\0" in socket_path:
            raise refusal("is not a URL whose host is an absolute socket path, its / written %2F")
    elif not parts.hostname:
        raise refusal("is a URL without a host")
    if not parts.path:
        return SecretUrl(url.get_secret_value() + "/")
    if not parts.path.endswith("/"):
        raise refusal("is a URL that does not end in /, so joining would drop its last segment")
    return url


def _proxy_url(url: SecretUrl | None) -> SecretUrl | None:
    if url is None:
        return None
    parts = _split(url, frozenset({"http", "https", "socks5"}))
    if not parts.hostname:
        raise refusal("is a URL without a host")
    if parts.path not in {"", "/"}:
        raise refusal("is a URL with a path")
    return url


def _token_url(url: SecretUrl | None) -> SecretUrl | None:
    if url is not None and not _split(url, frozenset({"http", "https"})).hostname:
        raise refusal("is a URL without a host")
    return url


def _store_url(url: SecretUrl) -> SecretUrl:
    parts, _ = _parts(url.get_secret_value())
    if parts is None or parts.scheme not in {"memory", "redis", "rediss"}:
        raise refusal("is not a URL with a supported scheme")
    return url


BaseUrl = Annotated[
    SecretUrl | None,
    BeforeValidator(text_or_none),
    AfterValidator(_base_url),
    Expects("a URL of http, https or http+unix that ends in /, or none"),
]
ProxyUrl = Annotated[
    SecretUrl | None,
    BeforeValidator(text_or_none),
    AfterValidator(_proxy_url),
    Expects("a URL of http, https or socks5 with nothing behind host and port, or none"),
]
TokenUrl = Annotated[
    SecretUrl | None,
    BeforeValidator(text_or_none),
    AfterValidator(_token_url),
    Expects("a URL of http or https, or none"),
]
StoreUrl = Annotated[
    SecretUrl,
    BeforeValidator(stripped),
    AfterValidator(_store_url),
    Expects("memory:// or a URL of redis or rediss"),
]
