"""Sessions inside of an ``aiohttp.web`` application: its health, its metrics and its end.

::

    app = web.Application()
    setup(app)                                  # one session factory for the application
    app.router.add_get("/orders/{id}", order)   # session(request, "billing") in the handler
    run(app, host="0.0.0.0", port=8080)         # SIGTERM loses no accepted request

``application`` holds what handlers use, ``routes`` the pages for probes and scrapes,
``inbound`` bounds a handler by its caller's deadline, and ``server`` runs and drains it all.
"""

from platform_http.web.application import factory, session, setup
from platform_http.web.server import run, serve

__all__ = ["factory", "run", "serve", "session", "setup"]
