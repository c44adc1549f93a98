import math

import pytest

from platform_http.testing import FakeClock


def test_it_moves_only_when_it_is_told_to() -> None:
    clock = FakeClock(5.0)
    assert clock() == clock() == 5.0
    clock.advance(0.5)
    clock.advance(0)
    assert clock() == clock.now == 5.5


@pytest.mark.parametrize("seconds", [-1, math.nan])
def test_it_never_goes_back(seconds: float) -> None:
    with pytest.raises(ValueError, match="seconds >= 0"):
        FakeClock().advance(seconds)
