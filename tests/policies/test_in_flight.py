from hypothesis import given, settings
from hypothesis import strategies as st

from platform_http.policies.in_flight import InFlight


def test_an_attempt_is_slow_from_the_slow_age_on():
    running = InFlight(2.0)
    running.start("a", 10.0)
    assert running.slow(11.999) == 0
    assert running.slow(12.0) == 1
    assert running.slow(99.0) == 1


def test_what_has_finished_is_not_slow_whether_or_not_it_had_become_so():
    running = InFlight(2.0)
    for attempt in "abcd":
        running.start(attempt, 10.0)
    running.finish("b")
    assert running.slow(12.0) == 3
    running.finish("a")
    running.finish("d")
    assert running.slow(12.0) == 1


def test_what_finished_after_it_could_have_become_slow_unseen_is_not_slow_any_more():
    running = InFlight(2.0)
    running.start("a", 10.0)
    running.finish("a")
    assert running.slow(99.0) == 0


def test_an_attempt_that_started_at_instant_zero_is_like_any_other():
    running = InFlight(2.0)
    running.start("a", 0.0)
    running.finish("a")
    assert running.slow(99.0) == 0


def test_clearing_forgets_the_slow_and_the_young():
    running = InFlight(2.0)
    running.start("a", 10.0)
    running.start("b", 12.0)
    assert running.slow(12.0) == 1
    running.clear()
    assert running.slow(99.0) == 0


@settings(deadline=None)
@given(
    steps=st.lists(
        st.tuples(st.integers(0, 6), st.sampled_from(["start", "finish", "look"]), st.integers(0)),
        max_size=80,
    )
)
def test_the_count_is_that_of_a_list_of_all_running_attempts(steps):
    running = InFlight(1.0)
    started = {}
    now = 0.0
    for number, (quarters, action, choice) in enumerate(steps):
        now += quarters / 4
        if action == "start":
            running.start(number, now)
            started[number] = now
        elif action == "finish" and started:
            attempt = list(started)[choice % len(started)]
            running.finish(attempt)
            del started[attempt]
        else:
            assert running.slow(now) == sum(now - began >= 1.0 for began in started.values())
