"""What the streaming functions raise beyond aiohttp's errors and those of every call."""

from __future__ import annotations

import aiohttp

from platform_http.errors import PlatformHttpError


class ChecksumError(PlatformHttpError, aiohttp.ClientPayloadError):
    """A file that was downloaded to its end is not the one that was asked for.

    Attributes:
        expected: ``algorithm:hex``, as asked for.
        actual: The same of what was received.
    """

    error_type = "payload_error"

    def __init__(self, expected: str, actual: str) -> None:
        super().__init__(
            f"the file received has the checksum {actual}, not {expected}; it was removed"
        )
        self.expected = expected
        self.actual = actual


class DownloadInProgressError(PlatformHttpError):
    """Another download to the same path is running, in this process or in another one."""


class StreamFormatError(PlatformHttpError, aiohttp.ClientPayloadError, ValueError):
    """A stream is not of the format that it is read as, or a piece of it is too large.

    Attributes:
        line: 1-based number of the line at which it was noticed; 0 where lines do not count.
    """

    error_type = "invalid_response"

    def __init__(self, message: str, *, line: int = 0) -> None:
        super().__init__(message)
        self.line = line
