"""What is known of a call: the document that ``platform-http request --json`` prints.

Fields are only added as long as ``version`` stays the same. ``platform-http request --schema``
prints its JSON Schema.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

PhaseName = Literal["queue", "dns", "connect", "send", "ttfb", "body"]
WaitName = Literal["preparation", "rate_limit", "concurrency", "backoff"]


class _Document(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Phase(_Document):
    """A part of an attempt."""

    name: PhaseName = Field(
        description="queue: for a pooled connection; dns: name resolution; connect: TCP, TLS and "
        "the tunnel of a proxy together; send: from the connection to the request's headers; ttfb: "
        "from there to the response's headers; body: from there to its end"
    )
    start: float = Field(description="seconds since the start of the call")
    duration: float = Field(description="seconds")


class Wait(_Document):
    """Time of the call before an attempt, in which nothing is on the wire."""

    name: WaitName = Field(
        description="backoff: before a resend; rate_limit and concurrency: for the client's own "
        "limits; preparation: everything else, such as fetching a token"
    )
    before: int = Field(description="number of the attempt that it precedes, made or not")
    start: float = Field(description="seconds since the start of the call")
    duration: float = Field(description="seconds")


class AttemptReport(_Document):
    """One try on one hop."""

    number: int = Field(description="1-based, over all hops")
    hop: int = Field(description="1-based; every redirect that is followed begins another one")
    resend_reason: str | None = Field(
        description="why an earlier attempt of the hop was not enough; null for no resend"
    )
    method: str
    url: str = Field(description="without userinfo, fragment and the values of secret parameters")
    start: float = Field(description="seconds since the start of the call")
    duration: float = Field(description="seconds until its response headers or its failure")
    status: int | None = Field(description="of the response; null without one")
    error_type: str | None = Field(description="the word that spans and metrics use")
    cancelled: bool = Field(description="given up by the caller or, of a hedge, for the other one")
    reused: bool = Field(description="whether its connection came from the pool")
    peer: str | None = Field(description="address and port of the other end of the connection")
    protocol: str | None = Field(description="HTTP version of the response")
    phases: list[Phase] = Field(description="those that took place, in order of their start")


class Header(_Document):
    """One header of the final response."""

    name: str
    value: str = Field(description="REDACTED where it may be a secret")


class Report(_Document):
    """One call from its start to the end of its body."""

    version: Literal[1] = 1
    client: str
    method: str
    url: str = Field(description="without userinfo, fragment and the values of secret parameters")
    trace_id: str | None = Field(description="sent as traceparent; null where no spans are made")
    outcome: Literal["success", "error", "rejected", "cancelled"] = Field(
        description="success: a final status below 500 and not 429, with its whole body"
    )
    status: int | None = Field(description="of the final response; null without one")
    error_type: str | None = Field(description="the word that spans and metrics use")
    error: str | None = Field(description="what the caller of the session would have caught")
    stop_reason: str | None = Field(description="why a failed call was not resent once more")
    duration: float = Field(description="seconds")
    deadline: float | None = Field(description="seconds that it had; null for any time")
    remaining: float | None = Field(description="seconds of the deadline that were left")
    request_bytes: int | None = Field(description="of the body; null where it is not known")
    response_bytes: int | None = Field(description="of the body, decoded; null without a response")
    headers: list[Header] | None = Field(description="of the final response, with --include")
    hedge: str | None = Field(description="won, lost or denied; null without a hedge")
    attempts: list[AttemptReport]
    waits: list[Wait]
