"""Which proxy a destination is reached through, if any.

aiohttp's own ``trust_env`` is not used: it ignores ``https://`` proxies and ``ALL_PROXY`` and
then connects directly, and its ``NO_PROXY`` knows neither networks nor ports. Here a proxy that
cannot be used refuses at start-up; nothing falls back to a direct connection.
"""

from __future__ import annotations

import importlib.util
import ipaddress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import aiohttp
from yarl import URL

from platform_http.errors import ConfigurationError
from platform_http.transport.host_port import split_port

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from platform_http.settings import ProxySettings

_DEFAULT_PORTS = {"http": 80, "https": 443, "socks5": 1080}

# Destinations come from redirects too, so their number is not the service's to choose.
_CACHE_SIZE = 1024


class _Name(NamedTuple):
    name: str
    subdomains_only: bool
    port: int | None

    def matches(self, host: str, port: int) -> bool:
        if self.port not in {None, port}:
            return False
        return host.endswith(f".{self.name}") or (host == self.name and not self.subdomains_only)


class _Network(NamedTuple):
    network: ipaddress.IPv4Network | ipaddress.IPv6Network
    port: int | None

    def matches(self, address: ipaddress.IPv4Address | ipaddress.IPv6Address, port: int) -> bool:
        return self.port in {None, port} and address in self.network


class NoProxy:
    """Which destinations are reached directly.

    ===================================  ========================================================
    entry                                matches
    ===================================  ========================================================
    ``*``                                everything
    ``example.com``                      that name and every name below it
    ``.example.com``, ``*.example.com``  every name below it, not the name itself
    ``192.0.2.7``, ``2001:db8::7``       that address
    ``192.0.2.0/24``, ``2001:db8::/32``  every address in that network
    ``example.com:8443``, ``[::1]:80``   as without the port, on that port only
    ===================================  ========================================================

    Case, a trailing dot and the spelling of an internationalised name make no difference.
    Addresses and networks match destinations that are written as an address: no name is resolved
    to find out. Loopback is nothing special.

    Args:
        entries: As above; empty ones are ignored.
        variable: Where they come from, for the error message.

    Raises:
        ConfigurationError: If an entry is none of the above.

    Source: the conventions of Go's ``httpproxy``, which curl shares but for the leading dot.
    """

    def __init__(self, entries: Iterable[str], *, variable: str = "PROXY__NO_PROXY") -> None:
        self._everything = False
        self._names: list[_Name] = []
        self._networks: list[_Network] = []
        violations = []
        for number, entry in enumerate(entries, start=1):
            try:
                self._add(entry.strip())
            except ValueError:
                violations.append(
                    f"{variable}: entry {number} is neither *, a host name, .suffix, an address "
                    "nor a network, with or without a :port"
                )
        if violations:
            raise ConfigurationError(violations)

    def _add(self, entry: str) -> None:
        if entry == "*":
            self._everything = True
        elif "/" in entry:
            self._networks.append(_Network(ipaddress.ip_network(entry, strict=False), None))
        elif entry:
            host, port = split_port(entry)
            if address := _address(host):
                self._networks.append(_Network(ipaddress.ip_network(address), port))
            else:
                below = host.startswith((".", "*."))
                name = host.partition(".")[2] if below else host
                self._names.append(_Name(_canonical_name(name), below, port))

    def matches(self, host: str, port: int) -> bool:
        """Tell whether *host* (a name or an address, no brackets) is reached directly on *port*."""
        if self._everything:
            return True
        if address := _address(host):
            return any(entry.matches(address, port) for entry in self._networks)
        if not self._names:
            return False
        try:
            name = _canonical_name(host)
        except ValueError:
            return False
        return any(entry.matches(name, port) for entry in self._names)


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """Return the address that *host* spells, if it does, a v4-mapped one as IPv4."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
        return address.ipv4_mapped
    return address


def _canonical_name(name: str) -> str:
    """Return *name* as aiohttp sends it: lower-case, IDNA, without the trailing dot.

    Raises:
        ValueError: If it is not a host name.
    """
    canonical = URL.build(scheme="http", host=name.rstrip(".")).raw_host
    if not canonical or not set(canonical).isdisjoint("*:, "):
        raise ValueError("not a host name")
    return canonical


@dataclass(frozen=True, slots=True)
class ProxyChoice:
    """A proxy, and the credentials that only it may see.

    Args:
        url: Scheme (``http``, ``https`` or ``socks5``), host and port; never userinfo.
        auth: Sent to the proxy alone: ``Proxy-Authorization``, or the SOCKS5 sub-negotiation.
    """

    url: URL
    auth: aiohttp.BasicAuth | None = field(default=None, repr=False)


class ProxyResolver:
    """Chooses the proxy of each destination.

    Args:
        http: For ``http`` and ``ws`` destinations; ``None`` is direct.
        https: For ``https`` and ``wss`` destinations.
        no_proxy: Exceptions to both.
    """

    def __init__(
        self, http: ProxyChoice | None, https: ProxyChoice | None, no_proxy: NoProxy
    ) -> None:
        self._http = http
        self._https = https
        self._no_proxy = no_proxy
        self._choices: dict[tuple[str, str, int], ProxyChoice | None] = {}

    @classmethod
    def of(cls, settings: ProxySettings, environ: Mapping[str, str]) -> ProxyResolver:
        """Return the resolver that *settings* ask for.

        ``PROXY__URL`` beats the environment, and so does ``PROXY__NO_PROXY`` unless it is empty.
        ``PROXY__USERNAME`` and ``PROXY__PASSWORD`` beat the userinfo of whichever URL is used.
        ``PROXY__FROM_ENV`` reads ``HTTP_PROXY``, ``HTTPS_PROXY``, ``ALL_PROXY`` for what those two
        leave open, and ``NO_PROXY``. The lower-case name wins, an empty value counts as unset, and
        a value without a scheme means ``http``.

        Args:
            settings: The proxy section of one client.
            environ: Read only with ``PROXY__FROM_ENV``.

        Raises:
            ConfigurationError: If a proxy cannot be used or a NO_PROXY entry cannot be understood.
        """
        if not settings.from_env:
            environ = {}
        http: ProxyChoice | None
        https: ProxyChoice | None
        if settings.url is not None:
            http = https = _choice("PROXY__URL", settings.url.get_secret_value(), settings)
        else:
            http = _from_environment(("http_proxy", "all_proxy"), environ, settings)
            https = _from_environment(("https_proxy", "all_proxy"), environ, settings)
        if settings.no_proxy:
            return cls(http, https, NoProxy(settings.no_proxy))
        variable = _variable("no_proxy", environ) or "NO_PROXY"
        entries = environ.get(variable, "").replace(",", " ").split()
        return cls(http, https, NoProxy(entries, variable=variable))

    @property
    def addresses(self) -> frozenset[tuple[str, int]]:
        """Host and port of every proxy that may be chosen."""
        urls = [choice.url for choice in (self._http, self._https) if choice is not None]
        return frozenset((url.raw_host or "", url.port or 0) for url in urls)

    def choose(self, scheme: str, host: str, port: int) -> ProxyChoice | None:
        """Return the proxy for a destination, ``None`` to connect directly.

        Args:
            scheme: ``http``, ``https``, ``ws`` or ``wss``.
            host: A name or an address, without brackets.
            port: The destination's port.
        """
        destination = (scheme, host, port)
        try:
            return self._choices[destination]
        except KeyError:
            pass
        choice = self._https if scheme in {"https", "wss"} else self._http
        if choice is not None and self._no_proxy.matches(host, port):
            choice = None
        if len(self._choices) >= _CACHE_SIZE:
            del self._choices[next(iter(self._choices))]
        self._choices[destination] = choice
        return choice


def _variable(name: str, environ: Mapping[str, str]) -> str | None:
    """Return under which spelling of *name* the environment has a value, if any."""
    if environ.get(name):
        return name
    upper = name.upper()
    # In a CGI process HTTP_PROXY is the request header "Proxy" of whoever calls it (httpoxy).
    if upper == "HTTP_PROXY" and "REQUEST_METHOD" in environ:
        return None
    return upper if environ.get(upper) else None


def _from_environment(
    names: Iterable[str], environ: Mapping[str, str], settings: ProxySettings
) -> ProxyChoice | None:
    for name in names:
        if variable := _variable(name, environ):
            return _choice(variable, environ[variable], settings)
    return None


def _choice(variable: str, value: str, settings: ProxySettings) -> ProxyChoice:
    """Return the proxy that *value* names. No error repeats the value: it may hold a password."""
    try:
        url, user, password = _parse(value)
    except ValueError:
        raise ConfigurationError(
            [f"{variable}: not a proxy URL; write it as scheme://host:port"]
        ) from None
    if url.scheme not in _DEFAULT_PORTS:
        raise ConfigurationError(
            [f"{variable}: an unsupported kind of proxy; use an http, https or socks5 URL"]
        )
    if settings.username is not None:
        user = settings.username
    if settings.password is not None:
        password = settings.password.get_secret_value()
    if violations := _violations(variable, url.scheme, user, password):
        raise ConfigurationError(violations)
    return ProxyChoice(url, _basic_auth(user, password) if user or password else None)


def _parse(value: str) -> tuple[URL, str, str]:
    """Split a proxy URL into scheme, host and port, user name, and password.

    Raises:
        ValueError: If it is not a URL, has no host, or has a path, a query or a fragment.
    """
    url = URL(value if "://" in value else f"http://{value}")
    host, port = url.raw_host, url.explicit_port
    if not host or port == 0 or url.raw_path_qs not in {"", "/"} or url.raw_fragment:
        raise ValueError("not a proxy URL")
    # Resolution by the proxy, which curl spells socks5h, is the only kind on offer.
    scheme = "socks5" if url.scheme == "socks5h" else url.scheme
    address = URL.build(scheme=scheme, host=host, port=port or _DEFAULT_PORTS.get(scheme))
    return address, url.user or "", url.password or ""


def _violations(variable: str, scheme: str, user: str, password: str) -> list[str]:
    """Return why a proxy of this kind cannot be used with these credentials."""
    if scheme != "socks5":
        if ":" in user:
            return [f"{variable}: the proxy's user name contains a colon, which Basic cannot carry"]
        return []
    violations = []
    if importlib.util.find_spec("python_socks") is None:
        violations.append(f"{variable}: a socks5 proxy; install platform-http[socks]")
    if bool(user) != bool(password):
        violations.append(f"{variable}: socks5 takes both a user name and a password, or neither")
    if not (user + password).isascii() or max(len(user), len(password)) > 255:
        violations.append(f"{variable}: socks5 credentials are ASCII, at most 255 characters each")
    return violations


class _SilentAuth(aiohttp.BasicAuth):
    """Credentials that do not show in the repr of a connection: aiohttp puts it into messages."""

    def __repr__(self) -> str:
        return "BasicAuth(...)"


def _basic_auth(user: str, password: str) -> aiohttp.BasicAuth:
    # Calling the class warns that aiohttp 4 will not have it; `proxy_auth` takes nothing else.
    # UTF-8 is what RFC 7617 lets a server announce.
    return tuple.__new__(_SilentAuth, (user, password, "utf-8"))
