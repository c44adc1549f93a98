"""A bearer token in a file that somebody else renews, such as a projected service-account token."""

from __future__ import annotations

import asyncio
import contextvars
import logging
from typing import TYPE_CHECKING, Final, NamedTuple

from platform_http.auth.fixed import bearer, is_token
from platform_http.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import aiohttp

    from platform_http.call import Client

INTERVAL: Final = 1.0
"""Seconds between two looks at a file."""

_MAX_BYTES = 65536

_LOGGER = logging.getLogger("platform_http")


class TokenVersion(NamedTuple):
    """A token, and which version of its file holds it.

    Args:
        inode: Tells apart what ``mv`` and Kubernetes' swapped symbolic links put in its place.
        modified: Nanoseconds since the epoch.
        size: Bytes.
        token: What the file holds, without white space around it.
    """

    inode: int
    modified: int
    size: int
    token: str

    def __repr__(self) -> str:
        # asyncio's debug log shows what threads and tasks return.
        return f"<token version {self.modified}>"


def read_token(path: Path, known: TokenVersion | None = None) -> TokenVersion:
    """Return the token in *path*; it blocks.

    Args:
        path: Of the file.
        known: Returned as it is if the file has not changed since.

    Raises:
        OSError: If the file cannot be read.
        ValueError: If it holds no token, or is being written; the message says what is wrong.
    """
    before = _version(path)
    if known is not None and before == known[:3]:
        return known
    with path.open("rb") as file:
        content = file.read(_MAX_BYTES + 1)
    if _version(path) != before:
        raise ValueError("it is being written")
    if len(content) > _MAX_BYTES:
        raise ValueError(f"it is larger than {_MAX_BYTES} bytes")
    # What is no ASCII becomes what no token holds, and no exception that quotes it.
    text = content.decode("ascii", errors="replace").strip()
    if not text:
        raise ValueError("it is empty")
    if not is_token(text):
        raise ValueError("it holds characters that no token has")
    return TokenVersion(*before, text)


def _version(path: Path) -> tuple[int, int, int]:
    status = path.stat()
    return status.st_ino, status.st_mtime_ns, status.st_size


def load_tokens(files: Mapping[str, Path]) -> dict[str, TokenVersion]:
    """Return what the token files of clients hold, by client; it blocks.

    Raises:
        ConfigurationError: If any of them cannot be used.
    """
    tokens: dict[str, TokenVersion] = {}
    wrong: dict[Path, str] = {}
    for client, path in files.items():
        try:
            tokens[client] = read_token(path)
        except (OSError, ValueError) as error:
            # Clients that share a file share what is wrong with it.
            wrong[path] = (
                f"AUTH__TOKEN_FILE {path} {complaint(error)}; put the token there, readable for "
                "this process"
            )
    if wrong:
        raise ConfigurationError(list(wrong.values()))
    return tokens


def complaint(error: OSError | ValueError) -> str:
    """Return what is wrong with a file, in words that hold nothing of its content."""
    if isinstance(error, OSError):
        return f"cannot be read: {error.strerror or type(error).__name__}"
    return f"cannot be used: {error}"


class TokenFile:
    """Presents the token that a file holds, and looks at the file in a thread.

    No request waits for the disk, but for one after a 401. While the file cannot be used the
    previous token is presented.

    Args:
        path: Of the file.
        version: What it holds now.
        client: Whose token it is.
    """

    def __init__(self, path: Path, version: TokenVersion, client: Client) -> None:
        self._path = path
        self._version = version
        self._client = client
        self._headers = bearer(version.token)
        self._is_rejected = False
        self._is_lost = False
        self._look: asyncio.Task[None] | None = None
        self._watch = client.loop.create_task(
            self._run(), name="platform_http-token-file", context=contextvars.Context()
        )

    def ready(self) -> Mapping[str, str] | None:
        """Return the token, unless a server refused it since the last look."""
        return None if self._is_rejected else self._headers

    def reject(self, headers: Mapping[str, str]) -> None:
        """Look at the file before the next request, if it was this token that was refused."""
        self._is_rejected = self._is_rejected or headers == self._headers

    async def obtain(self, request: aiohttp.ClientRequest) -> Mapping[str, str]:  # noqa: ARG002 - signature of Credentials
        """Look at the file and return the token; all who wait share one look."""
        await self._looked()
        self._is_rejected = False
        return self._headers

    async def aclose(self) -> None:
        """End the tasks."""
        tasks = [task for task in (self._watch, self._look) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)

    async def _run(self) -> None:
        while True:
            # The factory may have been entered long before its session was asked for.
            await self._looked()
            await asyncio.sleep(INTERVAL)

    async def _looked(self) -> None:
        if self._look is None or self._look.done():
            self._look = self._client.loop.create_task(
                self._take_over(), name="platform_http-token-look", context=contextvars.Context()
            )
        # A caller that is cancelled must not cancel the look of the others.
        await asyncio.wait([self._look])

    async def _take_over(self) -> None:
        try:
            version = await asyncio.to_thread(read_token, self._path, self._version)
        except (OSError, ValueError) as error:
            self._keep(error)
            return
        self._is_lost = False
        if version.token != self._version.token:
            self._headers = bearer(version.token)
            self._client.observer.token_refreshed("success")
        self._version = version

    def _keep(self, error: OSError | ValueError) -> None:
        if self._is_lost:
            return
        self._is_lost = True
        self._client.observer.token_refreshed("failure")
        _LOGGER.warning(
            "client %s keeps its previous token: AUTH__TOKEN_FILE %s %s",
            self._client.name,
            self._path,
            complaint(error),
            extra={"client": self._client.name},
        )
