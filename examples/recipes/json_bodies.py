"""JSON by a quick library, as instances of the service's own types, with an error worth reading.

Guide: 2, table, row "JSON"; 8.

Prints::

    sent {"customer":"Ärzte","due":"2026-12-01"}
    got Invoice(number='42', total=Decimal('9.90'))
    total: decimal_parsing
    mismatch
"""

import asyncio
from datetime import date
from decimal import Decimal

from aiohttp import web
from aiohttp.test_utils import TestServer
from pydantic import BaseModel

from platform_http import DecodingError, HttpSettings, SessionFactory
from platform_http.decoding import decode


class Invoice(BaseModel):
    """What the upstream is expected to answer with."""

    number: str
    total: Decimal


async def create(request: web.Request) -> web.Response:
    """Show what arrived, and answer with an invoice."""
    print("sent", await request.text())
    return web.json_response({"number": "42", "total": "9.90"})


async def broken(_: web.Request) -> web.Response:
    """Answer with what is no invoice."""
    return web.json_response({"number": "42", "total": "confidential"})


async def main() -> None:
    """Send a body, decode the answer, and see what an unexpected answer says."""
    application = web.Application()
    application.add_routes([web.post("/invoices", create), web.get("/broken", broken)])
    # In a service: PLATFORM_HTTP_JSON__SERIALIZER=orjson
    settings = HttpSettings(json={"serializer": "orjson"})
    async with (
        TestServer(application, host="127.0.0.1") as server,
        SessionFactory(settings) as factory,
    ):
        session = factory.session("billing")
        order = {"customer": "Ärzte", "due": date(2026, 12, 1)}
        async with session.post(server.make_url("/invoices"), json=order) as response:
            print("got", repr(await decode(response, Invoice)))
        async with session.get(server.make_url("/broken")) as response:
            try:
                await decode(response, Invoice)
            except DecodingError as error:
                print(*error.problems)
                print(error.reason)


if __name__ == "__main__":
    asyncio.run(main())
