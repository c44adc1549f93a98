"""A client knows where its upstream is; calls name only what they want of it.

Guide: 8, row "Reimplemented URL joining, base URLs".

Prints::

    invoices/42 is /api/v1/invoices/42
    /healthz is /healthz
    ?page=2 is /api/v1/?page=2
    without its last slash: BASE_URL is refused
"""

import asyncio

from platform_http import ConfigurationError, HttpSettings, SessionFactory
from platform_http.testing import FaultServer


async def main() -> None:
    """Join URLs by RFC 3986."""
    async with FaultServer() as server:
        settings = HttpSettings(base_url=f"{server.url}api/v1/")
        async with SessionFactory(settings) as factory:
            for path in ("invoices/42", "/healthz", "?page=2"):
                async with factory.session().get(path):
                    print(path, "is", server.requests[-1].target)
        try:
            HttpSettings(base_url=f"{server.url}api/v1")
        except ConfigurationError:
            print("without its last slash: BASE_URL is refused")


if __name__ == "__main__":
    asyncio.run(main())
