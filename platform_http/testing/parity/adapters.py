"""Clients of parity made of the sessions of HTTP libraries, none of which is imported for it."""

from __future__ import annotations

import inspect
import math
import urllib.error
import urllib.request
from typing import TYPE_CHECKING, Any, Protocol

import aiohttp

from platform_http.call import CallOptions, client_of
from platform_http.testing.parity.answer import Answer

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from platform_http.testing.parity.answer import Client


class _Requests(Protocol):
    """Anything with the ``request`` method of ``requests.Session`` or of ``httpx``'s clients."""

    def request(self, method: str, url: str, **options: Any) -> Any:
        """Make one call."""


def from_aiohttp(session: aiohttp.ClientSession) -> Client:
    """Return a client that calls through *session*; a factory's or a bare one.

    The timeout is the ``CallOptions.timeout`` of a factory's session, ``ClientTimeout(total=...)``
    of any other, and where a factory's has no timeouts of its own (the profile ``plain``).
    """
    client = client_of(session)
    takes_options = client is not None and client.settings.timeout.attempt < math.inf

    async def call(
        method: str, url: str, *, headers: Mapping[str, str], body: bytes | None, timeout: float
    ) -> Answer:
        options: dict[str, Any] = (
            {"trace_request_ctx": CallOptions(timeout=timeout)}
            if takes_options
            else {"timeout": aiohttp.ClientTimeout(total=timeout)}
        )
        async with session.request(method, url, headers=headers, data=body, **options) as response:
            content = await response.read()
            return Answer(
                response.status,
                tuple(response.headers.items()),
                content,
                await response.text(errors="replace"),
            )

    return call


def from_httpx(client: _Requests) -> Client:
    """Return a client that calls through an ``httpx.AsyncClient`` or ``httpx.Client``."""
    if inspect.iscoroutinefunction(client.request):

        async def call(
            method: str, url: str, *, headers: Mapping[str, str], body: bytes | None, timeout: float
        ) -> Answer:
            response = await client.request(
                method, url, headers=headers, content=body, timeout=timeout
            )
            return _answer(response, response.headers.multi_items())

        return call

    def call_in_thread(
        method: str, url: str, *, headers: Mapping[str, str], body: bytes | None, timeout: float
    ) -> Answer:
        response = client.request(method, url, headers=headers, content=body, timeout=timeout)
        return _answer(response, response.headers.multi_items())

    return call_in_thread


def from_requests(session: _Requests) -> Client:
    """Return a client that calls through a ``requests.Session``, in a thread."""

    def call(
        method: str, url: str, *, headers: Mapping[str, str], body: bytes | None, timeout: float
    ) -> Answer:
        response = session.request(method, url, headers=headers, data=body, timeout=timeout)
        # Those of urllib3: requests makes one of what is repeated.
        return _answer(response, response.raw.headers.items())

    return call


def from_urllib(opener: urllib.request.OpenerDirector | None = None) -> Client:
    """Return a client that calls through an opener of ``urllib.request``, in a thread.

    Args:
        opener: By default a new one, without proxies of the environment.
    """
    through = opener or urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def call(
        method: str, url: str, *, headers: Mapping[str, str], body: bytes | None, timeout: float
    ) -> Answer:
        request = urllib.request.Request(  # noqa: S310 - the URL is that of a scenario's server
            url, data=body, headers=dict(headers), method=method
        )
        try:
            with through.open(request, timeout=timeout) as response:
                return Answer(response.status, tuple(response.headers.items()), response.read())
        except urllib.error.HTTPError as error:
            # How urllib says that a response has a status of 400 or more.
            with error:
                return Answer(error.code, tuple(error.headers.items()), error.read())

    return call


def _answer(response: Any, headers: Iterable[tuple[str, str]]) -> Answer:
    """Return what a response of requests or httpx says; both use the same names."""
    return Answer(response.status_code, tuple(headers), response.content, response.text)
