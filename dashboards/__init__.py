"""Dashboards, rules and runbooks; ``source`` writes and checks what is generated here."""
