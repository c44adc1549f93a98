"""What the clients of a factory are doing at one instant, for people and pages that show it.

:meth:`platform_http.SessionFactory.inspect` yields it. Each client is read on the event loop, all
at once; what is said of it does not change and holds no secret.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from platform_http.policies.circuit_breaker import State
from platform_http.telemetry.recorder import RecordingTelemetry

if TYPE_CHECKING:
    from platform_http.call import Client, Origin
    from platform_http.policies.circuit_breaker import CircuitSnapshot
    from platform_http.telemetry.recorder import RecordedCall
    from platform_http.transport.connector import PoolUse
    from platform_http.wiring import Registries

SHOWN_ORIGINS: Final = 50
"""Origins of a client that are listed, the worst first."""

_BADNESS: Final = {State.OPEN: 2, State.HALF_OPEN: 1}


@dataclass(frozen=True, slots=True)
class OriginInspection:
    """The policies of one client towards one origin.

    Args:
        origin: The destination.
        circuit: Its circuit breaker, ``None`` where that is off or was not asked yet.
        budget: Tokens of the retry budget, ``None`` likewise.
        in_use: Permits of the concurrency limit that are held, ``None`` likewise.
        waiting: Attempts that wait for a permit, ``None`` likewise.
        next_token: Seconds until the rate limit has a token, 0.0 if it has one, ``None`` likewise
            and for a quota that is shared between processes.
    """

    origin: Origin
    circuit: CircuitSnapshot | None
    budget: float | None
    in_use: int | None
    waiting: int | None
    next_token: float | None


@dataclass(frozen=True, slots=True)
class ClientInspection:
    """One client whose session was asked for.

    Args:
        name: Of the client.
        in_flight: Calls that run.
        closing: Whether new calls are refused.
        pool: Connections.
        budget_capacity: Tokens that a full retry budget holds.
        concurrency_limit: Permits that there are for each origin, 0 is no limit.
        origins: At most :data:`SHOWN_ORIGINS`, the worst first.
        origins_left_out: How many more there are.
        slowest: The slowest calls of the last minutes; empty unless ``WEB__STATUS_PAGE`` is on.
        failed: The last calls that failed, likewise.
    """

    name: str
    in_flight: int
    closing: bool
    pool: PoolUse
    budget_capacity: float
    concurrency_limit: int
    origins: tuple[OriginInspection, ...]
    origins_left_out: int
    slowest: tuple[RecordedCall, ...]
    failed: tuple[RecordedCall, ...]


def inspect_client(client: Client, pool: PoolUse, registries: Registries) -> ClientInspection:
    """Return what *client* is doing.

    Args:
        client: Whose calls these are.
        pool: Of its session.
        registries: Its policies by origin.
    """
    observer = client.observer
    recorder = observer.recorder if isinstance(observer, RecordingTelemetry) else None
    origins = sorted(_origins(registries), key=_badness, reverse=True)
    return ClientInspection(
        name=client.name,
        in_flight=client.in_flight,
        closing=client.closing,
        pool=pool,
        budget_capacity=client.settings.retry.budget.capacity,
        concurrency_limit=client.settings.concurrency.limit,
        origins=tuple(origins[:SHOWN_ORIGINS]),
        origins_left_out=max(0, len(origins) - SHOWN_ORIGINS),
        slowest=() if recorder is None else recorder.slowest(client.loop.time()),
        failed=() if recorder is None else recorder.failed,
    )


def _origins(registries: Registries) -> list[OriginInspection]:
    breakers = dict(registries.breakers.items()) if registries.breakers is not None else {}
    budgets = dict(registries.budgets.items()) if registries.budgets is not None else {}
    limits = dict(registries.limits.items()) if registries.limits is not None else {}
    buckets = dict(registries.buckets.items()) if registries.buckets is not None else {}
    found = []
    for origin in dict.fromkeys((*breakers, *budgets, *limits, *buckets)):
        breaker, budget = breakers.get(origin), budgets.get(origin)
        limit, bucket = limits.get(origin), buckets.get(origin)
        found.append(
            OriginInspection(
                origin=origin,
                circuit=None if breaker is None else breaker.snapshot(),
                budget=None if budget is None else budget.tokens,
                in_use=None if limit is None else limit.in_use,
                waiting=None if limit is None else limit.waiting,
                next_token=None if bucket is None else bucket.retry_after,
            )
        )
    return found


def _badness(each: OriginInspection) -> tuple[int, float, int, int, float]:
    circuit = each.circuit
    # Where nothing was ever resent, the budget is as good as full.
    spent = -math.inf if each.budget is None else -each.budget
    rest = (each.waiting or 0, each.in_use or 0, spent)
    if circuit is None:
        return (0, 0.0, *rest)
    finished = circuit.ok + circuit.failed
    share = circuit.failed / finished if finished else 0.0
    return (_BADNESS.get(circuit.state, 0), share, *rest)
