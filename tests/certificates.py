"""Certificates of every kind that a client meets, issued for one test run."""

from __future__ import annotations

import datetime as dt
import ssl
from typing import TYPE_CHECKING, NamedTuple

import trustme
from cryptography.hazmat.primitives import serialization

if TYPE_CHECKING:
    from pathlib import Path

_LONG_AGO = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)


class PemFiles(NamedTuple):
    """A certificate chain and its private key on disk."""

    cert: Path
    key: Path


class Certificates:
    """One certificate authority and what it issues, written below *directory*."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._ca = trustme.CA()
        self.ca_file = directory / "ca.pem"
        self._ca.cert_pem.write_to_path(str(self.ca_file))

    def server(self, *names: str, expired: bool = False, client_ca: bool = False) -> ssl.SSLContext:
        """Return a server context for *names*; with *client_ca* it demands a client certificate."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.set_alpn_protocols(["http/1.1"])
        self._leaf(*names, expired=expired).configure_cert(context)
        if client_ca:
            context.verify_mode = ssl.CERT_REQUIRED
            self._ca.configure_trust(context)
        return context

    @property
    def ca_pem(self) -> bytes:
        """The authority's own certificate."""
        return self._ca.cert_pem.bytes()

    def renew(self, context: ssl.SSLContext, *names: str) -> None:
        """Give a server context another certificate for *names*, for its next handshakes."""
        self._leaf(*names).configure_cert(context)

    def trust(self, context: ssl.SSLContext) -> None:
        """Let a server context take client certificates of this authority too."""
        self._ca.configure_trust(context)

    def files(self, name: str, *, password: str | None = None, expired: bool = False) -> PemFiles:
        """Issue a certificate for *name* as files, the key encrypted when there is a *password*."""
        leaf = self._leaf(name, expired=expired)
        files = PemFiles(self._directory / f"{name}.pem", self._directory / f"{name}.key")
        files.cert.write_bytes(b"".join(pem.bytes() for pem in leaf.cert_chain_pems))
        key = leaf.private_key_pem.bytes()
        if password is not None:
            key = serialization.load_pem_private_key(key, None).private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.BestAvailableEncryption(password.encode()),
            )
        files.key.write_bytes(key)
        return files

    def _leaf(self, *names: str, expired: bool = False) -> trustme.LeafCert:
        if expired:
            day = dt.timedelta(days=1)
            return self._ca.issue_cert(*names, not_before=_LONG_AGO, not_after=_LONG_AGO + day)
        return self._ca.issue_cert(*names)
