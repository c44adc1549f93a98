"""A distinct secret for every place that may hold one, and the spellings in which it may leak."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator

PLACES = (
    "url-user",
    "url-password",
    "query",
    "fragment",
    "header",
    "cookie",
    "authorization",
    "request-body",
    "answer-header",
    "answer-cookie",
    "answer-body",
    "location",
    "settings-header",
    "base-url-user",
    "base-url-password",
    "proxy-user",
    "proxy-password",
    "key-password",
    "auth-password",
    "token",
    "token-file",
    "client-secret",
    "access-token",
    "provider",
)

# Letters and digits alone: nothing on the way has a reason to quote or to encode them.
CANARIES = {place: f"C4n4ry{place.replace('-', '')}7yr4n4C" for place in PLACES}


def found_in(texts: Iterable[tuple[str, str]]) -> list[str]:
    """Return which canary is told by which of the *texts*, each a name and what it says."""
    return [
        f"{place} in {where}: {text[max(0, text.find(form) - 200) :][:400]}"
        for where, text in texts
        for place, forms in _FORMS.items()
        for form in forms
        if form in text
    ]


def _forms(canary: str) -> Iterator[str]:
    yield canary
    yield canary.encode().hex()
    # Within a longer text, as in a Basic login, it begins at any of three places in a group.
    for before in range(3):
        encoded = base64.b64encode(b"\0" * before + canary.encode()).decode()
        yield encoded[4:-4]


_FORMS = {place: tuple(_forms(canary)) for place, canary in CANARIES.items()}
# What a shortening formatter leaves of any of them.
_FORMS["some"] = ("C4n4", "4n4C")
