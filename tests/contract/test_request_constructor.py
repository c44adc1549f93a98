"""The constructor that stands in for aiohttp's, held against it."""

import asyncio
import functools
import inspect
import re
from types import SimpleNamespace
from typing import Any

import aiohttp
import pytest
from aiohttp.helpers import TimerNoop
from multidict import CIMultiDict
from yarl import URL

from platform_http.transport.quick_request import QuickRequest, is_sound
from platform_http.transport.request import Route

URLS = ("http://127.0.0.1/", "http://127.0.0.1:8080/a%20path?query#fragment", "http://[::1]/")

ARGUMENTS: tuple[dict[str, Any], ...] = (
    {},
    {"params": {"page": "2"}},
    {"headers": CIMultiDict({"X-Key": "value", "User-Agent": "theirs"})},
    {"headers": CIMultiDict({"Expect": "100-continue"})},
    {"headers": CIMultiDict(), "skip_auto_headers": ["User-Agent"]},
    {"cookies": {"name": "value"}},
    {"data": b"body"},
    {"data": b"body", "compress": True},
    {"data": b"body", "chunked": True},
    {"data": "text", "headers": CIMultiDict({"Content-Type": "text/x"})},
    {"data": {"field": "value"}},
    {"data": b"", "expect100": True},
    {"compress": "gzip"},
    {"expect100": True},
    {"auth": tuple.__new__(aiohttp.BasicAuth, ("user", "password", "utf-8"))},
    {"version": aiohttp.HttpVersion10},
    {"proxy": URL("http://127.0.0.2:3128")},
    {"proxy": URL("http://127.0.0.2:3128"), "proxy_headers": CIMultiDict({"X-Key": "value"})},
    {"ssl": False, "server_hostname": "other"},
    {"trust_env": True},
)


class Sample(QuickRequest):
    """One of no client."""

    __slots__ = ()


def made(kind: type[aiohttp.ClientRequest], method: str, url: str, **given: Any) -> dict[str, Any]:
    """What *kind* makes of what a session gives."""
    asked = {name: CIMultiDict(v) if name == "headers" else v for name, v in given.items()}
    asked |= {
        "loop": asyncio.get_running_loop(),
        "response_class": aiohttp.ClientResponse,
        "session": SESSION,
        "timer": TIMER,
        "traces": [],
    }
    request = kind(method, URL(url), **asked)
    attributes = dict(vars(request))
    attributes.pop("_is_whole", None)
    # Objects without an equality of their own.
    attributes["headers"] = list(request.headers.items())
    body = attributes["_body"]
    attributes["_body"] = body and (type(body), body.size, dict(body.headers))
    attributes["_continue"] = request._continue is not None
    attributes["skips"] = list(request.skip_auto_headers)
    attributes.pop("_skip_auto_headers", None)
    return attributes


class Session:
    headers: CIMultiDict[str] = CIMultiDict()
    _connector = SimpleNamespace(route=SimpleNamespace(**dict.fromkeys(Route.__slots__)))


SESSION, TIMER = Session(), TimerNoop()


@pytest.mark.parametrize("given", ARGUMENTS, ids=lambda given: "+".join(given) or "nothing")
@pytest.mark.parametrize("method", ["GET", "HEAD", "DELETE", "POST", "PROPFIND", "get"])
async def test_it_makes_what_aiohttps_makes(method: str, given: dict[str, Any]) -> None:
    for url in URLS:
        theirs = made(aiohttp.ClientRequest, method, url, **given)
        ours = made(Sample, method, url, **given)
        if "data" not in given:
            # Ours never writes chunks for a body that there is not.
            theirs["chunked"] = None
        assert ours == theirs


async def test_it_is_known_to_be_sound() -> None:
    assert is_sound()


def test_aiohttps_constructor_asks_and_refuses_what_is_known() -> None:
    source = inspect.getsource(aiohttp.ClientRequest.__init__)
    assert re.findall(r"self\.(update_\w+)\(", source) == [
        "update_version",
        "update_host",
        "update_headers",
        "update_auto_headers",
        "update_cookies",
        "update_content_encoding",
        "update_auth",
        "update_proxy",
        "update_body_from_data",
        "update_transfer_encoding",
        "update_expect_continue",
    ]
    # Methods that are no tokens, which ours leaves to it.
    assert re.findall(r"raise (\w+)", source) == ["ValueError"]
    assert "_CONTAINS_CONTROL_CHAR_RE.search(method)" in source


@pytest.mark.parametrize(
    ("verb", "nothing"),
    [
        ("update_auth", (None,)),
        ("update_cookies", (None,)),
        ("update_proxy", (None, None, None)),
        ("update_content_encoding", (None,)),
        ("update_expect_continue", (False,)),
    ],
)
async def test_a_verb_that_is_given_nothing_changes_nothing(
    verb: str, nothing: tuple[object, ...]
) -> None:
    request = aiohttp.ClientRequest(
        "GET", URL("http://127.0.0.1/"), loop=asyncio.get_running_loop()
    )
    before = dict(vars(request)), list(request.headers.items())
    functools.partial(getattr(aiohttp.ClientRequest, verb), request)(*nothing)
    assert (dict(vars(request)), list(request.headers.items())) == before
