"""The program of the README: ten lines that do what a service needs."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
from pathlib import Path

import aiohttp
from aiohttp import web

from tests.servers import free_port
from tests.web.conftest import running

ROOT = Path(__file__).parents[2]


def _program() -> str:
    (program,) = (
        block
        for block in re.findall(
            r"^```python\n(.*?)^```$",
            (ROOT / "README.md").read_text("utf-8"),
            re.MULTILINE | re.DOTALL,
        )
        if "from platform_http.web import" in block
    )
    return program


async def _until_ready(client: aiohttp.ClientSession, url: str) -> None:
    async with asyncio.timeout(30):
        while True:
            try:
                async with client.get(f"{url}/readyz") as response:
                    assert response.status == 200
                    return
            except aiohttp.ClientConnectorError:
                await asyncio.sleep(0.05)


def test_it_has_ten_lines() -> None:
    assert len([line for line in _program().splitlines() if line.strip()]) == 10


async def test_it_has_sessions_health_metrics_and_an_orderly_end() -> None:
    async def stock(request: web.Request) -> web.Response:
        asked.set()
        await may_answer.wait()
        return web.json_response({"id": request.match_info["id"]})

    asked, may_answer = asyncio.Event(), asyncio.Event()
    upstream = web.Application()
    upstream.router.add_get("/stock/{id}", stock)
    port = free_port()
    program = _program().replace("port=8080", f"port={port}").replace("0.0.0.0", "127.0.0.1")
    url = f"http://127.0.0.1:{port}"
    async with running(upstream) as inventory, aiohttp.ClientSession() as client:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            program,
            cwd=ROOT,
            env=os.environ | {"PLATFORM_HTTP_CLIENTS__INVENTORY__BASE_URL": str(inventory)},
        )
        try:
            await _until_ready(client, url)
            call = asyncio.create_task(client.get(f"{url}/stock/7"))
            await asked.wait()
            process.send_signal(signal.SIGTERM)
            async with asyncio.timeout(10):
                while True:
                    async with client.get(f"{url}/readyz") as response:
                        if response.status == 503:
                            break
            async with client.get(f"{url}/healthz") as response:
                assert response.status == 200
            async with client.get(f"{url}/metrics") as response:
                assert "platform_http_calls_total" in await response.text()
            may_answer.set()
            async with await call as response:
                assert await response.json(content_type=None) == {"id": "7"}
            assert await asyncio.wait_for(process.wait(), 20) == 0
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
