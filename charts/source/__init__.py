"""Writes what the chart takes from elsewhere.

``values.schema.json`` is written by hand but for the definitions of policies, which the library
knows (``policies``); ``README.md`` is written by hand but for its table of values
(``values_table``), which comes from the schema and ``values.yaml``.

Run ``python -m charts.source --write`` or ``--check``.
"""
