"""In what two clients differ, for a test, for a reader and for a program."""

from __future__ import annotations

import dataclasses
import difflib
import itertools
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from platform_http.testing.parity.scenario import Seen

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from platform_http.testing.parity.scenario import Scenario

_WIDTH = 120
_BEFORE = 40

ASPECTS = tuple(field.name for field in dataclasses.fields(Seen))
"""What is compared of a scenario, the most telling first."""


class ParityError(AssertionError):
    """The clients differ in something that was not accepted; the message is the report."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One aspect of one scenario in which the clients differ.

    Args:
        scenario: Its name.
        aspect: A field of :class:`Seen`.
        old: What it was with the old client.
        new: What it was with the new one.
        about: What a difference in this scenario means.
        reason: Why it is accepted; ``None`` if it is not.
    """

    scenario: str
    aspect: str
    old: str
    new: str
    about: str
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Result:
    """One scenario with both clients.

    Args:
        scenario: What was played.
        old: What the old client made of it.
        new: What the new one made of it.
    """

    scenario: Scenario
    old: Seen
    new: Seen


class Report:
    """What came of every scenario.

    Its text is a table of what differs. :meth:`raise_for_differences` makes it an assertion.

    Args:
        scenarios: What is played.
        accept: As for :func:`check`.

    Attributes:
        results: One for each scenario that was played.
        skipped: Why a scenario was not played, by its name.

    Raises:
        ValueError: As :func:`check`.
    """

    def __init__(self, scenarios: Sequence[Scenario], accept: Mapping[str, str]) -> None:
        names = [scenario.name for scenario in scenarios]
        if len(set(names)) < len(names):
            raise ValueError("two scenarios have the same name; give each one of its own")
        _check_accepted(accept, names)
        self.results: list[Result] = []
        self.skipped: dict[str, str] = {}
        self._accept = dict(accept)

    def add(self, result: Result) -> None:
        """Take the result of one scenario."""
        self.results.append(result)

    def skip(self, scenario: Scenario, reason: str) -> None:
        """Note that *scenario* is not played."""
        self.skipped[scenario.name] = reason

    @property
    def differences(self) -> tuple[Difference, ...]:
        """What differs and is not accepted."""
        return tuple(each for each in self._all() if each.reason is None)

    @property
    def accepted(self) -> tuple[Difference, ...]:
        """What differs and is accepted."""
        return tuple(each for each in self._all() if each.reason is not None)

    @property
    def unused(self) -> tuple[str, ...]:
        """Keys of *accept* for which nothing differs any more, of what was played."""
        found = {key for each in self.accepted for key in _keys(each.scenario, each.aspect)}
        return tuple(
            key
            for key in self._accept
            if key not in found and key.partition(":")[0] not in self.skipped
        )

    def raise_for_differences(self) -> None:
        """Fail a test if there are differences that are not accepted.

        Raises:
            ParityError: With the report.
        """
        if self.differences:
            raise ParityError(f"{self}")

    def as_json(self) -> str:
        """Return the report as JSON: differences, accepted ones, skipped and unused."""
        return json.dumps(
            {
                "scenarios": [each.scenario.name for each in self.results],
                "differences": [dataclasses.asdict(each) for each in self.differences],
                "accepted": [dataclasses.asdict(each) for each in self.accepted],
                "skipped": self.skipped,
                "unused": list(self.unused),
            },
            indent=2,
        )

    def __str__(self) -> str:
        differing = len({each.scenario for each in self.differences})
        lines = [f"parity: {len(self.results)} scenarios, {differing} differ"]
        lines += _table(self.differences)
        if self.accepted:
            lines += ["", "accepted:", *_table(self.accepted)]
        lines += [f"not played: {name}: {reason}" for name, reason in self.skipped.items()]
        lines += [f"accepted, but no longer different: {key}" for key in self.unused]
        return "\n".join(lines)

    def _all(self) -> list[Difference]:
        return [
            Difference(
                result.scenario.name,
                aspect,
                old,
                new,
                result.scenario.about,
                self._reason(result.scenario.name, aspect),
            )
            for result in self.results
            for aspect in _comparable(result)
            if (old := _shown(result.old, aspect)) != (new := _shown(result.new, aspect))
        ]

    def _reason(self, scenario: str, aspect: str) -> str | None:
        for key in _keys(scenario, aspect):
            if key in self._accept:
                return self._accept[key]
        return None


def _keys(scenario: str, aspect: str) -> tuple[str, str]:
    return f"{scenario}:{aspect}", scenario


def _check_accepted(accept: Mapping[str, str], names: Sequence[str]) -> None:
    known = {key for name in names for aspect in ASPECTS for key in _keys(name, aspect)}
    for key, reason in accept.items():
        if key not in known:
            close = difflib.get_close_matches(key, known, n=1)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            raise ValueError(f"accept= names {key!r}, which is not compared{hint}")
        if not reason.strip():
            raise ValueError(f"accept= gives no reason for {key!r}; say why it is wanted")


def _comparable(result: Result) -> tuple[str, ...]:
    """Return the aspects that say more than others have said already."""
    left_out = set()
    if result.old.outcome != result.new.outcome:
        left_out |= {"answer_headers", "body", "text"}
    if not (result.old.text and result.new.text):
        left_out.add("text")
    return tuple(aspect for aspect in ASPECTS if aspect not in left_out)


def _shown(seen: Seen, aspect: str) -> str:
    """Return an aspect as text, what is repeated with its number."""
    runs = [(value, len(list(run))) for value, run in itertools.groupby(getattr(seen, aspect))]
    return ", ".join(f"{n} x {value}" if n > 1 else value for value, n in runs) or "nothing"


def _table(differences: Sequence[Difference]) -> list[str]:
    """Return the lines of a table; of a scenario, what it means stands above its differences."""
    lines: list[str] = []
    previous = None
    width = max((len(each.aspect) for each in differences), default=0)
    for each in differences:
        if each.scenario != previous:
            lines.append(f"  {each.scenario}: {each.about}")
            if each.reason is not None:
                lines.append(f"    because: {each.reason}")
            previous = each.scenario
        pairs = enumerate(zip(each.old, each.new, strict=False))
        same = next((at for at, (old, new) in pairs if old != new), _BEFORE)
        lines.append(f"    {each.aspect:<{width}}  old  {_short(each.old, same)}")
        lines.append(f"    {'':<{width}}  new  {_short(each.new, same)}")
    return lines


def _short(text: str, same: int) -> str:
    """Return *text* cut to the part about its character *same*, the first one that differs."""
    start = max(same - _BEFORE, 0) if len(text) > _WIDTH else 0
    shown = text[start : start + _WIDTH]
    return f"{'…' if start else ''}{shown}{'…' if start + _WIDTH < len(text) else ''}"
