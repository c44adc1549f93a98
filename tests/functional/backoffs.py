"""Backoffs that chance cannot cut short."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from platform_http.factory import SessionFactory
from platform_http.settings import HttpSettings
from tests.functional.conftest import Observed


class _Highest(random.Random):
    def random(self) -> float:
        return 0.999


@asynccontextmanager
async def backing_off(
    seconds: float, observed: Observed, **settings: object
) -> AsyncIterator[SessionFactory]:
    """A factory like that of *observed* whose every backoff lasts *seconds*."""
    retry = {"backoff_initial": seconds, "backoff_max": seconds}
    async with SessionFactory(
        HttpSettings(retry=retry, **settings),
        registry=observed.registry,
        tracer_provider=observed.provider,
        rng=_Highest(),
    ) as factory:
        yield factory
