"""How bytes travel: connections, TLS, proxies, DNS, and the request and response classes."""
