from hypothesis import given, settings
from hypothesis import strategies as st

from platform_http.policies.sliding_window import BUCKETS, SlidingWindow


def test_results_are_counted_while_the_clock_stands_still():
    window = SlidingWindow(10.0, 0.0)
    for _ in range(3):
        window.advance(0.0)
        window.add_ok()
        window.add_failed()
    window.add_failed()
    assert (window.ok, window.failed) == (3, 4)


def test_a_result_is_forgotten_after_the_window_and_not_before_nine_tenths_of_it():
    window = SlidingWindow(10.0, 0.0)
    window.advance(0.999)
    window.add_failed()
    window.advance(9.999)
    assert window.failed == 1
    window.advance(10.0)
    assert window.failed == 0


def test_each_bucket_is_forgotten_at_its_own_time():
    window = SlidingWindow(10.0, 0.0)
    for second in range(10):
        window.advance(second)
        window.add_ok()
    assert window.ok == 10
    for second in range(10, 20):
        window.advance(second)
        assert window.ok == 19 - second


def test_a_jump_of_many_windows_forgets_everything_and_counting_goes_on():
    window = SlidingWindow(10.0, 0.0)
    window.add_failed()
    window.advance(1e7)
    assert (window.ok, window.failed) == (0, 0)
    window.add_ok()
    window.advance(1e7 + 8.9)
    assert window.ok == 1


def test_clearing_forgets_at_once():
    window = SlidingWindow(10.0, 0.0)
    window.add_ok()
    window.add_failed()
    window.add_slow()
    window.clear(0.5)
    assert (window.ok, window.failed, window.slow) == (0, 0, 0)
    window.advance(100.0)
    assert (window.ok, window.failed, window.slow) == (0, 0, 0)


def test_a_slow_result_is_counted_beside_and_forgotten_with_its_bucket():
    window = SlidingWindow(10.0, 0.0)
    window.add_ok()
    window.add_slow()
    window.advance(1.0)
    window.add_failed()
    window.add_slow()
    assert (window.ok, window.failed, window.slow) == (1, 1, 2)
    window.advance(10.0)
    assert (window.ok, window.failed, window.slow) == (0, 1, 1)


@settings(deadline=None)
@given(
    steps=st.lists(st.tuples(st.integers(0, 60), st.booleans(), st.booleans()), max_size=60),
    width=st.sampled_from([0.5, 1.0, 4.0]),
)
def test_the_counts_are_those_of_a_list_of_all_results(steps, width):
    window = SlidingWindow(width * BUCKETS, 0.0)
    results = []
    now = 0.0
    for quarters, failed, slow in steps:
        now += quarters * width / 4
        window.advance(now)
        if failed:
            window.add_failed()
        else:
            window.add_ok()
        if slow:
            window.add_slow()
        results.append((now // width, failed, slow))
        kept = [result for result in results if now // width - result[0] < BUCKETS]
        bad = [failed for _, failed, _ in kept]
        assert (window.ok, window.failed) == (bad.count(False), bad.count(True))
        assert window.slow == sum(slow for _, _, slow in kept)
