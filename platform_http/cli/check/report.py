"""What was checked: the document that ``platform-http check --json`` prints.

Fields are only added as long as ``version`` stays the same. ``platform-http check --schema``
prints its JSON Schema.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

Status = Literal["ok", "warning", "failure"]

_SEVERITY: tuple[Status, ...] = ("ok", "warning", "failure")


class _Document(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Item(_Document):
    """One thing that was looked at."""

    client: str | None = Field(description="whose; null for what concerns the whole process")
    name: str = Field(description="what was looked at, one fixed word, such as dns")
    status: Status
    detail: str = Field(description="what was found, without secrets")
    remedy: str | None = Field(description="what to do about it; null where all is well")


class Report(_Document):
    """Everything that was checked."""

    version: Literal[1] = 1
    status: Status = Field(description="the worst of all items")
    violations: list[str] = Field(
        description="why the settings are invalid; then no client is checked"
    )
    items: list[Item]

    @classmethod
    def of(cls, items: list[Item], violations: list[str]) -> Report:
        """Return the report of *items*, which has failed where there are *violations*."""
        worst = max((each.status for each in items), key=_SEVERITY.index, default="ok")
        return cls(status="failure" if violations else worst, violations=violations, items=items)


def ok(client: str | None, name: str, detail: str) -> Item:
    """Return an item that needs nothing."""
    return Item(client=client, name=name, status="ok", detail=detail, remedy=None)


def warning(client: str | None, name: str, detail: str, remedy: str) -> Item:
    """Return an item that works and should not stay as it is."""
    return Item(client=client, name=name, status="warning", detail=detail, remedy=remedy)


def failure(client: str | None, name: str, detail: str, remedy: str) -> Item:
    """Return an item that does not work."""
    return Item(client=client, name=name, status="failure", detail=detail, remedy=remedy)
