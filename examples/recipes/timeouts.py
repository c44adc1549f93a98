"""One deadline for a whole call, and a timeout for each of its parts.

Guide: 2, table, row "Timeouts"; 8, row "Hard-coded DNS/timeout logic"; 9.

Prints::

    attempt: AttemptTimeoutError, a TimeoutError: True
    call: DeadlineExceededError after 1 attempt
    body: SocketTimeoutError
    around calls: DeadlineExceededError
"""

import asyncio

from platform_http import (
    AttemptTimeoutError,
    CallOptions,
    DeadlineExceededError,
    HttpSettings,
    SessionFactory,
    deadline,
)
from platform_http.testing import FaultServer
from platform_http.testing.actions import hang, partial_body

ONCE = CallOptions(max_attempts=1)
HURRIED = CallOptions(timeout=0.4)


async def main() -> None:
    """Meet a server that does not answer, and one that stops within its answer."""
    async with FaultServer([hang()]) as server:
        settings = HttpSettings(
            base_url=str(server.url), timeout={"total": 2, "attempt": 0.5, "read": 0.1}
        )
        async with SessionFactory(settings) as factory:
            session = factory.session()
            try:
                await session.get("slow", trace_request_ctx=ONCE)
            except AttemptTimeoutError as error:
                caught = isinstance(error, TimeoutError)
                print(f"attempt: {type(error).__name__}, a TimeoutError: {caught}")

            try:
                await session.get("slow", trace_request_ctx=HURRIED)
            except DeadlineExceededError as error:
                attempts = len(server.requests) - 1
                print(f"call: {type(error).__name__} after {attempts} attempt")

            server.script = [partial_body(b"half", content_length=8, then="hang")]
            async with session.get("stalls") as response:  # the headers are there
                try:
                    await response.read()
                except TimeoutError as error:
                    print("body:", type(error).__name__)

            server.script = [hang()]
            with deadline(0.1):  # whatever is called inside; aiohttp.web handlers have it already
                try:
                    await session.get("slow")
                except DeadlineExceededError as error:
                    print("around calls:", type(error).__name__)


if __name__ == "__main__":
    asyncio.run(main())
