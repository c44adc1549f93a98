"""Bodies of any size in constant memory: downloads, uploads, lines and Server-Sent Events.

Everything takes a session of a :class:`~platform_http.SessionFactory`, or any other
``aiohttp.ClientSession``, and its responses.
"""

from platform_http.streaming.download import DownloadResult, download
from platform_http.streaming.errors import (
    ChecksumError,
    DownloadInProgressError,
    StreamFormatError,
)
from platform_http.streaming.event_stream import ServerSentEvent
from platform_http.streaming.lines import iter_json_lines, iter_lines
from platform_http.streaming.subscription import events, iter_events
from platform_http.streaming.upload import upload

__all__ = [
    "ChecksumError",
    "DownloadInProgressError",
    "DownloadResult",
    "ServerSentEvent",
    "StreamFormatError",
    "download",
    "events",
    "iter_events",
    "iter_json_lines",
    "iter_lines",
    "upload",
]
