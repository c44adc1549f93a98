"""``platform-http request``: one call with a client's settings, and where its time went.

``command`` reads the arguments, ``call`` makes the call, ``recorder`` watches it, ``report`` is
what ``--json`` prints, and ``waterfall`` draws that for people.
"""
