"""What is known of a client before anything is asked of the network."""

from __future__ import annotations

import contextlib
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from platform_http.cli.check.report import failure, ok, warning
from platform_http.settings.loosened import loosened
from platform_http.transport.certificates import Certificate

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from platform_http.cli.check.report import Item
    from platform_http.settings import ClientSettings

# The alert CertificateExpiring begins here too.
_SOON_DAYS = 14
_DAY = 86400

_PEM_BEGIN = "-----BEGIN CERTIFICATE-----"


def on_paper(settings: ClientSettings) -> Iterator[Item]:
    """Yield what can be said of a client without asking anybody."""
    loose = loosened(settings)
    if loose:
        yield warning(
            settings.name,
            "settings",
            f"insecure: {', '.join(loose)}",
            "set them back to their defaults unless each is meant",
        )
    else:
        yield ok(settings.name, "settings", "valid, none is insecure")
    if settings.auth.scheme != "none":
        # Whatever the scheme needs is there, or the settings would be invalid.
        yield ok(settings.name, "auth", f"{settings.auth.scheme}, its credentials are set")
    yield from _certificate_files(settings)


def _certificate_files(settings: ClientSettings) -> Iterator[Item]:
    # The factory has read both files: they are there.
    tls = settings.tls
    if tls.cert_file is not None:
        # The chain behind it is not the service's to renew.
        for end in _ends(tls.cert_file)[:1]:
            remedy = f"renew {tls.cert_file}"
            yield dated(settings.name, "client_certificate", "TLS__CERT_FILE", end, remedy)
    if tls.ca_file is not None:
        ends = _ends(tls.ca_file)
        current = [each for each in ends if each > time.time()]
        remedy = f"renew {tls.ca_file}"
        if current and len(current) < len(ends):
            over = f"{len(ends) - len(current)} of {len(ends)} in TLS__CA_FILE have ended"
            remedy = f"take them out of {tls.ca_file}"
            yield warning(settings.name, "authorities", over, remedy)
        elif ends:
            yield dated(settings.name, "authorities", "TLS__CA_FILE", min(ends), remedy)


def _ends(file: Path) -> list[float]:
    """Return when the certificates in *file* end, those that can be read, in their order."""
    ends = []
    pem = file.read_text(encoding="utf-8", errors="replace")
    for part in pem.split(_PEM_BEGIN)[1:]:
        with contextlib.suppress(ValueError):
            ends.append(Certificate.first_of(f"{_PEM_BEGIN}{part}").expires)
    return ends


def dated(client: str, name: str, what: str, ends: float, remedy: str) -> Item:
    """Return the item of a certificate that ends at *ends*, seconds since the epoch."""
    left = (ends - time.time()) / _DAY
    day = datetime.fromtimestamp(ends, UTC).date().isoformat()
    if left <= 0:
        return failure(client, name, f"{what} ended on {day}", remedy)
    detail = f"{what} ends on {day}, in {int(left)} days"
    if left < _SOON_DAYS:
        return warning(client, name, detail, remedy)
    return ok(client, name, detail)
