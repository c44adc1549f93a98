"""What the tests of dashboards, rules and charts leave to those after them."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest


@pytest.fixture(scope="package", autouse=True)
def _what_their_libraries_keep_is_not_looked_through_again() -> Iterator[None]:
    """Half a million objects make every full collection a stall of half a second.

    That is longer than the time-outs of the fault matrix, which runs in the same process.
    """
    yield
    gc.collect()
    gc.freeze()
