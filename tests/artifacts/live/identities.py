"""Certificates that end soon."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

import trustme

if TYPE_CHECKING:
    from pathlib import Path


class Identities:
    """An authority and what it issues, for ``localhost``.

    Args:
        folder: Takes the files.

    Attributes:
        ca_file: The authority, for those who trust it.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._authority = trustme.CA()
        self.ca_file = folder / "authority.pem"
        self._authority.cert_pem.write_to_path(str(self.ca_file))

    def issue(self, name: str, lifetime: dt.timedelta) -> Path:
        """Write a certificate that ends after *lifetime*, with its key, to the file *name*."""
        end = dt.datetime.now(dt.UTC) + lifetime
        file = self._folder / f"{name}.pem"
        issued = self._authority.issue_cert("localhost", not_after=end)
        issued.private_key_and_cert_chain_pem.write_to_path(str(file))
        return file
