"""Connections through a SOCKS5 proxy, by python-socks (the ``socks`` extra)."""

from __future__ import annotations

import errno
import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import socket

    from platform_http.transport.proxy import ProxyChoice

# RFC 1928, section 6: what the proxy's reply says about the destination.
_REPLIES = {
    0x02: errno.EACCES,
    0x03: errno.ENETUNREACH,
    0x04: errno.EHOSTUNREACH,
    0x05: errno.ECONNREFUSED,
    0x06: errno.EHOSTUNREACH,
}


async def open_socks(
    proxy: ProxyChoice,
    host: str,
    port: int,
    timeout: float | None,
) -> socket.socket:
    """Connect to *host* through *proxy*.

    The name goes to the proxy as it is and is resolved there. The proxy's own name is resolved by
    the system, and the first IPv4 address is taken, or the first IPv6 one.

    Args:
        proxy: A ``socks5`` proxy.
        host: The destination, a name or an address.
        port: The destination's port.
        timeout: Seconds for the connection to the proxy and the exchange with it; ``None`` waits.

    Returns:
        A connected, non-blocking socket, now the caller's. What is sent goes to *host*.

    Raises:
        TimeoutError: If *timeout* passed; it has no ``errno``.
        OSError: If the proxy cannot be reached, refuses the credentials or the destination, or
            does not speak SOCKS5. No message holds the credentials.
    """
    from python_socks import ProxyError, ProxyType  # noqa: PLC0415 - an optional extra
    from python_socks.async_.asyncio import Proxy  # noqa: PLC0415 - an optional extra

    address = proxy.url
    assert address.raw_host is not None
    assert address.port is not None
    client = Proxy(
        ProxyType.SOCKS5,
        address.raw_host,
        address.port,
        username=None if proxy.auth is None else proxy.auth.login,
        password=None if proxy.auth is None else proxy.auth.password,
        rdns=True,
    )
    try:
        # Without a number python-socks takes 60 seconds.
        return await client.connect(host, port, timeout=math.inf if timeout is None else timeout)
    except ProxyError as error:
        code = _REPLIES.get(error.error_code or 0, errno.ECONNABORTED)
        raise OSError(code, f"SOCKS5 proxy: {error}") from None
    except ValueError:
        raise OSError(errno.EINVAL, "SOCKS5: a host name or reply that does not fit") from None
