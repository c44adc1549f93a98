"""Judges dashboards by their JSON, and rules by their YAML, whoever or whatever wrote them."""
