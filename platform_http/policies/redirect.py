"""Redirects: which are followed, and what goes along.

``safe`` follows RFC 9110, section 15.4, where it says that a client ought to take care: what was
meant for one origin is not told to another because the first one says so.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

Mode = Literal["safe", "deny", "follow"]

HARMLESS_HEADERS = frozenset(
    {"accept", "accept-encoding", "accept-language", "if-range", "range", "user-agent"}
)
"""What another origin may see of a request's headers. All others may be, or tell, a secret.

Downloads are often redirected to a store of files, which would begin anew without the range.
"""

HANDSHAKE_HEADERS = frozenset(
    {
        "connection",
        "sec-websocket-extensions",
        "sec-websocket-key",
        "sec-websocket-version",
        "upgrade",
    }
)
"""What a WebSocket handshake needs on top. Not its protocols: they are used to carry tokens."""


class Refusal(NamedTuple):
    """Why a redirect is not followed.

    Args:
        reason: A word for metrics and code.
        rule: The same for people, as the end of a sentence.
    """

    reason: str
    rule: str


_DENIED = Refusal(
    "redirect_denied",
    "REDIRECTS__MODE is deny; pass allow_redirects=False to get the redirect as the response",
)
_DOWNGRADE = Refusal("redirect_downgrade", "it leads from https to http")
_BODY = Refusal(
    "redirect_body",
    "it asks to send the request's body to another origin; request that one directly if it is "
    "meant to have it",
)


class RedirectPolicy:
    """Decides on one redirect at a time.

    Args:
        mode: ``safe``, ``deny`` or ``follow``.
        maximum: Redirects of one call that are followed, >= 0.
    """

    def __init__(self, mode: Mode, maximum: int) -> None:
        self._mode = mode
        self._maximum = maximum

    @property
    def protects(self) -> bool:
        """Whether another origin gets less than the first one."""
        return self._mode != "follow"

    def exceeds(self, number: int) -> bool:
        """Tell whether the redirect with this 1-based *number* is one too many."""
        return number > self._maximum

    def judge(self, *, downgrades: bool, strays: bool, has_body: bool) -> Refusal | None:
        """Return why a redirect is not followed, or ``None``.

        Args:
            downgrades: Whether it leads from https to http.
            strays: Whether it leads to another origin than the call's first, or one before did.
            has_body: Whether it asks to send the body again (307 and 308, or a PUT).
        """
        if self._mode == "follow":
            return None
        if self._mode == "deny":
            return _DENIED
        if downgrades:
            return _DOWNGRADE
        return _BODY if strays and has_body else None
