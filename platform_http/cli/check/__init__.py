"""``platform-http check``: whether this process could call what it is configured to call.

``command`` reads the arguments, ``installation`` looks at the process, ``on_paper`` at a client's
settings and files, ``client`` at its way to the network, which ``connection`` opens, and ``report``
is what ``--json`` prints.
"""
