from __future__ import annotations

import itertools

import pytest

from platform_http.policies.redirect import RedirectPolicy

EVERY_HOP = [
    dict(zip(("downgrades", "strays", "has_body"), values, strict=True))
    for values in itertools.product((False, True), repeat=3)
]


def reason(policy: RedirectPolicy, **hop: bool) -> str | None:
    refusal = policy.judge(**{"downgrades": False, "strays": False, "has_body": False, **hop})
    return None if refusal is None else refusal.reason


@pytest.mark.parametrize(
    ("hop", "expected"),
    [
        ({}, None),
        ({"has_body": True}, None),
        ({"strays": True}, None),
        ({"strays": True, "has_body": True}, "redirect_body"),
        ({"downgrades": True}, "redirect_downgrade"),
        ({"downgrades": True, "strays": True, "has_body": True}, "redirect_downgrade"),
    ],
)
def test_safe_refuses_a_downgrade_and_a_body_for_another_origin(
    hop: dict[str, bool], expected: str | None
) -> None:
    assert reason(RedirectPolicy("safe", 5), **hop) == expected


@pytest.mark.parametrize("hop", EVERY_HOP)
def test_deny_refuses_every_redirect(hop: dict[str, bool]) -> None:
    assert reason(RedirectPolicy("deny", 5), **hop) == "redirect_denied"


@pytest.mark.parametrize("hop", EVERY_HOP)
def test_follow_refuses_none(hop: dict[str, bool]) -> None:
    assert reason(RedirectPolicy("follow", 5), **hop) is None


@pytest.mark.parametrize("maximum", [0, 1, 5])
def test_the_maximum_counts_the_redirects_that_are_followed(maximum: int) -> None:
    policy = RedirectPolicy("safe", maximum)
    assert [policy.exceeds(number) for number in (maximum, maximum + 1)] == [False, True]


def test_every_mode_but_follow_protects_other_origins() -> None:
    modes = ("safe", "deny", "follow")
    assert [RedirectPolicy(mode, 5).protects for mode in modes] == [True, True, False]
