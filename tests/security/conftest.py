"""The fixtures of functional tests."""

from __future__ import annotations

from tests.functional.conftest import observed

__all__ = ["observed"]
