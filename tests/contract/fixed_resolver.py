import socket

from aiohttp.abc import AbstractResolver, ResolveResult


class FixedResolver(AbstractResolver):
    """Answers every name with the same addresses; raises when given an exception."""

    def __init__(self, *addresses: str, error: Exception | None = None) -> None:
        self._addresses = addresses
        self._error = error
        self.names: list[str] = []

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        self.names.append(host)
        if self._error is not None:
            raise self._error
        return [
            ResolveResult(hostname=host, host=address, port=port, family=family, proto=0, flags=0)
            for address in self._addresses
        ]

    async def close(self) -> None:
        pass
