"""Does a session do what the old client did? The same scenarios through both, and the differences.

::

    async def test_the_session_behaves_as_the_old_client(platform_http_session):
        report = await parity.check(
            old_client.fetch,                       # (method, url, *, headers, body, timeout)
            platform_http_session,
            accept={"retries.503": "the old client never retried, and we want it to"},
        )
        report.raise_for_differences()

Each scenario is a scripted server on loopback for each side. What is compared is what came of every
request, what the servers saw of it on the wire, how many connections it took, and for timeouts
whether it ended in time.
"""

from platform_http.testing.parity.adapters import (
    from_aiohttp,
    from_httpx,
    from_requests,
    from_urllib,
)
from platform_http.testing.parity.answer import Answer, Client
from platform_http.testing.parity.play import check
from platform_http.testing.parity.report import Difference, ParityError, Report, Result
from platform_http.testing.parity.scenario import Request, Scenario, Seen
from platform_http.testing.parity.scenarios import SCENARIOS

__all__ = [
    "SCENARIOS",
    "Answer",
    "Client",
    "Difference",
    "ParityError",
    "Report",
    "Request",
    "Result",
    "Scenario",
    "Seen",
    "check",
    "from_aiohttp",
    "from_httpx",
    "from_requests",
    "from_urllib",
]
