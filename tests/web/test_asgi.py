"""The ASGI recipe under uvicorn, ended by a signal."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import aiohttp
from aiohttp import web

from tests.servers import free_port
from tests.web.conftest import running

ROOT = Path(__file__).parents[2]


async def test_sigterm_loses_no_accepted_request_of_an_asgi_service() -> None:
    async def slow(_: web.Request) -> web.Response:
        asked.set()
        await may_answer.wait()
        return web.Response()

    asked, may_answer = asyncio.Event(), asyncio.Event()
    upstream = web.Application()
    upstream.router.add_get("/invoices/{number}", slow)
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    async with running(upstream) as billing, aiohttp.ClientSession() as client:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "uvicorn",
            "examples.recipes.asgi:app",
            f"--port={port}",
            "--ws=none",
            cwd=ROOT,
            stderr=asyncio.subprocess.PIPE,
            env=os.environ | {"PLATFORM_HTTP_CLIENTS__BILLING__BASE_URL": str(billing)},
        )
        try:
            async with asyncio.timeout(30):
                while (await _status(client, f"{url}/metrics/")) != 200:  # noqa: ASYNC110 - polled
                    await asyncio.sleep(0.05)
            call = asyncio.create_task(_status(client, f"{url}/42"))
            await asyncio.wait_for(asked.wait(), 10)
            process.send_signal(signal.SIGTERM)
            async with asyncio.timeout(10):
                while await _accepts(port):  # noqa: ASYNC110 - polled
                    await asyncio.sleep(0.02)
            may_answer.set()
            assert await call == 200
            _, errors = await asyncio.wait_for(process.communicate(), 20)
            # uvicorn ends by the signal that told it to.
            assert process.returncode in (0, -signal.SIGTERM)
            assert b"Traceback" not in errors
            assert b"Unclosed" not in errors
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()


async def _status(client: aiohttp.ClientSession, url: str) -> int:
    try:
        async with client.get(url) as response:
            return response.status
    except aiohttp.ClientConnectorError:
        return 0


async def _accepts(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except ConnectionRefusedError:
        return False
    writer.close()
    return True
