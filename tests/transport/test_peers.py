from __future__ import annotations

import ssl
from dataclasses import dataclass, field

import aiohttp
import pytest
from aiohttp.client_reqrep import ConnectionKey

from platform_http.settings import TlsSettings
from platform_http.transport.peers import PeerInspector

KEY = ConnectionKey("api.test", 443, True, True, None, None, None, None)
PINNED = TlsSettings(pins=["A" * 43 + "="])


class Request:
    host = KEY.host
    connection_key = KEY


@dataclass
class Connection:
    """A protocol and its transport, with a peer that shows *certificate*."""

    certificate: bytes | None = b""
    lost: bool = False

    @property
    def transport(self) -> Connection | None:
        return None if self.lost else self

    def get_extra_info(self, name: str) -> object:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return context if name == "sslcontext" else self

    def getpeercert(self, *, binary_form: bool) -> bytes | None:
        return self.certificate


@dataclass
class Witness:
    seen: list[float] = field(default_factory=list)

    def certificate_seen(self, address: str, side: str, expires: float) -> None:
        self.seen.append(expires)


def inspect(settings: TlsSettings, connection: Connection) -> list[float]:
    witness = Witness()
    PeerInspector(settings, witness).inspect(Request(), connection)
    return witness.seen


@pytest.mark.parametrize("settings", [TlsSettings(), PINNED], ids=["no pins", "pins"])
def test_a_connection_that_was_lost_meanwhile_is_left_alone(settings: TlsSettings) -> None:
    assert inspect(settings, Connection(lost=True)) == []


@pytest.mark.parametrize("certificate", [None, b"", b"\x30\x03\x02\x01\x00"])
def test_a_certificate_that_cannot_be_read_meets_no_pin_and_shows_no_end(
    certificate: bytes | None,
) -> None:
    assert inspect(TlsSettings(), Connection(certificate)) == []
    with pytest.raises(aiohttp.ClientConnectorCertificateError, match="cannot be read") as caught:
        inspect(PINNED, Connection(certificate))
    assert isinstance(caught.value.certificate_error, ssl.SSLCertVerificationError)
    assert "cannot be read" in caught.value.certificate_error.verify_message


def explained(code: int | None) -> str:
    cause = ssl.SSLCertVerificationError(1, "certificate verify failed")
    if code is not None:
        cause.verify_code = code
    error = aiohttp.ClientConnectorCertificateError(KEY, cause)
    PeerInspector(TlsSettings(), Witness()).explain(error)
    assert error.certificate_error is cause
    return str(error)


def test_a_certificate_of_the_future_is_a_matter_of_clocks() -> None:
    assert "certificate verify failed: compare the clock" in explained(9)


@pytest.mark.parametrize("code", [None, 1, 23])
def test_what_has_no_remedy_that_is_known_keeps_its_message(code: int | None) -> None:
    assert explained(code).endswith("'certificate verify failed')]")
