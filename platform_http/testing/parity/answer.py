"""What a client is asked, and what it answers, whichever library it is made of."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Awaitable, Mapping


@dataclass(frozen=True, slots=True)
class Answer:
    """A response that was read to its end.

    Args:
        status: Of the last response, after redirects.
        headers: Its headers in their order, a repeated one as often as it came.
        body: As the application sees it, after decompression.
        text: The body as the client decodes it; ``None`` where the client only knows bytes.
    """

    status: int
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = field(default=b"", repr=False)
    text: str | None = field(default=None, repr=False)


class Client(Protocol):
    """One call of the old client, or of anything else that makes HTTP requests.

    A plain function is run in a thread. An asynchronous one must not block: the scripted servers
    run in its event loop. Errors are raised as the client raises them.
    """

    def __call__(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        body: bytes | None,
        timeout: float,
    ) -> Answer | Awaitable[Answer]:
        """Make one call.

        Args:
            method: The request's.
            url: Absolute.
            headers: To send besides the client's own.
            body: To send; ``None`` for none.
            timeout: Seconds that the call may take, in the way in which the application says that
                to this client.
        """
