"""The service of the demo: a steady load of calls through factory-made sessions."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, cast

import aiohttp
from prometheus_client import Counter

from platform_http.call import CallOptions
from platform_http.settings import HttpSettings

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from random import Random

    from prometheus_client import CollectorRegistry
    from yarl import URL

    from platform_http.call import AttemptResponse
    from platform_http.factory import SessionFactory

_CALLS_PER_SECOND: Final = 30.0
_MAX_IN_FLIGHT: Final = 100
# All of its calls are reads, and its upstream leaves some of them hanging.
_HEDGED: Final = "search"


@dataclass(frozen=True, slots=True)
class Operation:
    """One kind of call.

    Args:
        client: Whose session makes it.
        method: HTTP method.
        path: Relative to the client's base URL; ``{id}`` is replaced by a number.
        options: Passed on with the call.
        weight: Its share of the load, relative to the others.
        patience: Seconds, > 0, after which the caller itself gives up; ``None`` for never.
    """

    client: str
    method: str
    path: str
    options: CallOptions
    weight: int
    patience: float | None = None


OPERATIONS: Final = (
    Operation(
        client="billing",
        method="GET",
        path="invoices/{id}",
        options=CallOptions(operation="invoices.get", url_template="/invoices/{id}"),
        weight=6,
    ),
    Operation(
        client="billing",
        method="GET",
        path="invoices",
        options=CallOptions(operation="invoices.list", url_template="/invoices"),
        weight=2,
    ),
    Operation(
        client="billing",
        method="POST",
        path="payments",
        # The upstream recognises the key, so a payment may be resent.
        options=CallOptions(
            operation="payments.create", url_template="/payments", idempotency_key=True
        ),
        weight=2,
    ),
    Operation(
        client="inventory",
        method="GET",
        path="stock/{id}",
        options=CallOptions(operation="stock.get", url_template="/stock/{id}"),
        weight=8,
    ),
    Operation(
        client="inventory",
        method="POST",
        path="reservations",
        # Without a key it is resent only when nothing was sent.
        options=CallOptions(operation="reservations.create", url_template="/reservations"),
        weight=2,
    ),
    Operation(
        client="search",
        method="GET",
        path="search?q={id}",
        options=CallOptions(operation="search.query", url_template="/search"),
        weight=8,
    ),
    Operation(
        client="search",
        method="GET",
        path="suggest?q={id}",
        options=CallOptions(operation="search.suggest", url_template="/suggest"),
        weight=2,
        # Whoever types on does not wait for suggestions for what was typed before.
        patience=0.35,
    ),
)


def settings_for(urls: Mapping[str, URL], duration: float) -> HttpSettings:
    """Return settings for the upstreams: those of the environment and what a short day needs.

    Times are so short that a spectator sees what they do. Where the environment says something
    about timeouts, circuit breakers or hedging, it is in charge of that whole section.

    Args:
        urls: Base URL of each client.
        duration: Length of the day, seconds.

    Raises:
        ConfigurationError: If the environment is invalid.
    """
    environment = HttpSettings()
    short: dict[str, dict[str, object]] = {
        "timeout": {"attempt": 0.6, "total": 2.5},
        "circuit_breaker": {
            "minimum_calls": 10,
            "open_duration": duration / 30,
            "open_duration_max": duration / 10,
        },
    }
    clients: dict[str, dict[str, object]] = {}
    for name, url in urls.items():
        clients[name] = {
            "base_url": str(url),
            # All of it is local, and all figures are metrics.
            "proxy": {"no_proxy": [url.host]},
            "telemetry": {"metrics": True},
        }
        sections = short | {"hedging": {"enabled": name == _HEDGED}}
        for section, values in sections.items():
            if not _is_set(environment, name, section):
                clients[name][section] = values
    return HttpSettings(clients=clients)


def _is_set(settings: HttpSettings, client: str, section: str) -> bool:
    fields = type(getattr(settings.client(client), section)).model_fields
    origins = {settings.origin_of(client, f"{section}.{name}") for name in fields}
    return not origins <= {"default", "adapted default"}


class Service:
    """Calls the upstreams, at a steady rate and with a bounded number of calls in flight.

    Args:
        factory: Entered; hands out the sessions.
        registry: Takes the service's own metric.
        rng: Chooses the operations.
        operations: What it does.
        rate: Calls per second, > 0.
    """

    def __init__(
        self,
        factory: SessionFactory,
        registry: CollectorRegistry,
        rng: Random,
        *,
        operations: Sequence[Operation] = OPERATIONS,
        rate: float = _CALLS_PER_SECOND,
    ) -> None:
        self._factory = factory
        self._rng = rng
        self._operations = operations
        self._rate = rate
        self._slots = asyncio.Semaphore(_MAX_IN_FLIGHT)
        self._recovered = Counter(
            "demo_recovered_calls",
            "Calls that succeeded by an attempt after the first: a resend, or a hedge that won.",
            ("client",),
            registry=registry,
        )

    async def run(self, stop: asyncio.Event) -> None:
        """Make calls until *stop* is set, then wait for those in flight."""
        loop = asyncio.get_running_loop()
        weights = [operation.weight for operation in self._operations]
        due = loop.time()
        async with asyncio.TaskGroup() as calls:
            while not stop.is_set():
                (operation,) = self._rng.choices(self._operations, weights)
                await self._slots.acquire()
                calls.create_task(self._call(operation))
                # After a pause of the whole process the load goes on, without catching up.
                due = max(due + 1 / self._rate, loop.time() - 1)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(stop.wait(), max(0.0, due - loop.time()))

    async def _call(self, operation: Operation) -> None:
        session = self._factory.session(operation.client)
        path = operation.path.format(id=self._rng.randrange(10_000))
        body = {"amount": 1} if operation.method == "POST" else None
        try:
            # What fails is in the metrics, which is where the spectator looks.
            with contextlib.suppress(aiohttp.ClientError, TimeoutError):
                async with (
                    asyncio.timeout(operation.patience),
                    session.request(
                        operation.method, path, json=body, trace_request_ctx=operation.options
                    ) as response,
                ):
                    await response.read()
                    attempt = cast("AttemptResponse", response).attempt
                    if attempt is not None and attempt.number > 1 and _is_success(response.status):
                        self._recovered.labels(operation.client).inc()
        finally:
            self._slots.release()


def _is_success(status: int) -> bool:
    # As the outcome of a call is defined.
    return status < 500 and status != 429
