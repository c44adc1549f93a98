"""What a scenario says: who calls whom how often, how fast that is, and what goes wrong when."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

# The 99th percentile of the standard normal distribution.
_Z99 = 2.3263478740408408

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1)]


class Part(BaseModel):
    """A part of a scenario. Frozen; unknown keys refuse."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Constant(Part):
    """Every request takes the same time."""

    distribution: Literal["constant"]
    mean: Positive = Field(description="seconds")

    def sampler(self, rng: Random) -> Callable[[], float]:  # noqa: ARG002 - the others draw from it
        """Return a source of service times in seconds."""
        return lambda: self.mean


class Exponential(Part):
    """Service times without a memory, the ones that queueing formulas are about."""

    distribution: Literal["exponential"]
    mean: Positive = Field(description="seconds")

    def sampler(self, rng: Random) -> Callable[[], float]:
        """Return a source of service times in seconds."""
        rate = 1.0 / self.mean
        return lambda: rng.expovariate(rate)


class LogNormal(Part):
    """Most requests are fast and a few are slow, which is what services look like."""

    distribution: Literal["lognormal"]
    p50: Positive = Field(description="half of the requests take less, seconds")
    p99: Positive = Field(description="one of a hundred takes longer, seconds, >= p50")

    @model_validator(mode="after")
    def _is_ordered(self) -> Self:
        if self.p99 < self.p50:
            raise ValueError("p99 is less than p50; swap them")
        return self

    def sampler(self, rng: Random) -> Callable[[], float]:
        """Return a source of service times in seconds."""
        mu = math.log(self.p50)
        sigma = math.log(self.p99 / self.p50) / _Z99
        return lambda: rng.lognormvariate(mu, sigma)


ServiceTime = Annotated[Constant | Exponential | LogNormal, Field(discriminator="distribution")]


class Poisson(Part):
    """Independent callers: calls at random instants, each from a random client."""

    pattern: Literal["poisson"]
    rate: Positive = Field(description="calls per second of the whole fleet")


class Herd(Part):
    """All calls at one instant, each from the next client."""

    pattern: Literal["herd"]
    start: NotNegative = Field(description="seconds after the start")
    calls: Count = Field(description="how many")


Arrivals = Annotated[Poisson | Herd, Field(discriminator="pattern")]


class UpstreamModel(Part):
    """A service that answers requests.

    A request goes to a random replica. There it takes a worker for its service time, or waits its
    turn, or is answered with 503 when the queue is full. Whether its client still waits for the
    answer changes nothing: servers rarely notice, and that is what keeps an overload alive.
    """

    name: str = Field(min_length=1)
    replicas: Count = Field(default=1, description="behind one load balancer")
    workers: Count = Field(description="requests that a replica works on at once")
    queue: Annotated[int, Field(ge=0)] = Field(
        default=1000, description="requests that wait in a replica at most"
    )
    service_time: ServiceTime
    calls: str | None = Field(
        default=None,
        description="the upstream that it calls once for each request, with the same settings as "
        "the fleet, while it keeps the worker; it answers 503 when that call fails",
    )
    processes: Count = Field(default=1, description="client processes that it makes calls from")


class _Disturbance(Part):
    start: NotNegative = Field(description="seconds after the start of the run")
    duration: Positive = Field(description="seconds")
    upstream: str | None = Field(default=None, description="whom; when not set, the last upstream")
    replicas: Count | None = Field(
        default=None, description="how many of its replicas; when not set, all"
    )


class Crash(_Disturbance):
    """What is in flight is reset, and new requests are refused."""

    kind: Literal["crash"]


class Refuse(_Disturbance):
    """Connections are refused; what is in flight is finished."""

    kind: Literal["refuse"]


class Status(_Disturbance):
    """Every new request is answered with a status at once."""

    kind: Literal["status"]
    status: Annotated[int, Field(ge=200, le=599)] = Field(default=503)
    retry_after: NotNegative | None = Field(
        default=None, description="seconds that a 429 or 503 asks to wait"
    )


class SlowDown(_Disturbance):
    """Requests whose service begins take longer."""

    kind: Literal["slow_down"]
    factor: Positive = Field(description="service times are multiplied by")


class Capacity(_Disturbance):
    """Fewer workers take on requests."""

    kind: Literal["capacity"]
    factor: Annotated[float, Field(ge=0, lt=1)] = Field(description="share of workers that is left")


Disturbance = Annotated[Crash | Refuse | Status | SlowDown | Capacity, Field(discriminator="kind")]


class Scenario(Part):
    """One story of a fleet and its upstreams."""

    title: str
    description: str = ""
    duration: Positive = Field(description="calls are made for so many seconds")
    clients: Count = Field(description="client processes, each with its own policies")
    method: Literal["GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE", "POST", "PATCH"] = "GET"
    arrivals: Arrivals
    upstream: tuple[UpstreamModel, ...] = Field(description="the fleet calls the first one")
    disturbance: tuple[Disturbance, ...] = ()
    settings: dict[str, str | int | float | bool] = Field(
        default_factory=dict, description="variables without their prefix, for every variant"
    )

    @property
    def calls(self) -> int:
        """How many calls the fleet is expected to make."""
        if isinstance(self.arrivals, Herd):
            return self.arrivals.calls
        return round(self.arrivals.rate * self.duration)

    def scaled(self, calls: int) -> Scenario:
        """Return the same story with about *calls* calls, >= 1.

        Arrivals, workers and queues change by one factor, so that upstreams are as busy as
        before. A worker is the least, though.
        """
        factor = calls / self.calls
        arrivals: Poisson | Herd
        if isinstance(self.arrivals, Herd):
            arrivals = self.arrivals.model_copy(update={"calls": calls})
        else:
            arrivals = self.arrivals.model_copy(update={"rate": self.arrivals.rate * factor})
        upstream = tuple(
            each.model_copy(
                update={
                    "workers": max(1, round(each.workers * factor)),
                    "queue": round(each.queue * factor),
                }
            )
            for each in self.upstream
        )
        return self.model_copy(update={"arrivals": arrivals, "upstream": upstream})
