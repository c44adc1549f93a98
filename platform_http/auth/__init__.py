"""Credential providers: what a client's requests are authenticated with.

``AUTH__SCHEME`` names one of the built-in ones; ``SessionFactory(auth={"billing": provider})``
takes any object that is a :class:`CredentialProvider`.
"""

from platform_http.auth.custom import CredentialProvider

__all__ = ["CredentialProvider"]
