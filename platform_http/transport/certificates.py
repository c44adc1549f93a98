"""What is read from an X.509 certificate: when it ends, and whose key it holds.

``ssl`` tells the end of a certificate only once it was verified and never its key, and a client's
own certificate not at all. Both stand at fixed places (RFC 5280, section 4.1), so a few steps
through the DER tell them without another library. OpenSSL has parsed every certificate before it
is read here.
"""

from __future__ import annotations

import hashlib
import ssl
from datetime import datetime
from typing import NamedTuple

_SEQUENCE = 0x30
_EXPLICIT_VERSION = 0xA0
_UTC_TIME = 0x17
_GENERALIZED_TIME = 0x18

_PEM_BEGIN, _PEM_END = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"


class Certificate(NamedTuple):
    """What the library wants to know of a certificate.

    Args:
        expires: End of its validity, seconds since the epoch.
        key_digest: SHA-256 of its SubjectPublicKeyInfo, which a renewal with the same key keeps.
    """

    expires: float
    key_digest: bytes

    @classmethod
    def of(cls, der: bytes) -> Certificate:
        """Read a certificate.

        Raises:
            ValueError: If *der* is not an X.509 certificate.
        """
        certificate = _element(der, 0, _SEQUENCE)
        field = _element(der, certificate.start, _SEQUENCE)
        field = _element(der, field.start)
        if field.tag == _EXPLICIT_VERSION:  # absent in version 1
            field = _element(der, field.end)
        for _ in ("signature algorithm", "issuer"):
            field = _element(der, field.end, _SEQUENCE)
        validity = _element(der, field.end, _SEQUENCE)
        not_before = _element(der, validity.start)
        not_after = _element(der, not_before.end)
        subject = _element(der, validity.end, _SEQUENCE)
        key = _element(der, subject.end, _SEQUENCE)
        return cls(
            expires=_instant(not_after.tag, der[not_after.start : not_after.end]),
            key_digest=hashlib.sha256(der[subject.end : key.end]).digest(),
        )

    @classmethod
    def first_of(cls, pem: str) -> Certificate:
        """Read the first certificate of a PEM file: that of its owner, the chain follows.

        Raises:
            ValueError: If there is none.
        """
        begin, end = pem.find(_PEM_BEGIN), pem.find(_PEM_END)
        if begin < 0 or end < begin:
            raise ValueError("no certificate")
        return cls.of(ssl.PEM_cert_to_DER_cert(pem[begin : end + len(_PEM_END)]))


class _Element(NamedTuple):
    """Where a DER element lies: its tag, and its content's bounds."""

    tag: int
    start: int
    end: int


def _element(der: bytes, at: int, tag: int | None = None) -> _Element:
    """Return the element that begins at *at*.

    Raises:
        ValueError: If there is none, or it has another *tag*.
    """
    start = at + 2
    if start > len(der):
        raise ValueError("DER ends too early")
    length = der[at + 1]
    if length >= 0x80:
        size = length & 0x7F
        length = int.from_bytes(der[start : start + size], "big")
        start += size
    if start + length > len(der):
        raise ValueError("DER ends too early")
    if tag is not None and der[at] != tag:
        raise ValueError("unexpected DER element")
    return _Element(der[at], start, start + length)


def _instant(tag: int, content: bytes) -> float:
    """Return the instant that a Time (RFC 5280, section 4.1.2.5) stands for."""
    text = content.decode("ascii")
    if tag == _UTC_TIME:
        text = f"{'20' if text < '5' else '19'}{text}"
    elif tag != _GENERALIZED_TIME:
        raise ValueError("not a time")
    if not text.endswith("Z"):
        raise ValueError("not a time in UTC")
    return datetime.fromisoformat(f"{text[:8]}T{text[8:]}").timestamp()
