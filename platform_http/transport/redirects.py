"""The redirect guard: holds the policy against each hop, and takes from it what it may not carry.

aiohttp keeps the headers of the first hop for all others, so what is taken from one hop is taken
again from the next: an origin that was left does not get its secrets back from whoever sent the
call there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import aiohttp
from aiohttp import hdrs
from multidict import CIMultiDict
from yarl import URL

from platform_http.call import Origin
from platform_http.errors import EgressDeniedError
from platform_http.policies.redirect import HANDSHAKE_HEADERS, HARMLESS_HEADERS
from platform_http.transport.response import PlatformResponse
from platform_http.transport.tls_choice import TLS_SCHEMES

if TYPE_CHECKING:
    from types import SimpleNamespace

    from platform_http.call import Call, Client
    from platform_http.policies.redirect import RedirectPolicy

_UPGRADE_HEADERS = HARMLESS_HEADERS | HANDSHAKE_HEADERS


class RedirectGuard:
    """Judges the redirects of one client.

    Args:
        policy: Decides.
        client: Whose calls these are.
    """

    def __init__(self, policy: RedirectPolicy, client: Client) -> None:
        self._policy = policy
        self._client = client

    @property
    def protects(self) -> bool:
        """Whether a hop loses what is not meant for where it goes."""
        return self._policy.protects

    def enter(self, call: Call, url: URL, *, has_body: bool) -> None:
        """Judge a hop that a redirect leads to.

        Args:
            call: The call of the hop, which tells how it got here.
            url: Where the hop goes.
            has_body: Whether it carries a body.

        Raises:
            aiohttp.TooManyRedirects: If the call has followed enough of them.
            EgressDeniedError: If the policy refuses.
        """
        if self._policy.exceeds(len(call.redirects)):
            raise aiohttp.TooManyRedirects(call.redirects[0].request_info, call.redirects)
        refusal = self._policy.judge(
            downgrades=_downgrades(call.redirects[-1].url, url),
            strays=call.strayed,
            has_body=has_body,
        )
        if refusal is not None:
            self._client.observer.egress_denied(refusal.reason)
            raise EgressDeniedError(
                f"a redirect to {Origin.of(url)} of client {self._client.name!r} is refused: "
                f"{refusal.rule}",
                reason=refusal.reason,
                attempts=call.sent,
            )

    def lighten(self, call: Call, headers: CIMultiDict[str]) -> CIMultiDict[str]:
        """Return what a hop of *call* may carry of its *headers*."""
        if not call.strayed:
            return headers
        kept = _UPGRADE_HEADERS if call.upgrade else HARMLESS_HEADERS
        return CIMultiDict((name, value) for name, value in headers.items() if name.lower() in kept)


async def remember_redirect(
    session: aiohttp.ClientSession,  # noqa: ARG001 - signature of the hook
    context: SimpleNamespace,
    params: aiohttp.TraceRequestRedirectParams,
) -> None:
    """Note who sends the call on: the ``on_request_redirect`` hook of our TraceConfig."""
    call = cast("Call", context)
    call.redirects = (*call.redirects, params.response)
    if call.client.settings.redirects.mode != "follow":
        _drop_userinfo(params.response)


def _downgrades(previous: URL, url: URL) -> bool:
    return previous.scheme in TLS_SCHEMES and url.scheme not in TLS_SCHEMES


def _drop_userinfo(response: aiohttp.ClientResponse) -> None:
    """Take the credentials out of a Location.

    They are the redirecting server's idea, and next to an ``Authorization`` header aiohttp raises
    a ValueError because of them.
    """
    # An application's middleware may have returned a response of another session.
    if not isinstance(response, PlatformResponse):
        return
    for name in (hdrs.LOCATION, hdrs.URI):
        location = response.headers.get(name, "")
        if "@" not in location:
            continue
        try:
            url = URL(location, encoded=True)
            if url.raw_user is not None or url.raw_password is not None:
                response.replace_header(name, str(url.with_user(None)))
        except ValueError:
            # aiohttp says so itself.
            continue
