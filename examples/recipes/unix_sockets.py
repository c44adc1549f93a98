"""A sidecar behind a Unix socket is a BASE_URL like any other.

Guide: 1, client side (Unix sockets; named pipes are not supported).

Prints::

    200 for GET /v1/containers
"""

import asyncio
import tempfile

from platform_http import HttpSettings, SessionFactory
from platform_http.testing import FaultServer


async def main() -> None:
    """Call through a socket in the file system."""
    with tempfile.TemporaryDirectory() as folder:
        async with FaultServer(path=f"{folder}/api.sock") as server:
            # The path is the host, percent-encoded: http+unix://%2Frun%2Fapi.sock/v1/
            base_url = f"http+unix://{folder.replace('/', '%2F')}%2Fapi.sock/v1/"
            async with (
                SessionFactory(HttpSettings(base_url=base_url)) as factory,
                factory.session().get("containers") as response,
            ):
                [request] = server.requests
                print(response.status, "for", request.method, request.target)


if __name__ == "__main__":
    asyncio.run(main())
