"""Which client each of the application's credential providers belongs to."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

from platform_http.errors import ConfigurationError
from platform_http.settings.variables import normalised, variable_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from platform_http.auth.custom import CredentialProvider
    from platform_http.settings import ClientSettings


def by_client(
    providers: Mapping[str, CredentialProvider], clients: Iterable[ClientSettings]
) -> dict[str, CredentialProvider]:
    """Return *providers* by the names that their clients go by.

    Args:
        providers: As the application named them; ``-`` equals ``_``.
        clients: All that have settings, the default one included.

    Raises:
        ConfigurationError: If a name is none of those, a client has an ``AUTH__SCHEME`` as well,
            or a provider is none. A misspelt name would leave requests unauthenticated.
    """
    known = {client.name: client for client in clients}
    found: dict[str, CredentialProvider] = {}
    wrong: list[str] = []
    for given, provider in providers.items():
        name = normalised(given) or given
        label = f"auth[{given!r}]"
        if name not in known:
            wrong.append(f"{label} names a client without settings; {_remedy(name, known)}")
        elif name in found:
            wrong.append(f"{label} names the same client as another entry; keep one of them")
        elif known[name].auth.scheme != "none":
            variable = variable_name("auth.scheme", name)
            wrong.append(f"{label} and {variable} are both set; set the latter to none")
        elif not callable(getattr(provider, "credentials", None)):
            wrong.append(f"{label} has no method credentials(); see platform_http.auth")
        else:
            found[name] = provider
    if wrong:
        raise ConfigurationError(wrong)
    return found


def _remedy(name: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, [*known], n=1, cutoff=0.6)
    if close:
        return f"did you mean {close[0]!r}?"
    return f"correct it, or set {variable_name('base_url', name)}"
