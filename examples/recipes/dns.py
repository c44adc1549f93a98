"""Name servers of your own, and answers that are kept for a while.

Needs the extra ``dns``.

Guide: 2, table, row "Connection pooling" (DNS cache); 8, row "Hard-coded DNS/timeout logic".

Prints::

    200 200 over 2 connections
    the name server was asked 1 time
"""

import asyncio
from typing import cast

from platform_http import HttpSettings, SessionFactory
from platform_http.testing import FaultServer

TYPE_A = b"\x00\x01"


class NameServer(asyncio.DatagramProtocol):
    """Answers every question for an IPv4 address with 127.0.0.1, and knows no other kind."""

    def __init__(self) -> None:
        self.asked = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep what answers go out by."""
        self.transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, address: tuple[str, int]) -> None:
        """Answer *data*: RFC 1035, section 4."""
        end = data.index(b"\x00", 12) + 5
        has_answer = data[end - 4 : end - 2] == TYPE_A
        self.asked += has_answer
        header = data[:2] + b"\x81\x80\x00\x01" + (b"\x00\x01" if has_answer else b"\x00\x00")
        answer = b"\xc0\x0c" + TYPE_A + b"\x00\x01\x00\x00\x00\x3c\x00\x04\x7f\x00\x00\x01"
        reply = header + b"\x00\x00\x00\x00" + data[12:end] + (answer if has_answer else b"")
        self.transport.sendto(reply, address)


async def main() -> None:
    """Reach a name that only our name server knows, twice."""
    loop = asyncio.get_running_loop()
    transport, names = await loop.create_datagram_endpoint(NameServer, ("127.0.0.1", 0))
    port = transport.get_extra_info("sockname")[1]
    async with FaultServer() as server:
        settings = HttpSettings(
            base_url=f"http://orders.example.com:{server.port}/",
            dns={"nameservers": [f"127.0.0.1:{port}"], "cache_ttl": 30},
            pool={"keepalive": 0},  # every call connects anew
        )
        async with SessionFactory(settings) as factory:
            statuses = []
            for _ in range(2):
                async with factory.session().get("42") as response:
                    statuses.append(response.status)
        print(*statuses, "over", server.connections, "connections")
    print("the name server was asked", names.asked, "time")
    transport.close()


if __name__ == "__main__":
    asyncio.run(main())
