"""The Grafana dashboards as Python, and what keeps them, the rules and their copies right."""

import importlib
import warnings

with warnings.catch_warnings():
    # The SDK prefers its second schema, which Grafana before version 12 does not read.
    warnings.filterwarnings("ignore", "Prefer using dashboardv2", DeprecationWarning)
    for _module in ("builders.dashboard", "models.dashboardv2beta1"):
        importlib.import_module(f"grafana_foundation_sdk.{_module}")
