"""What a custom provider is told."""

from __future__ import annotations

import asyncio
from unittest.mock import Mock

from platform_http.auth.custom import CustomCredentials

OLD, NEW = {"Authorization": "old"}, {"Authorization": "new"}


class Provider:
    def __init__(self) -> None:
        self.told: list[object] = []
        self.gate = asyncio.Event()

    async def credentials(self, request, rejected):
        self.told.append(rejected)
        await self.gate.wait()
        return NEW


async def test_a_refusal_that_arrives_while_it_is_asked_is_told_the_next_time() -> None:
    provider = Provider()
    credentials = CustomCredentials(provider, "billing")
    assert credentials.ready() is None
    credentials.reject(OLD)
    asked = asyncio.create_task(credentials.obtain(Mock()))
    await asyncio.sleep(0)
    credentials.reject(NEW)
    provider.gate.set()
    assert await asked == NEW
    for _ in range(2):
        await credentials.obtain(Mock())
    assert provider.told == [OLD, NEW, None]
