"""The status page: what every client is set to and doing, for whoever is on call.

It is off unless ``WEB__STATUS_PAGE`` asks for it, and loaded only then. ``report`` gathers,
``page`` draws it as HTML, ``document`` tells it as JSON, ``guard`` decides who may read, and
``server`` answers, on the application's port or on one of its own.
"""
