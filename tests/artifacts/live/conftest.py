"""The run that the tests of this folder share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.artifacts.live.story import played

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.artifacts.live.story import Story


@pytest.fixture(scope="package")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    """Play it once, and keep the servers for as long as somebody asks them."""
    with played(tmp_path_factory.mktemp("live")) as story:
        yield story
