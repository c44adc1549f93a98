"""Download a file as a whole or not at all, and go on where the connection broke.

Guide: section 10 a, "Streaming download with backpressure"; table row "Large downloads".

Prints::

    backup.bin: 300000 bytes in 2 requests, checksum right
    left beside it: nothing
"""

import asyncio
import hashlib
import tempfile
from pathlib import Path

from aiohttp import web

from platform_http import open_session
from platform_http.streaming import download

CONTENT = bytes(300_000)
CHECKSUM = f"sha256:{hashlib.sha256(CONTENT).hexdigest()}"


async def serve_file(request: web.Request) -> web.StreamResponse:
    """Answer ranges, and drop the connection in the middle of the first response."""
    first = request.http_range.start or 0
    response = web.StreamResponse(status=206 if first else 200, headers={"ETag": '"v1"'})
    response.content_length = len(CONTENT) - first
    if first:
        response.headers["Content-Range"] = f"bytes {first}-{len(CONTENT) - 1}/{len(CONTENT)}"
    await response.prepare(request)
    if first:
        await response.write(CONTENT[first:])
    else:
        await response.write(CONTENT[:100_000])
        assert request.transport is not None
        request.transport.close()
    return response


async def main() -> None:
    """Start the server, download from it and look at what is there."""
    app = web.Application()
    app.router.add_get("/backup.bin", serve_file)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0][:2]

    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "backup.bin"
        async with open_session() as session:
            result = await download(
                session, f"http://{host}:{port}/backup.bin", target, checksum=CHECKSUM
            )
        print(
            f"{target.name}: {result.size} bytes in {result.requests} requests, "
            f"checksum {'right' if result.checksum == CHECKSUM else 'wrong'}"
        )
        others = [path.name for path in await asyncio.to_thread(list, target.parent.iterdir())]
        others.remove(target.name)
        print(f"left beside it: {', '.join(others) or 'nothing'}")
    await runner.cleanup()


if __name__ == "__main__":
    asyncio.run(main())
