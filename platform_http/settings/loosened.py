"""Which settings make a client less safe than the defaults."""

from __future__ import annotations

from ipaddress import ip_address
from typing import TYPE_CHECKING

from yarl import URL

if TYPE_CHECKING:
    from platform_http.settings.model import ClientSettings
    from platform_http.settings.secret_url import SecretUrl


def loosened(settings: ClientSettings) -> list[str]:
    """Return the names of those that apply to the client with *settings*."""
    is_loosened = {
        "TLS__VERIFY": not settings.tls.verify,
        "TLS__ALLOW_INSECURE": settings.tls.verify and settings.tls.allow_insecure,
        "COOKIES__UNSAFE": settings.cookies.enabled and settings.cookies.unsafe,
        "EGRESS__MODE": settings.egress.mode == "off",
        "EGRESS__ENFORCE": settings.egress.mode != "off" and not settings.egress.enforce,
        "EGRESS__TRUST_PROXY": settings.egress.mode == "public" and settings.egress.trust_proxy,
        "REDIRECTS__MODE": settings.redirects.mode == "follow",
        "BASE_URL": settings.auth.scheme != "none" and _is_plain(settings.base_url),
        "AUTH__TOKEN_URL": _is_plain(settings.auth.token_url),
        "WEB__STATUS_HOST": _shows_status(settings),
    }
    return [setting for setting, is_loose in is_loosened.items() if is_loose]


def _shows_status(settings: ClientSettings) -> bool:
    """Tell whether more than the machine itself may read the status page, which is one for all."""
    web = settings.web
    is_open = web.status_page and not ip_address(web.status_host).is_loopback
    return is_open and settings.name == "default"


def _is_plain(url: SecretUrl | None) -> bool:
    """Tell whether anybody on the way to *url* can read credentials."""
    if url is None:
        return False
    parsed = URL(url.get_secret_value())
    host = parsed.host or ""
    is_loopback = host in ("localhost", "::1") or host.startswith("127.")
    return parsed.scheme == "http" and not is_loopback
