from collections.abc import AsyncIterator

import aiohttp
import pytest


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    """A session with nothing on it: what a canary watches is aiohttp's own behaviour."""
    async with aiohttp.ClientSession() as session:
        yield session
