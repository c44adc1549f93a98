"""``platform-http demo``: a day in the life of a service with three misbehaving upstreams.

``script`` says what goes wrong and when, ``upstream`` plays it, ``service`` makes the calls,
``readings`` turns the metrics registry into figures, ``live``, ``plain`` and ``summary`` show
them, and ``run`` puts the parts together. ``roles`` runs the same as three services.
"""
