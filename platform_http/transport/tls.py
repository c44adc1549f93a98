"""SSL contexts: built off the event loop, shared process-wide by configuration.

A context costs tens of milliseconds and most of a megabyte, nearly all of it for the trust
anchors, so sessions with equal TLS settings share one. The settings' files are part of the key by
their version on disk: a renewed certificate is another context, never a change to one in use.

On macOS and Windows ``TLS__TRUST=system`` asks the platform through truststore. On Linux it loads
the distribution's bundle once: there truststore reads that bundle again in every handshake, on the
event loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from platform_http.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pydantic import SecretStr

    from platform_http.settings import TlsSettings

# truststore verifies with the platform's own API on these two only.
_HAS_PLATFORM_VERIFIER = sys.platform in {"darwin", "win32"}

# Where distributions keep their bundle. Needed where OpenSSL's compiled-in paths name nothing:
# a Python that brings its own OpenSSL, such as a relocatable build, does not know the distribution.
_BUNDLES = (
    "/etc/ssl/certs/ca-certificates.crt",  # Debian, Ubuntu, Alpine
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",  # Fedora, RHEL
    "/etc/pki/tls/certs/ca-bundle.crt",  # older Fedora, RHEL
    "/etc/ssl/ca-bundle.pem",  # SUSE
    "/etc/ssl/cert.pem",  # Arch, BSD
)

_MINIMUM_VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}

# More than any service has profiles; what exceeds it are leftovers of rotated certificates.
_CACHE_SIZE = 32


class FileVersion(NamedTuple):
    """A file and which version of it was on disk; a missing file is a version of its own.

    The inode tells apart what ``mv`` and Kubernetes' swapped symbolic links put in its place.
    """

    path: Path
    inode: int
    modified: int
    size: int

    @classmethod
    def of(cls, path: Path) -> FileVersion:
        """Return what is at *path* now. One ``stat`` that follows symbolic links; never raises."""
        try:
            stat = path.stat()
        except OSError:
            return cls(path, -1, -1, -1)
        return cls(path, stat.st_ino, stat.st_mtime_ns, stat.st_size)


class TlsProfile(NamedTuple):
    """What distinguishes one SSL context from another; the key under which it is shared.

    Args:
        verify: Whether the peer's chain and name are verified.
        trust: Where the trust anchors come from.
        min_version: Oldest TLS version to speak.
        ca_file: Trust anchors, for ``trust="file"``.
        cert_file: Client certificate with its chain, PEM.
        key_file: Its private key; ``None`` when *cert_file* holds the key too.
        key_password: Decrypts the key.
    """

    verify: bool
    trust: Literal["system", "certifi", "file"]
    min_version: Literal["1.2", "1.3"]
    ca_file: FileVersion | None = None
    cert_file: FileVersion | None = None
    key_file: FileVersion | None = None
    key_password: SecretStr | None = None

    @classmethod
    def of(cls, settings: TlsSettings, *, client_certificate: bool = True) -> TlsProfile:
        """Return the profile of *settings* with the versions that their files have now.

        Args:
            settings: The TLS section of one client.
            client_certificate: ``False`` for peers that must not be offered it: proxies, and
                origins other than the client's own.
        """
        certified = client_certificate and settings.cert_file is not None
        return cls(
            verify=settings.verify,
            trust=settings.trust,
            min_version=settings.min_version,
            ca_file=_version(settings.ca_file),
            cert_file=_version(settings.cert_file) if certified else None,
            key_file=_version(settings.key_file) if certified else None,
            key_password=settings.key_password if certified else None,
        )


def _version(path: Path | None) -> FileVersion | None:
    return None if path is None else FileVersion.of(path)


def build_context(profile: TlsProfile) -> ssl.SSLContext:
    """Build an SSL context. Blocks for tens of milliseconds: call it off the event loop.

    ``ssl.create_default_context`` is avoided: it honours ``SSLKEYLOGFILE``, so an environment
    variable would write the session keys of every connection to a file.

    Args:
        profile: What the context is for.

    Returns:
        A client context that verifies as *profile* says and offers only ``http/1.1``.

    Raises:
        ConfigurationError: If a file is missing, unreadable or not what its variable asks for, or
            if there are no trust anchors. All problems at once, none with a file's content.
    """
    violations: list[str] = []
    context = _new_context(profile)
    context.minimum_version = _MINIMUM_VERSIONS[profile.min_version]
    context.options |= ssl.OP_NO_COMPRESSION
    context.set_alpn_protocols(["http/1.1"])
    if profile.verify:
        violations += _load_trust(context, profile)
    else:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if profile.cert_file is not None:
        violations += _load_client_certificate(context, profile, profile.cert_file.path)
    if violations:
        raise ConfigurationError(violations)
    return context


def _new_context(profile: TlsProfile) -> ssl.SSLContext:
    if profile.verify and profile.trust == "system" and _HAS_PLATFORM_VERIFIER:
        import truststore  # noqa: PLC0415 - only these platforms need it, the others save the import

        return truststore.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def _load_trust(context: ssl.SSLContext, profile: TlsProfile) -> list[str]:
    if profile.trust == "system":
        return [] if _HAS_PLATFORM_VERIFIER else _load_system_anchors(context)
    if profile.trust == "certifi":
        import certifi  # noqa: PLC0415 - the default trust does not need it

        context.load_verify_locations(cafile=certifi.where())
        return []
    if profile.ca_file is None:
        return ["TLS__CA_FILE: not set, but TLS__TRUST is file; name a PEM file with the CAs"]
    path = profile.ca_file.path
    if problem := _unreadable(path):
        return [f"TLS__CA_FILE: {problem}"]
    try:
        context.load_verify_locations(cafile=path)
    except ssl.SSLError:
        return ["TLS__CA_FILE: the file holds no readable PEM certificate"]
    return []


def _load_system_anchors(context: ssl.SSLContext) -> list[str]:
    # OpenSSL's own paths come first: they honour SSL_CERT_FILE and SSL_CERT_DIR.
    paths = ssl.get_default_verify_paths()
    context.set_default_verify_paths()
    if context.cert_store_stats()["x509"] or _is_hashed_directory(paths.capath):
        return []
    for bundle in _BUNDLES:
        with contextlib.suppress(OSError):  # missing, unreadable or without a certificate
            context.load_verify_locations(cafile=bundle)
            return []
    return [
        (
            "TLS__TRUST: system, but this system has no CA certificates; "
            "install its ca-certificates package or set TLS__TRUST=certifi"
        )
    ]


def _is_hashed_directory(path: str | None) -> bool:
    """Tell whether OpenSSL finds certificates by name in *path*, which it reads lazily."""
    return path is not None and any(Path(path).glob("????????.[0-9]"))


def _load_client_certificate(
    context: ssl.SSLContext, profile: TlsProfile, cert_path: Path
) -> list[str]:
    key_path = cert_path if profile.key_file is None else profile.key_file.path
    key_variable = "TLS__CERT_FILE" if profile.key_file is None else "TLS__KEY_FILE"
    missing = []
    if problem := _unreadable(cert_path):
        missing.append(f"TLS__CERT_FILE: {problem}")
    if profile.key_file is not None and (problem := _unreadable(key_path)):
        missing.append(f"TLS__KEY_FILE: {problem}")
    if missing:
        return missing

    key_is_encrypted = False

    def password() -> str:
        # A callback, always: it tells whether the key is encrypted, and without one OpenSSL
        # would ask on the terminal and wait.
        nonlocal key_is_encrypted
        key_is_encrypted = True
        return "" if profile.key_password is None else profile.key_password.get_secret_value()

    try:
        context.load_cert_chain(cert_path, key_path, password)
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            return [f"{key_variable}: the private key does not belong to TLS__CERT_FILE"]
        if key_is_encrypted and profile.key_password is None:
            return [f"TLS__KEY_PASSWORD: not set, but the key in {key_variable} is encrypted"]
        if key_is_encrypted:
            return [f"TLS__KEY_PASSWORD: does not decrypt the key in {key_variable}"]
        if b"-----BEGIN CERTIFICATE-----" not in cert_path.read_bytes():
            return ["TLS__CERT_FILE: the file holds no PEM certificate"]
        return [f"{key_variable}: the file holds no readable PEM private key"]
    except ValueError:
        return ["TLS__KEY_PASSWORD: too long, OpenSSL takes at most 1024 bytes"]
    return []


def _unreadable(path: Path) -> str | None:
    """Return what keeps *path* from being read, or ``None``."""
    try:
        with path.open("rb") as file:
            file.read(1)
    except FileNotFoundError:
        return "the file does not exist"
    except PermissionError:
        return "the file may not be read by this user"
    except IsADirectoryError:
        return "a directory, not a file"
    except OSError as error:
        return f"the file cannot be read ({error.strerror})"
    return None


class _ContextCache:
    """Contexts by profile, the least recently used leaving first. Safe to use from any thread."""

    def __init__(self) -> None:
        self._contexts: dict[TlsProfile, ssl.SSLContext] = {}
        # Two locks: a look-up on the event loop must not wait for a build in a thread.
        self._access = threading.Lock()
        self._build = threading.Lock()

    def look_up(self, profile: TlsProfile) -> ssl.SSLContext | None:
        with self._access:
            context = self._contexts.pop(profile, None)
            if context is not None:
                self._contexts[profile] = context
            return context

    def get(self, profile: TlsProfile) -> ssl.SSLContext:
        context = self.look_up(profile)
        if context is not None:
            return context
        with self._build:
            context = self.look_up(profile)
            if context is None:
                context = build_context(profile)
                with self._access:
                    self._contexts[profile] = context
                    if len(self._contexts) > _CACHE_SIZE:
                        del self._contexts[next(iter(self._contexts))]
        return context


_CACHE = _ContextCache()


async def load_contexts(profiles: Iterable[TlsProfile]) -> None:
    """Build, in a thread, the contexts of *profiles* that do not exist yet.

    Args:
        profiles: What :func:`context` will be asked for.

    Raises:
        ConfigurationError: If any cannot be built; it names the problems of all of them.
    """
    missing = [profile for profile in dict.fromkeys(profiles) if _CACHE.look_up(profile) is None]
    if missing:
        await asyncio.to_thread(_load, missing)


def _load(profiles: list[TlsProfile]) -> None:
    violations: dict[str, None] = {}
    for profile in profiles:
        try:
            _CACHE.get(profile)
        except ConfigurationError as error:
            violations |= dict.fromkeys(error.violations)
    if violations:
        raise ConfigurationError(tuple(violations))


def context(profile: TlsProfile) -> ssl.SSLContext:
    """Return the process's one context for *profile*.

    A look-up after :func:`load_contexts`; otherwise it builds the context, which blocks.

    Raises:
        ConfigurationError: If it has to be built and cannot be.
    """
    return _CACHE.get(profile)
