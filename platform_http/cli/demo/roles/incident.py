"""The page ``/phases``: what each upstream does, and how to make it fail."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Final, Literal

from aiohttp import web
from pydantic import BaseModel, Field, ValidationError

from platform_http.cli.demo.roles.day import Day
from platform_http.cli.demo.script import Fault, Mood, Phase

if TYPE_CHECKING:
    from collections.abc import Sequence

DAY: Final = web.AppKey("demo_day", Day)

FaultName = Literal["unavailable", "throttled", "reset", "hang", "slow_body", "broken_body"]


class Incident(BaseModel, extra="forbid", strict=True, frozen=True):
    """What somebody wants an upstream to do for a while."""

    client: str
    fault: FaultName | None = None
    share: Annotated[float, Field(ge=0, le=1)] = 1.0
    latency: Annotated[float, Field(ge=0, le=60)] = 0.02
    listens: bool = True
    seconds: Annotated[float, Field(gt=0, le=86_400)] = 30.0

    def phase(self) -> Phase:
        """Return it as a phase of the day."""
        faults = {} if self.fault is None else {Fault[self.fault.upper()]: self.share}
        return Phase(
            0.0,
            "incident",
            Mood.FAILING if faults or not self.listens else Mood.FINE,
            latency=self.latency,
            faults=MappingProxyType(faults),
            listens=self.listens,
        )


async def show_phases(request: web.Request) -> web.Response:
    """Answer with what each upstream does now."""
    return web.json_response(request.app[DAY].describe())


async def put_phase(request: web.Request) -> web.Response:
    """Begin the incident that the body describes; 400 with a line for each thing wrong in it."""
    day = request.app[DAY]
    try:
        incident = Incident.model_validate_json(await request.read())
    except ValidationError as error:
        return _refusal([_line(problem["loc"], problem["msg"]) for problem in error.errors()])
    if incident.client not in day.clients:
        return _refusal([f"client: there is none of that name, use {', '.join(day.clients)}"])
    await day.interrupt(incident.client, incident.phase(), incident.seconds)
    return await show_phases(request)


def _refusal(lines: list[str]) -> web.Response:
    return web.json_response({"errors": lines}, status=400)


def _line(where: Sequence[int | str], problem: str) -> str:
    return f"{'.'.join(map(str, where)) or 'body'}: {problem}"
