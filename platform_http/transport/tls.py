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


class _Named:
    """Gives a context the name under which aiohttp's messages show it: not its address."""

    def __repr__(self) -> str:
        return "default"


class _Context(_Named, ssl.SSLContext):
    """A context of ours that OpenSSL verifies with."""


def _new_context(profile: TlsProfile) -> ssl.SSLContext:
    if profile.verify and profile.trust == "system" and _HAS_PLATFORM_VERIFIER:
        import truststore  # noqa: PLC0415 - only these platforms need it, the others save the import

        named = type("_PlatformContext", (_Named, truststore.SSLContext), {})
        context: ssl.SSLContext = named(ssl.PROTOCOL_TLS_CLIENT)
        return context
    return _Context(ssl.PROTOCOL_TLS_CLIENT)


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


class Loaded(NamedTuple):
    """What was built for a profile.

    Args:
        context: To make connections with.
        expires: End of the client certificate that it offers, seconds since the epoch; ``None``
            without one.
    """

    context: ssl.SSLContext
    expires: float | None


def _build(profile: TlsProfile) -> Loaded:
    context = build_context(profile)
    expires = None
    if profile.cert_file is not None:
        from platform_http.transport.certificates import Certificate  # noqa: PLC0415 - seldom needed

        # OpenSSL has just read the file, but it may have changed or hold another kind of PEM.
        with contextlib.suppress(OSError, ValueError):
            pem = profile.cert_file.path.read_text("utf-8", "replace")
            expires = Certificate.first_of(pem).expires
    if changed := _changed(profile):
        # It may hold what another version does, and must not be shared as this one.
        raise ConfigurationError(changed)
    return Loaded(context, expires)


def _changed(profile: TlsProfile) -> list[str]:
    """Name the files that are no longer at the version that *profile* says."""
    files = {
        "TLS__CA_FILE": profile.ca_file,
        "TLS__CERT_FILE": profile.cert_file,
        "TLS__KEY_FILE": profile.key_file,
    }
    return [
        f"{variable}: the file is being written; try again when it is complete"
        for variable, file in files.items()
        if file is not None and FileVersion.of(file.path) != file
    ]


class _ContextCache:
    """Contexts by profile, the least recently used leaving first. Safe to use from any thread."""

    def __init__(self) -> None:
        self._loaded: dict[TlsProfile, Loaded] = {}
        # Two locks: a look-up on the event loop must not wait for a build in a thread.
        self._access = threading.Lock()
        self._building = threading.Lock()

    def look_up(self, profile: TlsProfile) -> Loaded | None:
        with self._access:
            loaded = self._loaded.pop(profile, None)
            if loaded is not None:
                self._loaded[profile] = loaded
            return loaded

    def get(self, profile: TlsProfile) -> Loaded:
        loaded = self.look_up(profile)
        if loaded is not None:
            return loaded
        with self._building:
            loaded = self.look_up(profile)
            if loaded is None:
                loaded = _build(profile)
                with self._access:
                    self._loaded[profile] = loaded
                    if len(self._loaded) > _CACHE_SIZE:
                        del self._loaded[next(iter(self._loaded))]
        return loaded


_CACHE = _ContextCache()


async def load_contexts(profiles: Iterable[TlsProfile]) -> dict[TlsProfile, Loaded]:
    """Return the process's one context for each of *profiles*.

    Those that do not exist yet are built in a thread.

    Raises:
        ConfigurationError: If any cannot be built; it names the problems of all of them.
    """
    loaded: dict[TlsProfile, Loaded] = {}
    missing: list[TlsProfile] = []
    for profile in dict.fromkeys(profiles):
        found = _CACHE.look_up(profile)
        if found is None:
            missing.append(profile)
        else:
            loaded[profile] = found
    return loaded | await asyncio.to_thread(load, missing) if missing else loaded


def load(profiles: Iterable[TlsProfile]) -> dict[TlsProfile, Loaded]:
    """Do the same here and now. Blocks for tens of milliseconds for each that has to be built.

    Raises:
        ConfigurationError: As :func:`load_contexts`.
    """
    loaded: dict[TlsProfile, Loaded] = {}
    violations: dict[str, None] = {}
    for profile in profiles:
        try:
            loaded[profile] = _CACHE.get(profile)
        except ConfigurationError as error:
            violations |= dict.fromkeys(error.violations)
    if violations:
        raise ConfigurationError(tuple(violations))
    return loaded
