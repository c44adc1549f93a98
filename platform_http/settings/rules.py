"""What must hold between settings. Only values that were set can contradict each other."""

from __future__ import annotations

import importlib.util
import math
from dataclasses import dataclass
from ipaddress import ip_address
from types import MappingProxyType
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from platform_http.settings.variables import variable_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from platform_http.settings.model import Profile

OF_THE_PROCESS = ("web.status_page", "web.status_host", "web.status_port")
"""Paths that no client has a value of its own for."""


@dataclass(frozen=True, slots=True)
class Statement:
    """What was said about one client.

    Args:
        values: Values that were set, and defaults elsewhere.
        labels: What an error calls each path that was set.
        client: The client's name, or ``None`` for the default of all.
        own: Paths that were set for this client alone.
    """

    values: Profile
    labels: Mapping[str, str]
    client: str | None = None
    own: frozenset[str] = frozenset()

    def has(self, *paths: str) -> bool:
        """Tell whether every one of *paths* was set."""
        return all(path in self.labels for path in paths)

    def label(self, path: str) -> str:
        """Return what an error calls *path*: as it was set, or the variable that would set it."""
        if path in self.labels:
            return self.labels[path]
        section = path.partition(".")[0]
        is_own = any(other.partition(".")[0] == section for other in self.own)
        return variable_name(path, self.client if is_own else None)


def violations(statement: Statement) -> Iterator[str]:
    """Return a line for every contradiction in *statement*."""
    for rule in RULES:
        yield from rule(statement)


def timeouts_nest(said: Statement) -> Iterator[str]:
    """Pool + connect < attempt <= total; a timeout that is off takes no part."""
    timeout = said.values.timeout
    limits_attempt = said.has("timeout.attempt")
    if not (limits_attempt or said.has("timeout.total")):
        return
    total, attempt = said.label("timeout.total"), said.label("timeout.attempt")
    if said.has("timeout.attempt", "timeout.total") and timeout.total < timeout.attempt < math.inf:
        yield f"{attempt} is longer than {total}; lower the first or raise the second"
    # With no attempt timeout set there is one that fits, unless the total leaves no room for it.
    limit = timeout.attempt if limits_attempt else timeout.total
    parts = {"timeout.pool": timeout.pool, "timeout.connect": timeout.connect}
    parts = {path: value for path, value in parts.items() if said.has(path) and value < math.inf}
    if parts and sum(parts.values()) >= limit:
        names = " + ".join(map(said.label, parts))
        yield (
            f"{names} must be less than {attempt if limits_attempt else total}; "
            "lower the first or raise the second"
        )


def queue_fits_into_call(said: Statement) -> Iterator[str]:
    """Queue timeout <= total."""
    path, total = "concurrency.queue_timeout", said.values.timeout.total
    if said.has(path, "timeout.total") and total < said.values.concurrency.queue_timeout < math.inf:
        yield (
            f"{said.label(path)} is longer than {said.label('timeout.total')}; "
            "lower the first or raise the second"
        )


def window_sees_attempts(said: Statement) -> Iterator[str]:
    """Breaker window >= 2 * attempt timeout."""
    path, attempt = "circuit_breaker.window", said.values.timeout.attempt
    if (
        said.has(path, "timeout.attempt")
        and said.values.circuit_breaker.window < 2 * attempt < math.inf
    ):
        yield (
            f"{said.label(path)} is shorter than twice {said.label('timeout.attempt')}; "
            "raise the first or lower the second"
        )


def hedge_fits_into_call(said: Statement) -> Iterator[str]:
    """A fixed hedge delay + attempt <= total."""
    delay, timeout = said.values.hedging.delay, said.values.timeout
    if delay == "p95" or not said.has("hedging.delay", "timeout.total"):
        return
    limits_attempt = said.has("timeout.attempt") and timeout.attempt < math.inf
    if delay + (timeout.attempt if limits_attempt else 0.0) > timeout.total:
        added = f" + {said.label('timeout.attempt')}" if limits_attempt else ""
        yield (
            f"{said.label('hedging.delay')}{added} is longer than {said.label('timeout.total')}; "
            "lower the first or raise the second"
        )


def concurrency_fits_into_pool(said: Statement) -> Iterator[str]:
    """Concurrency limit <= pool limits, of which 0 is unlimited."""
    path, pool = "concurrency.limit", said.values.pool
    limits = {"pool.limit": pool.limit, "pool.limit_per_host": pool.limit_per_host}
    for pool_path, limit in limits.items():
        if said.has(path, pool_path) and 0 < limit < said.values.concurrency.limit:
            yield (
                f"{said.label(path)} is larger than {said.label(pool_path)}; "
                "lower the first or raise the second"
            )


def slow_calls_are_told_by_both(said: Statement) -> Iterator[str]:
    """Slow-call duration and ratio, both or neither."""
    breaker = said.values.circuit_breaker
    paths = ["circuit_breaker.slow_call_duration", "circuit_breaker.slow_call_ratio"]
    if (breaker.slow_call_duration is None) != (breaker.slow_call_ratio is None):
        there, missing = paths if breaker.slow_call_ratio is None else reversed(paths)
        yield f"{said.label(there)} has no effect alone; set {said.label(missing)} as well"


def shared_quota_has_fallback(said: Statement) -> Iterator[str]:
    """A redis store needs a fallback rate."""
    if _is_shared(said) and said.values.rate_limit.fallback_rate is None:
        yield (
            f"{said.label('rate_limit.store')} is shared and may be away; "
            f"set {said.label('rate_limit.fallback_rate')} to the rate of each replica until then"
        )


def _is_shared(said: Statement) -> bool:
    scheme, _, _ = said.values.rate_limit.store.get_secret_value().partition(":")
    return scheme.lower() in {"redis", "rediss"}


def waits_stay_below_their_maximum(said: Statement) -> Iterator[str]:
    """A first wait is not longer than the longest one."""
    retry, breaker = said.values.retry, said.values.circuit_breaker
    for path, value, maximum_path, maximum in (
        ("retry.backoff_initial", retry.backoff_initial, "retry.backoff_max", retry.backoff_max),
        (
            "retry.backoff_throttled",
            retry.backoff_throttled,
            "retry.backoff_max",
            retry.backoff_max,
        ),
        (
            "circuit_breaker.open_duration",
            breaker.open_duration,
            "circuit_breaker.open_duration_max",
            breaker.open_duration_max,
        ),
    ):
        if said.has(path, maximum_path) and value > maximum:
            yield (
                f"{said.label(path)} is longer than {said.label(maximum_path)}; "
                "lower the first or raise the second"
            )


def insecure_is_meant(said: Statement) -> Iterator[str]:
    """Verification is off only where that was said twice."""
    tls = said.values.tls
    if not tls.verify and not tls.allow_insecure:
        yield (
            f"{said.label('tls.verify')} switches certificate checks off; turn them on, or set "
            f"{said.label('tls.allow_insecure')} to true if that is meant"
        )


def trust_has_its_file(said: Statement) -> Iterator[str]:
    """TRUST=file and CA_FILE, both or neither."""
    tls = said.values.tls
    if not said.has("tls.trust"):
        return
    trust, ca_file = said.label("tls.trust"), said.label("tls.ca_file")
    if tls.trust == "file" and tls.ca_file is None:
        yield f"{trust} is file without a file; set {ca_file}"
    if tls.trust != "file" and tls.ca_file is not None:
        yield f"{ca_file} has no effect unless {trust} is file; set that, or set this to none"


def key_has_its_certificate(said: Statement) -> Iterator[str]:
    """A key and its password need a client certificate."""
    tls = said.values.tls
    if tls.cert_file is None:
        for path, value in (
            ("tls.key_file", tls.key_file),
            ("tls.key_password", tls.key_password),
        ):
            # A certificate that was switched off for one client takes the default key with it.
            if value is not None and not said.has("tls.cert_file"):
                yield (
                    f"{said.label(path)} has no effect without a certificate; "
                    f"set {said.label('tls.cert_file')} or remove it"
                )


def proxy_credentials_have_their_proxy(said: Statement) -> Iterator[str]:
    """Proxy credentials need a proxy, and a password a user name."""
    proxy = said.values.proxy
    has_proxy = proxy.url is not None or proxy.from_env
    for path, value in (("proxy.username", proxy.username), ("proxy.password", proxy.password)):
        # A proxy that was switched off for one client takes the default credentials with it.
        if value is not None and not has_proxy and not said.has("proxy.url"):
            yield (
                f"{said.label(path)} has no effect without a proxy; "
                f"set {said.label('proxy.url')} or remove it"
            )


def extras_are_installed(said: Statement) -> Iterator[str]:
    """What needs a library that is not always there."""
    proxy, dns = said.values.proxy, said.values.dns
    serializer = said.values.json_.serializer
    is_socks = proxy.url is not None and proxy.url.get_secret_value().lower().startswith("socks5:")
    for path, is_needed, modules, extra in (
        ("proxy.url", is_socks, ("python_socks",), "socks"),
        ("dns.nameservers", bool(dns.nameservers), ("aiodns",), "dns"),
        ("rate_limit.store", _is_shared(said), ("limits", "redis"), "redis"),
        ("json.serializer", serializer != "json", (serializer,), "speedups"),
    ):
        if not is_needed:
            continue
        missing = [module for module in modules if importlib.util.find_spec(module) is None]
        if missing:
            yield (
                f"{said.label(path)} needs the library {missing[0]}; install platform-http[{extra}]"
            )


def guard_sees_addresses(said: Statement) -> Iterator[str]:
    """A proxy resolves names itself, out of the sight of the public egress mode."""
    egress, proxy = said.values.egress, said.values.proxy
    has_proxy = proxy.url is not None or proxy.from_env
    if egress.mode == "public" and has_proxy and not egress.trust_proxy:
        yield (
            f"{said.label('egress.mode')} is public, but behind a proxy only the proxy sees "
            f"addresses; set {said.label('egress.trust_proxy')} to true if it checks them"
        )


def egress_lists_have_their_mode(said: Statement) -> Iterator[str]:
    """An allow-list and its mode need each other, and what is off needs no list."""
    egress, mode = said.values.egress, said.label("egress.mode")
    if egress.mode == "allowlist" and not (egress.allowed_hosts or egress.allowed_networks):
        hosts = said.label("egress.allowed_hosts")
        yield f"{mode} is allowlist without a list; set {hosts} to the hosts that are meant"
    for name in ("allowed_hosts", "denied_hosts", "allowed_ports", "allowed_networks"):
        path = f"egress.{name}"
        # A mode that was chosen for one client alone leaves the lists of all behind.
        is_left_behind = "egress.mode" in said.own and path not in said.own
        if is_left_behind or not getattr(egress, name):
            continue
        if egress.mode == "off":
            yield (
                f"{said.label(path)} has no effect while {mode} is off; "
                "remove it or choose another mode"
            )
        elif name == "allowed_hosts" and egress.mode != "allowlist":
            yield (
                f"{said.label(path)} has no effect unless {mode} is allowlist; "
                "set that or remove this"
            )


def credentials_are_complete(said: Statement) -> Iterator[str]:
    """Every authentication scheme has what it needs."""
    auth = said.values.auth
    needs: dict[str, tuple[str, ...]] = {
        "basic": ("username", "password"),
        "digest": ("username", "password"),
        "oauth2_client_credentials": ("token_url", "client_id", "client_secret"),
    }
    scheme = said.label("auth.scheme")
    for field in needs.get(auth.scheme, ()):
        if getattr(auth, field) is None:
            yield f"{scheme} is {auth.scheme}; set {said.label(f'auth.{field}')}"
    if auth.scheme == "bearer" and (auth.token is None) == (auth.token_file is None):
        token, token_file = said.label("auth.token"), said.label("auth.token_file")
        yield f"{scheme} is bearer; set either {token} or {token_file}"


_CREDENTIALS: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        "username": frozenset({"basic", "digest"}),
        "password": frozenset({"basic", "digest"}),
        "token": frozenset({"bearer"}),
        "token_file": frozenset({"bearer"}),
        "token_url": frozenset({"oauth2_client_credentials"}),
        "client_id": frozenset({"oauth2_client_credentials"}),
        "client_secret": frozenset({"oauth2_client_credentials"}),
        "scope": frozenset({"oauth2_client_credentials"}),
        "audience": frozenset({"oauth2_client_credentials"}),
    }
)


def credentials_have_their_scheme(said: Statement) -> Iterator[str]:
    """What belongs to another scheme is a mistake, and nobody would notice it."""
    auth = said.values.auth
    for name, schemes in _CREDENTIALS.items():
        path = f"auth.{name}"
        # A scheme that was chosen for one client alone leaves the credentials of all behind.
        is_left_behind = "auth.scheme" in said.own and path not in said.own
        if getattr(auth, name) is None or auth.scheme in schemes or is_left_behind:
            continue
        yield (
            f"{said.label(path)} has no effect unless {said.label('auth.scheme')} is "
            f"{' or '.join(sorted(schemes))}; set that or remove this"
        )


def credentials_can_be_presented(said: Statement) -> Iterator[str]:
    """What the schemes cannot carry would fail every request."""
    auth = said.values.auth
    if auth.username is not None and ":" in auth.username:
        yield f"{said.label('auth.username')} holds a colon, which no user name can; correct it"
    token = "" if auth.token is None else auth.token.get_secret_value()
    if not token.isascii() or not token.isprintable() or " " in token:
        yield (
            f"{said.label('auth.token')} holds characters that no token has, such as white space; "
            "correct it"
        )
    if auth.token_url is not None and "@" in urlsplit(auth.token_url.get_secret_value()).netloc:
        yield (
            f"{said.label('auth.token_url')} holds credentials; move them to "
            f"{said.label('auth.client_id')} and {said.label('auth.client_secret')}"
        )


def credentials_have_one_source(said: Statement) -> Iterator[str]:
    """A request has one ``Authorization``, and a provider leaves the caller's own alone."""
    values, scheme = said.values, said.label("auth.scheme")
    if values.auth.scheme == "none":
        return
    if any(name.lower() == "authorization" for name in values.headers):
        yield (
            f"{said.label('headers')} holds Authorization, which {scheme} provides; "
            "remove it there or set the scheme to none"
        )
    base_url = values.base_url
    if base_url is not None and "@" in urlsplit(base_url.get_secret_value()).netloc:
        yield (
            f"{said.label('base_url')} holds credentials, which {scheme} provides; "
            "remove them there or set the scheme to none"
        )


def status_page_is_one(said: Statement) -> Iterator[str]:
    """The status page is of the process, and its address needs the page."""
    web = said.values.web
    for path in OF_THE_PROCESS:
        if path in said.own:
            yield (
                f"{said.label(path)} is set for one client, but the page shows them all; "
                f"set {variable_name(path)}"
            )
    for path, is_elsewhere in (
        ("web.status_host", web.status_host != "127.0.0.1"),
        ("web.status_port", web.status_port is not None),
    ):
        if is_elsewhere and not web.status_page:
            yield (
                f"{said.label(path)} has no effect without the page; "
                f"set {said.label('web.status_page')} to true or remove it"
            )
    if not web.status_page or web.status_port is not None:
        return
    host = ip_address(web.status_host)
    if not (host.is_loopback or host.is_unspecified):
        yield (
            f"{said.label('web.status_host')} is one address of the application's port; "
            f"set {said.label('web.status_port')}, or this to 0.0.0.0 for every peer"
        )


RULES: tuple[Callable[[Statement], Iterator[str]], ...] = (
    timeouts_nest,
    queue_fits_into_call,
    window_sees_attempts,
    hedge_fits_into_call,
    concurrency_fits_into_pool,
    slow_calls_are_told_by_both,
    shared_quota_has_fallback,
    waits_stay_below_their_maximum,
    insecure_is_meant,
    trust_has_its_file,
    key_has_its_certificate,
    proxy_credentials_have_their_proxy,
    extras_are_installed,
    guard_sees_addresses,
    egress_lists_have_their_mode,
    credentials_are_complete,
    credentials_have_their_scheme,
    credentials_can_be_presented,
    credentials_have_one_source,
    status_page_is_one,
)
