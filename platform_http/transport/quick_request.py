"""The request class with a constructor of its own.

aiohttp's constructor asks twelve verbs, one after the other, and for most requests most of them
have nothing to do. This one asks a verb where there is something for it.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
from types import FunctionType, SimpleNamespace
from typing import TYPE_CHECKING, Any, Final

import aiohttp
from aiohttp import HttpVersion, HttpVersion11, hdrs
from aiohttp.helpers import TimerNoop
from aiohttp.http import SERVER_SOFTWARE
from multidict import CIMultiDict
from yarl import URL

from platform_http.transport.request import PlatformRequest, Route
from platform_http.transport.tls_choice import TLS_SCHEMES

if TYPE_CHECKING:
    from collections.abc import Iterable

    from aiohttp.helpers import BaseTimerContext
    from aiohttp.tracing import Trace
    from aiohttp.typedefs import LooseCookies, LooseHeaders, Query

    from platform_http.transport.tls_choice import SslArgument

# As in the request class.
_Base = aiohttp.ClientRequest

# In upper case and tokens all of them; others are for aiohttp to judge.
_METHODS: Final = aiohttp.ClientRequest.ALL_METHODS

# What aiohttp puts where no header is given, in its order; the host is that of the hop.
_AUTOMATIC: Final = CIMultiDict(
    [
        (hdrs.HOST, ""),
        *aiohttp.ClientRequest.DEFAULT_HEADERS.items(),
        (hdrs.USER_AGENT, SERVER_SOFTWARE),
    ]
)


class QuickRequest(PlatformRequest):
    """One hop of a call, made with less ado; only to be used where :func:`is_sound`."""

    __slots__ = ()

    def __init__(  # noqa: PLR0915 - one attribute after the other, as aiohttp's
        self,
        method: str,
        url: URL,
        *,
        params: Query = None,
        headers: LooseHeaders | None = None,
        skip_auto_headers: Iterable[str] | None = None,
        data: Any = None,
        cookies: LooseCookies | None = None,
        auth: aiohttp.BasicAuth | None = None,
        version: HttpVersion = HttpVersion11,
        compress: str | bool | None = None,
        chunked: bool | None = None,
        expect100: bool = False,
        loop: asyncio.AbstractEventLoop | None = None,
        response_class: type[aiohttp.ClientResponse] | None = None,
        proxy: URL | None = None,
        proxy_auth: aiohttp.BasicAuth | None = None,
        timer: BaseTimerContext | None = None,
        session: aiohttp.ClientSession | None = None,
        ssl: SslArgument = True,
        proxy_headers: LooseHeaders | None = None,
        traces: list[Trace] | None = None,
        trust_env: bool = False,
        server_hostname: str | None = None,
    ) -> None:
        if session is not None:
            self.route = session._connector.route  # type: ignore[union-attr] # noqa: SLF001 - ours, held by a canary
        if (
            session is None
            or timer is None
            or loop is None
            or response_class is None
            or traces is None
            or version is not HttpVersion11
            or method not in _METHODS
        ):
            # No session of ours asks like this.
            _Base.__init__(**locals())
            return
        if params:
            url = url.extend_query(params)
        self._session = session
        self.original_url = url
        self.url = url.with_fragment(None) if url.raw_fragment else url
        self.method = method
        self.version = version
        self.chunked = chunked
        self.compress = compress
        self.loop = loop
        self.length = None
        self.response_class = response_class
        self._timer = timer
        self._ssl = ssl
        self.server_hostname = server_hostname
        self._begin(url)
        _Base.update_host(self, url)
        if headers or skip_auto_headers is not None:
            self.update_headers(headers)
            self.update_auto_headers(skip_auto_headers)
        else:
            self.headers = _AUTOMATIC.copy()
            self.headers[hdrs.HOST] = self.url.host_port_subcomponent or ""
        if cookies:
            self.update_cookies(cookies)
        call = self.call
        if data is not None or headers or (call is not None and call.hops > 1):
            self.update_content_encoding(data)
        else:
            self.chunked = self.compress = None
        if auth is not None or self.auth is not None:
            self.update_auth(auth, trust_env)
        if (
            proxy is not None
            or self.route.proxies is not None
            or self._origin.scheme in TLS_SCHEMES
        ):
            self.update_proxy(proxy, proxy_auth, proxy_headers)
        else:
            self.proxy = self.proxy_auth = self.proxy_headers = None
        if data is not None or method not in self.GET_METHODS:
            self.update_body_from_data(data)
            self.update_transfer_encoding()
        else:
            self._body = None
        if data is not None or headers or expect100:
            self.update_expect_continue(expect100)
        else:
            self._is_whole = True
            if call is not None:
                self._describe(call)
        # In debug mode aiohttp also keeps where it was made, which nothing looks at.
        self._traces = traces


@functools.cache
def is_sound() -> bool:
    """Tell whether a quick request is the same as aiohttp's, of which this is another release.

    Call it in a running event loop.
    """
    theirs: Any = _Base.__init__
    ours: Any = QuickRequest.__init__
    # One that is wrapped is left to whoever did so. inspect.signature() would take as long as
    # making the session.
    if type(theirs) is not FunctionType or _arguments(theirs) != _arguments(ours):
        return False
    route: Any = SimpleNamespace(**dict.fromkeys(Route.__slots__))
    asked: dict[str, Any] = {
        "loop": asyncio.get_running_loop(),
        "response_class": aiohttp.ClientResponse,
        "session": SimpleNamespace(_connector=SimpleNamespace(route=route)),
        "timer": TimerNoop(),
        "traces": [],
    }
    url = URL("http://127.0.0.1:8080/path?query#fragment")
    try:
        return _made(QuickRequest("GET", url, **asked)) == _made(_Base("GET", url, **asked))
    except Exception:  # noqa: BLE001 - whatever it is, aiohttp's own takes what sessions give
        return False


def _arguments(function: FunctionType) -> tuple[object, ...]:
    code, defaults = function.__code__, function.__kwdefaults__ or {}
    names = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
    return names, defaults.keys(), code.co_flags & (inspect.CO_VARARGS | inspect.CO_VARKEYWORDS)


def _made(request: aiohttp.ClientRequest) -> dict[str, object]:
    """Return what the constructor of *request* made of its arguments."""
    made = {**vars(request), "headers": list(request.headers.items())}
    made.pop("_is_whole", None)
    # Of debug mode only, and of no use to anybody.
    made.pop("_source_traceback", None)
    return made


def request_class(route: Route) -> type[PlatformRequest]:
    """Return the class of the requests that take *route*; their connector has to have it too."""
    if is_sound():
        return QuickRequest
    return type("PlatformRequest", (PlatformRequest,), {"__slots__": (), "route": route})
