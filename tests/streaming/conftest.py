"""A session, and a server of files that continues them."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import aiohttp
import pytest
from prometheus_client import CollectorRegistry

from platform_http import HttpSettings, SessionFactory
from platform_http.testing.actions import Action, partial_body, respond
from platform_http.testing.wire import ReceivedRequest

# Short backoffs, and a silence that is over soon.
SETTINGS = {
    "retry": {"backoff_initial": 0.001, "backoff_max": 0.002, "backoff_throttled": 0.001},
    "timeout": {"read": 0.3},
    "telemetry": {"traces": False},
}

MIB = 2**20


@dataclass
class FileServer:
    """A script that answers ranges of *body*, and cuts the first responses short.

    Args:
        body: Of the file.
        cuts: Bytes of each response in turn that are sent before its connection is reset.
        headers: Of every response with a body.
        ranges: Whether it knows about ranges at all.
        then: How a cut ends.
    """

    body: bytes
    cuts: list[int] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=lambda: {"ETag": '"1"'})
    ranges: bool = True
    then: str = "close"

    def __call__(self, request: ReceivedRequest) -> Action:
        status, body, headers = 200, self.body, dict(self.headers)
        wanted = re.fullmatch(r"bytes=(\d+)-", request.headers.get("Range", ""))
        validators = (self.headers.get("ETag"), self.headers.get("Last-Modified"))
        if self.ranges and wanted and request.headers["If-Range"] in validators:
            first, total = int(wanted[1]), len(self.body)
            if first >= total:
                return respond(416, headers={"Content-Range": f"bytes */{total}"})
            status, body = 206, self.body[first:]
            headers["Content-Range"] = f"bytes {first}-{total - 1}/{total}"
        if self.cuts:
            sent = body[: self.cuts.pop(0)]
            return partial_body(
                sent, content_length=len(body), status=status, headers=headers, then=self.then
            )
        return respond(status, headers=headers, body=body)


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
async def session(registry: CollectorRegistry) -> AsyncIterator[aiohttp.ClientSession]:
    """The default session of a factory."""
    async with SessionFactory(HttpSettings(**SETTINGS), registry=registry) as factory:
        yield factory.session()
