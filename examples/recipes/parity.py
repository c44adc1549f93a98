"""Replace a home-grown client and know in what the session differs from it.

Guide: end, parity under timeouts, retries, redirects, cookies, streaming.

Prints::

    parity: 4 scenarios, 1 differ
      retries.503_post: a POST may have been carried out
        outcome   old  200
                  new  503
        requests  old  2 x POST / (13 bytes 8c37069c)
                  new  POST / (13 bytes 8c37069c)

    accepted:
      retries.reset: a connection that breaks before the answer
        because: the old client gave up, the session tries again
        outcome   old  connection error
                  new  200
        requests  old  GET /
                  new  2 x GET /
"""

from __future__ import annotations

import asyncio
import http.client
from collections.abc import Mapping
from urllib.parse import urlsplit

from platform_http import SessionFactory
from platform_http.testing import fast_settings, parity

PLAYED = ("basics.get", "retries.503", "retries.503_post", "retries.reset")


def old_client(
    method: str, url: str, *, headers: Mapping[str, str], body: bytes | None, timeout: float
) -> parity.Answer:
    """Send, and send again after a 503: without asking whether that is safe."""
    parts = urlsplit(url)
    for attempt in range(2):
        connection = http.client.HTTPConnection(parts.netloc, timeout=timeout)
        connection.request(method, parts.path, body=body, headers=dict(headers))
        response = connection.getresponse()
        content = response.read()
        connection.close()
        if response.status != 503 or attempt == 1:
            break
    return parity.Answer(response.status, tuple(response.getheaders()), content)


async def main() -> None:
    """Play some scenarios with both; a migration's test plays all and ends in one assertion."""
    async with SessionFactory(fast_settings()) as factory:
        report = await parity.check(
            old_client,
            factory.session(),
            [each for each in parity.SCENARIOS if each.name in PLAYED],
            accept={"retries.reset": "the old client gave up, the session tries again"},
        )
    # A test says `report.raise_for_differences()`.
    print(report)


if __name__ == "__main__":
    asyncio.run(main())
