"""WebSockets over TLS end and are dropped as those without."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from platform_http.errors import WebSocketClosedError
from platform_http.websocket import Reconnect, connect
from tests.certificates import Certificates
from tests.functional.conftest import Observed
from tests.websocket.peer import Peer, Script, echo, serving, silent, until


async def drop(peer: Peer) -> None:
    peer.reset()


@pytest.mark.parametrize("script", [echo, drop, silent], ids=["echo", "drop", "silent"])
async def test_over_tls(observed: Observed, tmp_path: Path, script: Script) -> None:
    certificates = Certificates(tmp_path)
    context = certificates.server("localhost")
    tls = {"ca_file": certificates.ca_file, "trust": "file"}
    async with serving(script, echo, tls=context) as server, observed.session(tls=tls) as session:
        url = f"wss://localhost:{server.port}/feed"
        async with asyncio.timeout(5):
            async with connect(
                session,
                url,
                reconnect=Reconnect(initial=0.001, maximum=0.002),
                heartbeat=0.1,
                pong_timeout=0.1,
            ) as ws:
                if script is not echo:
                    await until(lambda: ws.reconnects == 1)
                await ws.send_text("hello")
                assert (await ws.receive()).data == "hello"
        assert ws.close_code == 1000


async def test_what_a_peer_does_not_take_is_dropped_with_its_connection(
    observed: Observed, tmp_path: Path
) -> None:
    certificates = Certificates(tmp_path)
    context = certificates.server("localhost")
    tls = {"ca_file": certificates.ca_file, "trust": "file"}
    async with serving(silent, tls=context) as server, observed.session(tls=tls) as session:
        url = f"wss://localhost:{server.port}/feed"
        async with asyncio.timeout(10):
            async with connect(session, url, close_timeout=0.1, heartbeat=None) as ws:
                with pytest.raises(TimeoutError):
                    while True:
                        await ws.send_bytes(bytes(1024 * 1024), timeout=0.1)
                socket = ws._link._socket.get_extra_info("socket")
            await until(lambda: socket.fileno() == -1)
        with pytest.raises(WebSocketClosedError):
            await ws.send_text("too late")
