"""The demo as three services: one image, three commands, the same on a laptop and in a cluster.

``upstream`` plays the scripted day and takes incidents, ``caller`` is a service that depends on
it, ``load`` calls that service. ``commands`` is their command line and ``process`` runs each.
"""
