"""Simulations start from an environment that says nothing."""

from __future__ import annotations

import os

import pytest


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.upper().startswith("PLATFORM_HTTP_"):
            monkeypatch.delenv(name)
