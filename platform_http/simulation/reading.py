"""Scenarios from TOML: the shipped ones by name, others by path."""

from __future__ import annotations

import difflib
import tomllib
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, ValidationError

from platform_http.errors import ConfigurationError
from platform_http.simulation import scenario as parts
from platform_http.simulation.scenario import Scenario

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pydantic_core import ErrorDetails

# The parts of a scenario by where pydantic finds them, places in lists left out.
_PARTS: dict[tuple[str, ...], type[BaseModel]] = {
    (): Scenario,
    ("arrivals", "poisson"): parts.Poisson,
    ("arrivals", "herd"): parts.Herd,
    ("upstream",): parts.UpstreamModel,
    ("upstream", "service_time", "constant"): parts.Constant,
    ("upstream", "service_time", "exponential"): parts.Exponential,
    ("upstream", "service_time", "lognormal"): parts.LogNormal,
    ("disturbance", "crash"): parts.Crash,
    ("disturbance", "refuse"): parts.Refuse,
    ("disturbance", "status"): parts.Status,
    ("disturbance", "slow_down"): parts.SlowDown,
    ("disturbance", "capacity"): parts.Capacity,
}


def shipped() -> dict[str, Scenario]:
    """Return the scenarios of the package, by name."""
    return {name: load(name) for name in _names()}


def load(name: str) -> Scenario:
    """Read one scenario.

    Args:
        name: A shipped one by its name, or the path of a TOML file.

    Raises:
        ConfigurationError: With everything that is wrong, one line each.
    """
    if name in _names():
        file = resources.files(__package__) / "scenarios" / f"{name}.toml"
        return parse(file.read_text(encoding="utf-8"), name=name)
    try:
        text = Path(name).read_text(encoding="utf-8")
    except (OSError, ValueError):
        hint = _closest(name, _names())
        known = ", ".join(_names())
        raise ConfigurationError(
            [f"{name} is neither a readable UTF-8 file nor one of {known}{hint}"]
        ) from None
    return parse(text, name=name)


def parse(text: str, *, name: str) -> Scenario:
    """Read a scenario from the *text* of a TOML file.

    Raises:
        ConfigurationError: With everything that is wrong, one line each.
    """
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError([f"{name} is no TOML: {error}"]) from None
    try:
        scenario = Scenario(**values)
    except ValidationError as error:
        found = [_line(each) for each in error.errors(include_url=False)]
    else:
        found = list(_contradictions(scenario))
        if not found:
            return scenario
    raise ConfigurationError([f"{name}: {line}" for line in found])


def _names() -> list[str]:
    folder = resources.files(__package__) / "scenarios"
    return sorted(
        file.name.removesuffix(".toml") for file in folder.iterdir() if file.name.endswith(".toml")
    )


def _line(error: ErrorDetails) -> str:
    where = error["loc"]
    place = _place(where)
    if error["type"] != "extra_forbidden":
        message = error["msg"].removeprefix("Value error, ")
        return f"{place}: {message[:1].lower()}{message[1:]}"
    key = str(where[-1])
    part = _PARTS[tuple(step for step in where[:-1] if isinstance(step, str))]
    return f"{place} is unknown{_closest(key, [*part.model_fields])}"


def _place(where: tuple[int | str, ...]) -> str:
    """Return where in the file, the first table of an array being number 1."""
    steps = [f"[{step + 1}]" if isinstance(step, int) else f".{step}" for step in where]
    return "".join(steps).removeprefix(".")


def _closest(word: str, known: list[str]) -> str:
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    return f"; did you mean {close[0]}?" if close else ""


def _contradictions(scenario: Scenario) -> Iterator[str]:
    names = [each.name for each in scenario.upstream]
    if not names:
        yield "there is no upstream; add a table [[upstream]]"
        return
    if len(set(names)) < len(names):
        yield "two upstreams have the same name; rename one"
    for place, upstream in enumerate(scenario.upstream, 1):
        # Only later ones, so that nobody calls himself in the end.
        later = names[place:]
        if upstream.calls is not None and upstream.calls not in later:
            yield (
                f"upstream[{place}].calls names no upstream after it"
                f"{_closest(upstream.calls, later)}"
            )
    reached = {names[0], *(each.calls for each in scenario.upstream)}
    for place, upstream in enumerate(scenario.upstream, 1):
        if upstream.name not in reached:
            yield f"upstream[{place}] is called by nobody; remove it or name it in calls"
    for place, disturbance in enumerate(scenario.disturbance, 1):
        target = disturbance.upstream or names[-1]
        if target not in names:
            yield f"disturbance[{place}].upstream names none{_closest(target, names)}"
            continue
        replicas = scenario.upstream[names.index(target)].replicas
        if (disturbance.replicas or 1) > replicas:
            yield f"disturbance[{place}].replicas is more than {target} has; it has {replicas}"
