"""Stories are told with the same factories as the functional tests."""

from __future__ import annotations

from tests.functional.conftest import black_hole, observed

__all__ = ["black_hole", "observed"]
