from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from platform_http.policies import backoff


@settings(deadline=None)
@given(
    resend=st.integers(1, 10**6),
    initial=st.floats(1e-6, 1e300),
    maximum=st.floats(1e-6, 1e300),
    seed=st.integers(),
)
def test_a_wait_lies_between_nothing_and_the_doubled_and_capped_bound(
    resend, initial, maximum, seed
):
    wait = backoff.delay(resend, initial=initial, maximum=maximum, rng=Random(seed))
    assert 0.0 <= wait <= maximum
    if resend <= 50:
        assert wait <= initial * 2 ** (resend - 1)


def test_the_bound_doubles_with_each_resend_until_the_maximum():
    class LargestDraw(Random):
        def random(self):
            return 1.0

    waits = [
        backoff.delay(resend, initial=0.05, maximum=0.3, rng=LargestDraw())
        for resend in range(1, 6)
    ]
    assert waits == pytest.approx([0.05, 0.1, 0.2, 0.3, 0.3])


def test_waits_spread_over_the_whole_range():
    rng = Random(7)
    waits = [backoff.delay(3, initial=1.0, maximum=60.0, rng=rng) for _ in range(1000)]
    tenths = [sum(part <= wait / 0.4 < part + 1 for wait in waits) for part in range(10)]
    assert sum(tenths) == 1000
    assert min(tenths) > 70
    assert max(tenths) < 130


def test_each_wait_takes_exactly_one_draw():
    rng, twin = Random(3), Random(3)
    backoff.delay(1, initial=0.05, maximum=5.0, rng=rng)
    twin.random()
    assert rng.getstate() == twin.getstate()


@pytest.mark.parametrize("resend", [0, -1])
def test_a_resend_is_counted_from_one(resend):
    with pytest.raises(ValueError, match="1-based"):
        backoff.delay(resend, initial=0.05, maximum=5.0, rng=Random(0))
