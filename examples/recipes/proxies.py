"""A proxy by setting, with exceptions; what cannot be honoured refuses to start.

Guide: 2, table, row "Proxies & env".

Prints::

    through the proxy: GET http://api.example.com/v1/status
    NO_PROXY: direct
    ftp://proxy: PROXY__URL does not start
"""

import asyncio

from platform_http import ConfigurationError, HttpSettings, SessionFactory
from platform_http.testing import FaultServer


async def main() -> None:
    """Call through a proxy and around it."""
    # To its clients, a proxy is a server that is asked for whole URLs.
    async with FaultServer() as proxy, FaultServer() as server:
        settings = HttpSettings(
            # PROXY__FROM_ENV=true would read HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY.
            proxy={"url": str(proxy.url), "no_proxy": ["127.0.0.0/8", ".internal"]}
        )
        async with SessionFactory(settings) as factory:
            session = factory.session()
            async with session.get("http://api.example.com/v1/status"):
                print("through the proxy:", proxy.requests[0].method, proxy.requests[0].target)
            async with session.get(server.url):
                print("NO_PROXY:", "direct" if len(proxy.requests) == 1 else "through the proxy")
    try:
        HttpSettings(proxy={"url": "ftp://proxy:21"})
    except ConfigurationError as error:
        [line] = error.violations
        print("ftp://proxy:", "PROXY__URL does not start" if "proxy" in line.lower() else line)


if __name__ == "__main__":
    asyncio.run(main())
