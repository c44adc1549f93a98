"""A scenario: what the server does, what the client is asked, and what is looked at."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from platform_http.testing.fault_server import Script


@dataclass(frozen=True, slots=True)
class Request:
    """One call that a client is asked to make.

    Args:
        method: Of the request.
        path: Path and query, from the root of the scenario's server.
        headers: To send.
        body: To send.
        cancelled: Whether the call is cancelled as soon as its request is at the server.
    """

    method: str = "GET"
    path: str = "/"
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    cancelled: bool = False


@dataclass(frozen=True, slots=True)
class Scenario:
    """The same for both clients, each with a server of its own.

    Args:
        name: ``group.case``.
        about: What a difference means for an application.
        script: Returns what the server does. It gets the timeout, for what is about time.
        requests: Made one after the other.
        host: Name or address of the server in the URL; cookies need a name.
        request_headers: Names of headers whose values on the wire are compared.
        answer_headers: Names of headers of the answer whose values are compared.
        text: Whether the answer's text is compared too.
        connections: Whether it is compared how many connections were opened.
        timed: Whether the calls get the short timeout, and have to end in time.
    """

    name: str
    about: str
    script: Callable[[float], Script]
    requests: tuple[Request, ...] = (Request(),)
    host: str = "127.0.0.1"
    request_headers: tuple[str, ...] = ()
    answer_headers: tuple[str, ...] = ()
    text: bool = False
    connections: bool = False
    timed: bool = False

    @property
    def cancels(self) -> bool:
        """Whether it can be played with what can be cancelled only."""
        return any(request.cancelled for request in self.requests)


@dataclass(frozen=True, slots=True)
class Seen:
    """What one client made of a scenario, the fields being the aspects that are compared.

    Args:
        outcome: Of each call: a status, or a family of errors.
        body: Of each answer: size and digest; compared where the outcomes are the same.
        text: Of each answer, where the scenario looks at it; compared where both clients know it.
        answer_headers: Those of each answer that the scenario looks at; compared as the body.
        requests: Method, target, size and digest of the body of each request on the wire, in order.
        request_headers: Those of each request that the scenario looks at.
        connections: Number of connections that were opened, where the scenario looks at it.
        elapsed: ``in time`` or ``late``, where the scenario is about time.
    """

    outcome: tuple[str, ...] = ()
    body: tuple[str, ...] = ()
    text: tuple[str, ...] = ()
    answer_headers: tuple[str, ...] = ()
    requests: tuple[str, ...] = ()
    request_headers: tuple[str, ...] = ()
    connections: tuple[str, ...] = ()
    elapsed: tuple[str, ...] = ()
