"""The SSL contexts that one client's connections are made with now."""

from __future__ import annotations

import logging
import ssl
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple, Protocol

from platform_http.errors import EgressDeniedError
from platform_http.transport import tls

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from platform_http.call import Observer
    from platform_http.errors import ConfigurationError
    from platform_http.settings import TlsSettings
    from platform_http.transport.tls_choice import SslArgument, TlsChoice

_LOGGER = logging.getLogger("platform_http")


class Profiles(NamedTuple):
    """What the contexts of a client are built from.

    Args:
        own: With the client certificate.
        other: Without it, for other origins and for https proxies.
    """

    own: tls.TlsProfile
    other: tls.TlsProfile


class Pool(Protocol):
    """The part of a connector that a change of contexts concerns."""

    def retire(self, old: Iterable[ssl.SSLContext], new: Iterable[ssl.SSLContext]) -> None:
        """Reuse no connection that was made with one of *old*, unless it is one of *new*."""


class ClientTls:
    """The contexts of one client.

    Contexts are values of their own in a connection's pool key: connections with and without the
    client certificate, or of before and after a change, never serve each other's requests.

    Args:
        client: The client's name, for the log.
        settings: Its TLS section.
    """

    def __init__(self, client: str, settings: TlsSettings) -> None:
        self._client = client
        self._settings = settings
        self._lenient = settings.allow_insecure or not settings.verify
        self._pools: list[tuple[Pool, Observer]] = []
        self._expires: float | None = None
        self.own: ssl.SSLContext
        self.other: ssl.SSLContext

    @property
    def reload_interval(self) -> float:
        """Seconds within which changed files are taken over; infinite where there are none."""
        settings = self._settings
        named = (settings.ca_file, settings.cert_file, settings.key_file)
        return settings.reload_interval if any(named) else float("inf")

    def profiles(self) -> Profiles:
        """Return the profiles with the versions that the files have now. It asks the disk."""
        return Profiles(
            tls.TlsProfile.of(self._settings),
            tls.TlsProfile.of(self._settings, client_certificate=False),
        )

    def use(self, profiles: Profiles, loaded: Mapping[tls.TlsProfile, tls.Loaded]) -> None:
        """Make new connections with the contexts of *profiles* from now on."""
        own, other = loaded[profiles.own], loaded[profiles.other]
        self.own, self.other = own.context, other.context
        self._expires = own.expires
        if own.expires is not None and own.expires <= time.time():
            _LOGGER.warning(
                "client %s: TLS__CERT_FILE: the certificate expired on %s; renew it",
                self._client,
                datetime.fromtimestamp(own.expires, UTC).isoformat(),
                extra={"client": self._client},
            )

    def take_over(self, profiles: Profiles, loaded: Mapping[tls.TlsProfile, tls.Loaded]) -> None:
        """Use *profiles* in place of those in use: idle connections close, running requests end."""
        old = (self.own, self.other)
        self.use(profiles, loaded)
        _LOGGER.info(
            "client %s took over changed TLS files", self._client, extra={"client": self._client}
        )
        for pool, observer in self._pools:
            pool.retire(old, (self.own, self.other))
            self._show(observer)
            observer.tls_reloaded("success")

    def keep(self, error: ConfigurationError) -> None:
        """Go on with what is in use: the changed files cannot be used."""
        _LOGGER.warning(
            "client %s keeps its previous TLS files: %s",
            self._client,
            "; ".join(error.violations),
            extra={"client": self._client},
        )
        for _, observer in self._pools:
            observer.tls_reloaded("failure")

    def serve(self, pool: Pool, observer: Observer) -> None:
        """Keep *pool* and *observer*, of one session, informed of changes from now on."""
        self._pools.append((pool, observer))
        self._show(observer)

    def _show(self, observer: Observer) -> None:
        if self._expires is not None:
            observer.certificate_seen("", "client", self._expires)

    def refuses(self, asked: object) -> bool:
        """Tell whether a caller's ``ssl=`` would check less than the settings do."""
        return asked is not True and not self._lenient and not _verifies(asked)

    def refusal(self, *, attempts: int) -> EgressDeniedError:
        """Return the error for a caller's ``ssl=`` that is refused."""
        return EgressDeniedError(
            "ssl= of this request switches certificate checks off; name the authority in "
            "TLS__CA_FILE, list keys in TLS__PINS, or set TLS__ALLOW_INSECURE=true if it is "
            f"meant (client {self._client!r})",
            reason="tls_unverified",
            attempts=attempts,
        )

    def choose(self, choice: TlsChoice) -> SslArgument:
        """Return the ``ssl=`` of one hop: the caller's, or a context of ours."""
        if choice.strayed:
            return self.other
        if choice.asked is not True:
            return choice.asked
        return self.own if choice.own else self.other


def _verifies(asked: object) -> bool:
    # Python lets a context check names only while it verifies chains. A Fingerprint makes aiohttp
    # check neither, nor the end of a certificate.
    return isinstance(asked, ssl.SSLContext) and asked.check_hostname
