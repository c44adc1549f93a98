"""Compressed bodies: decoded on the way in, bounded, and sent where a server takes them.

Needs the extra ``speedups`` for zstd before Python 3.14.

Guide: 6, "Zstandard".

Prints::

    asked for: gzip, deflate, zstd
    zstd: 40000 characters
    gzip: 40000 characters
    a bomb: ResponseTooLargeError
    sent: gzip, 40000 characters at the server
"""

import asyncio
import gzip
import sys

from platform_http import HttpSettings, ResponseTooLargeError, SessionFactory
from platform_http.testing import FaultServer
from platform_http.testing.actions import respond

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

TEXT = b"platform" * 5000


async def main() -> None:
    """Exchange compressed bodies with a server."""
    async with FaultServer() as server:
        settings = HttpSettings(base_url=str(server.url), response={"max_body": 100_000})
        async with SessionFactory(settings) as factory:
            session = factory.session()
            for encoding, compress in (("zstd", zstd.compress), ("gzip", gzip.compress)):
                body = compress(TEXT)
                server.script = [respond(200, body=body, headers={"Content-Encoding": encoding})]
                async with session.get("report") as response:
                    if encoding == "zstd":
                        offered = server.requests[0].headers["Accept-Encoding"].split(", ")
                        print("asked for:", ", ".join(each for each in offered if each != "br"))
                    print(f"{encoding}:", len(await response.text()), "characters")

            bomb = gzip.compress(bytes(10_000_000))
            server.script = [respond(200, body=bomb, headers={"Content-Encoding": "gzip"})]
            async with session.get("report") as response:
                try:
                    await response.read()
                except ResponseTooLargeError as error:
                    print("a bomb:", type(error).__name__)

            server.script = [respond(200)]
            async with session.put("report", data=TEXT, compress="gzip"):
                request = server.requests[-1]
                text = gzip.decompress(request.body)
                encoding = request.headers["Content-Encoding"]
                print(f"sent: {encoding}, {len(text)} characters at the server")


if __name__ == "__main__":
    asyncio.run(main())
