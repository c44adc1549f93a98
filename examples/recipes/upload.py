"""Upload a file, a generator and a form in constant memory, with progress and a safe resend.

Guide: section 2, table row "Uploads/multipart".

Prints::

    file: 200000 bytes after 2 attempts
    generator: 30 bytes, chunked
    form: report.csv
    progress of the file ended at 100 %
"""

import asyncio
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
from aiohttp import web

from platform_http import open_session
from platform_http.streaming import upload

attempts = 0


async def take_file(request: web.Request) -> web.Response:
    """Be out of order once."""
    global attempts  # noqa: PLW0603 - a server of one example
    attempts += 1
    size = len(await request.read())
    if attempts == 1:
        return web.Response(status=503)
    return web.Response(text=f"file: {size} bytes after {attempts} attempts")


async def take_stream(request: web.Request) -> web.Response:
    """Count what comes in chunks."""
    coding = request.headers["Transfer-Encoding"]
    return web.Response(text=f"generator: {len(await request.read())} bytes, {coding}")


async def take_form(request: web.Request) -> web.Response:
    """Tell the name of the file in a form."""
    field = (await request.post())["report"]
    assert isinstance(field, web.FileField)
    return web.Response(text=f"form: {field.filename}")


async def rows() -> AsyncIterator[bytes]:
    """Make a body while it is sent."""
    for number in range(10):
        yield b"%02d\n" % number


async def main() -> None:
    """Start the server and send it three bodies."""
    app = web.Application()
    app.router.add_put("/file", take_file)
    app.router.add_put("/stream", take_stream)
    app.router.add_post("/form", take_form)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    base = f"http://{runner.addresses[0][0]}:{runner.addresses[0][1]}"
    percent: list[int] = []

    with tempfile.NamedTemporaryFile() as file:
        file.write(bytes(200_000))
        file.flush()
        form = aiohttp.FormData()
        form.add_field("report", b"a,b\n", filename="report.csv")
        async with open_session() as session:
            async with upload(
                session,
                f"{base}/file",
                Path(file.name),
                progress=lambda done, total: percent.append(100 * done // (total or done)),
            ) as response:
                print(await response.text())
            async with upload(session, f"{base}/stream", rows()) as response:
                print(await response.text())
            async with upload(session, f"{base}/form", form, method="POST") as response:
                print(await response.text())
    print(f"progress of the file ended at {percent[-1]} %")
    await runner.cleanup()


if __name__ == "__main__":
    asyncio.run(main())
