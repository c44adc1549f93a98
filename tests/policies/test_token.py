"""The life of a token, on a fake clock."""

from __future__ import annotations

import math
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from platform_http.policies.token import PAUSE_MAX, REFRESH_PAUSE, TokenSchedule
from platform_http.testing import FakeClock


class Life:
    def __init__(self, seed: int = 7) -> None:
        self.clock = FakeClock()
        self.schedule = TokenSchedule(clock=self.clock, rng=Random(seed))

    def after(self, seconds: float) -> tuple[bool, bool]:
        """Whether the token is usable and a refresh is due, *seconds* later."""
        self.clock.advance(seconds)
        return self.schedule.usable, self.schedule.due


@pytest.fixture
def life() -> Life:
    return Life()


def test_without_a_token_there_is_one_to_ask_for_at_once(life: Life) -> None:
    assert life.after(0) == (False, True)
    assert life.schedule.pause == 0


def test_a_token_is_used_is_refreshed_ahead_of_its_end_and_ends(life: Life) -> None:
    life.schedule.obtained(100)
    assert life.after(74.9) == (True, False)
    assert life.after(15.2) == (True, True)
    assert life.after(4.8) == (True, True)
    assert life.after(0.2) == (False, True)


def test_the_margin_of_a_long_token_is_bounded(life: Life) -> None:
    life.schedule.obtained(100_000)
    assert life.after(99_989) == (True, True)
    assert life.after(2) == (False, True)


def test_a_token_without_a_lifetime_lives_until_it_is_revoked(life: Life) -> None:
    life.schedule.obtained(None)
    assert life.after(1e9) == (True, False)
    life.schedule.revoked()
    assert life.after(0) == (False, True)


@pytest.mark.parametrize("lifetime", [0, 0.1, 1])
def test_a_token_that_ends_at_once_does_not_make_every_call_a_refresh(
    life: Life, lifetime: float
) -> None:
    life.schedule.obtained(lifetime)
    assert life.after(REFRESH_PAUSE * 0.99) == (True, False)
    assert life.after(REFRESH_PAUSE * 0.02) == (False, True)


def test_a_fleet_does_not_refresh_in_the_same_moment() -> None:
    def due_at(seed: int) -> int:
        life = Life(seed)
        life.schedule.obtained(1000)
        return next(second for second in range(1000) if life.after(1)[1])

    moments = {due_at(seed) for seed in range(100)}
    assert len(moments) > 50
    assert min(moments) >= 749
    assert max(moments) <= 900


def test_the_old_token_is_used_while_the_refresh_fails(life: Life) -> None:
    life.schedule.obtained(100)
    assert life.after(91) == (True, True)
    life.schedule.failed()
    assert life.after(0) == (True, False)
    assert 0.5 <= life.schedule.pause <= 1
    assert life.after(1) == (True, True)


@given(seed=st.integers(), failures=st.integers(1, 2000))
def test_pauses_double_up_to_their_maximum_and_are_never_nothing(seed: int, failures: int) -> None:
    life = Life(seed)
    for _ in range(failures):
        life.schedule.failed()
    ceiling = PAUSE_MAX if failures > 5 else 2.0 ** (failures - 1)
    assert ceiling / 2 <= life.schedule.pause <= ceiling
    assert not life.schedule.due


def test_a_success_forgets_the_failures(life: Life) -> None:
    for _ in range(5):
        life.schedule.failed()
    life.schedule.obtained(100)
    assert life.schedule.pause == 0
    life.after(100)
    life.schedule.failed()
    assert life.schedule.pause <= 1


def test_a_revoked_token_is_not_used_again(life: Life) -> None:
    life.schedule.obtained(100)
    assert life.after(REFRESH_PAUSE) == (True, False)
    life.schedule.revoked()
    assert life.after(0) == (False, True)


def test_a_server_that_refuses_every_token_does_not_make_every_call_a_refresh(life: Life) -> None:
    life.schedule.obtained(math.inf)
    life.after(REFRESH_PAUSE / 2)
    life.schedule.revoked()
    assert life.after(0) == (True, False)


def test_a_token_that_is_revoked_while_refreshes_fail_waits_for_the_pause(life: Life) -> None:
    life.schedule.obtained(100)
    life.after(91)
    life.schedule.failed()
    life.schedule.revoked()
    assert life.after(0) == (False, False)
    assert life.after(1) == (False, True)
