"""An ASGI service (FastAPI): sessions by dependency, the caller's deadline, metrics, an end.

Guide: 7, "ASGI"; 12.

Prints::

    9000 ms left: 200 {"invoice":42}
    100 ms left: 504 {"detail":"the upstream is too slow"}
    metrics: True
"""

import asyncio
import os
import re
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from typing import Annotated

import aiohttp
import uvicorn
from fastapi import Depends, FastAPI, HTTPException, Request, Response
from prometheus_client import make_asgi_app
from starlette.middleware.base import RequestResponseEndpoint

from platform_http import DeadlineExceededError, SessionFactory, deadline
from platform_http.testing import FaultServer
from platform_http.testing.actions import delay, respond


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Close the sessions after the last answer."""
    async with SessionFactory() as app.state.factory:
        yield


async def billing(request: Request) -> aiohttp.ClientSession:
    """Give a handler its session. Not a plain function: FastAPI would call that in a thread."""
    factory: SessionFactory = request.app.state.factory
    return factory.session("billing")


app = FastAPI(lifespan=lifespan)
app.mount("/metrics", make_asgi_app())


@app.middleware("http")
async def bound_by_caller(request: Request, call_next: RequestResponseEndpoint) -> Response:
    """Give the calls of a handler no more time than its caller has left."""
    left = request.headers.get("X-Request-Timeout-Ms", "")
    with deadline(int(left) / 1000) if re.fullmatch("[1-9][0-9]{0,11}", left) else nullcontext():
        return await call_next(request)


Billing = Annotated[aiohttp.ClientSession, Depends(billing)]


@app.get("/{number}")
async def invoice(number: int, session: Billing) -> dict[str, int]:
    """Ask the upstream. A number, because text from outside may be ".." or hold a "?"."""
    try:
        async with session.get(f"invoices/{number}"):
            return {"invoice": number}
    except DeadlineExceededError:
        raise HTTPException(504, "the upstream is too slow") from None


async def main() -> None:
    """Serve until told to end, as SIGTERM does with ``uvicorn examples.recipes.asgi:app``."""
    async with FaultServer([delay(0.3, respond())]) as upstream:
        os.environ["PLATFORM_HTTP_CLIENTS__BILLING__BASE_URL"] = str(upstream.url)
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning", ws="none"))
        with socket.create_server(("127.0.0.1", 0)) as listener:
            serving = asyncio.create_task(server.serve([listener]))
            url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
            async with aiohttp.ClientSession(url) as client:
                for left in ("9000", "100"):
                    headers = {"X-Request-Timeout-Ms": left}
                    async with client.get("42", headers=headers) as response:
                        print(f"{left} ms left:", response.status, await response.text())
                async with client.get("metrics/") as response:
                    print("metrics:", "platform_http_calls_total" in await response.text())
            server.should_exit = True
            await serving


if __name__ == "__main__":
    asyncio.run(main())
