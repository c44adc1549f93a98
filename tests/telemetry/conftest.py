from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.telemetry.stand_ins import Scene

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture
def make_scene() -> Iterator[Callable[..., Scene]]:
    scenes = []

    def make(**options: object) -> Scene:
        scenes.append(Scene(**options))
        return scenes[-1]

    yield make
    for scene in scenes:
        scene.close()


@pytest.fixture
def scene(make_scene: Callable[..., Scene]) -> Scene:
    return make_scene()
