"""What is looked at once a TLS handshake has succeeded, and said where it has not."""

from __future__ import annotations

import contextlib
import ssl
import sys
from typing import TYPE_CHECKING, Any

import aiohttp

from platform_http.transport.certificates import Certificate
from platform_http.transport.pins import Pins, pin

if TYPE_CHECKING:
    from aiohttp.client_proto import ResponseHandler

    from platform_http.call import Observer
    from platform_http.settings import TlsSettings

# OpenSSL's codes, x509_vfy.h.
_NOT_YET_VALID = 9
_EXPIRED = 10
_REJECTED = 28
_UNKNOWN_AUTHORITY = frozenset({2, 18, 19, 20, 21})
_OTHER_NAME = frozenset({62, 64})

_WHERE_AUTHORITIES_ARE_ADDED = {
    "file": "add its authority to TLS__CA_FILE",
    "certifi": "certifi does not know its authority; name that in TLS__CA_FILE",
    "system": "add its authority to the system's, or name it in TLS__CA_FILE",
}


class PeerInspector:
    """Checks the certificate of every new connection and reports when it ends.

    Args:
        settings: The TLS section of one client.
        observer: Told when the certificates of peers end.
    """

    def __init__(self, settings: TlsSettings, observer: Observer) -> None:
        self._pins = Pins(settings.pins) if settings.pins else None
        self._trust = settings.trust
        self._observer = observer

    def inspect(self, request: aiohttp.ClientRequest, protocol: ResponseHandler) -> None:
        """Look at the peer of a connection on which nothing was sent yet.

        Args:
            request: What the connection was made for.
            protocol: The connection. One that is lost already is left alone.

        Raises:
            aiohttp.ClientConnectorCertificateError: If no pin matches.
        """
        transport = protocol.transport
        tls = None if transport is None else transport.get_extra_info("ssl_object")
        if transport is None or tls is None:
            return
        leaf = _read(tls.getpeercert(binary_form=True))
        if leaf is not None:
            self._observer.certificate_seen(request.host, "peer", leaf.expires)
        if self._pins is not None:
            context = transport.get_extra_info("sslcontext")
            if leaf is None or not self._pins.match(_trusted_chain(tls, context)):
                raise _unpinned(request, leaf)

    def explain(self, error: aiohttp.ClientConnectorCertificateError) -> None:
        """Add to the message of *error* what to do about it."""
        cause = error.certificate_error
        code = getattr(cause, "verify_code", None)
        if code == _EXPIRED:
            remedy = "the server, or an authority above it, has to renew it"
        elif code == _NOT_YET_VALID:
            remedy = "compare the clock of this host with the server's"
        elif code in _OTHER_NAME:
            remedy = "use a name that the certificate holds in the URL or BASE_URL"
        elif code in _UNKNOWN_AUTHORITY:
            remedy = _WHERE_AUTHORITIES_ARE_ADDED[self._trust]
        else:
            return
        cause.args = (*cause.args[:-1], f"{cause.args[-1]}: {remedy}")


def _read(der: bytes | None) -> Certificate | None:
    with contextlib.suppress(ValueError):
        return None if der is None else Certificate.of(der)
    return None


def _trusted_chain(tls: ssl.SSLObject, context: ssl.SSLContext) -> list[bytes]:
    """Return, in DER, the certificates whose keys the peer is bound to, its own first.

    Without a verification by OpenSSL (it is off, or the platform's) that is its own alone: to the
    rest of what it sent anybody may have added an authority that never signed for it.
    """
    verified_here = (
        context.verify_mode is ssl.CERT_REQUIRED and type(context).wrap_bio.__module__ == "ssl"
    )
    if not verified_here:
        leaf = tls.getpeercert(binary_form=True)
        return [] if leaf is None else [leaf]
    if sys.version_info >= (3, 13):
        return tls.get_verified_chain()
    encoding_der = 2  # _ssl.ENCODING_DER
    private: Any = tls
    chain = private._sslobj.get_verified_chain()  # noqa: SLF001 - public from Python 3.13 on
    return [certificate.public_bytes(encoding_der) for certificate in chain]


def _unpinned(
    request: aiohttp.ClientRequest, leaf: Certificate | None
) -> aiohttp.ClientConnectorCertificateError:
    shown = "cannot be read" if leaf is None else f"has {pin(leaf)}"
    message = (
        f"no certificate of {request.host} matches TLS__PINS; its own {shown}. "
        "If that is meant, add it"
    )
    error = ssl.SSLCertVerificationError(_REJECTED, message)
    error.verify_code = _REJECTED
    error.verify_message = message
    return aiohttp.ClientConnectorCertificateError(request.connection_key, error)
