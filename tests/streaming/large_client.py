"""A process that moves one large file and says by how much it grew.

``python -m tests.streaming.large_client download|upload URL PATH [CHECKSUM]``
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
from pathlib import Path

from platform_http import open_session
from platform_http.streaming import download, upload


def memory(name: str, process: int | str = "self") -> int:
    """Bytes that the kernel counts; not ru_maxrss, which begins with what the parent had."""
    status = Path(f"/proc/{process}/status").read_text()
    found = re.search(rf"^{name}:\s+(\d+) kB$", status, re.MULTILINE)
    assert found is not None
    return int(found[1]) * 1024


async def main(direction: str, url: str, path: str, checksum: str | None = None) -> None:
    async with open_session() as session:
        # What a first request loads is no growth of the transfer.
        async with session.get(f"{url}small") as response:
            await response.read()
        before = memory("VmRSS")
        outcome: dict[str, object] = {}
        if direction == "download":
            sys.stdout.write(f"{before}\n")
            sys.stdout.flush()
            result = await download(session, f"{url}large", path, checksum=checksum)
            outcome = {"size": result.size, "resumed_from": result.resumed_from}
        else:
            async with upload(session, f"{url}large", path) as response:
                outcome = {"answer": await response.text()}
    sys.stdout.write(json.dumps({**outcome, "growth": memory("VmHWM") - before}))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
