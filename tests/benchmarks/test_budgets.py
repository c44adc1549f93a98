"""What a call may cost, in function calls: no seconds, so the same on every machine."""

import pytest

from benchmarks import function_calls, modes


@pytest.fixture(scope="module")
def figures() -> dict[str, float]:
    return function_calls.count_all([modes.RAW, *modes.OURS])


@pytest.mark.parametrize("mode", modes.OURS)
def test_a_call_makes_no_more_function_calls_than_its_budget(
    figures: dict[str, float], mode: str
) -> None:
    over = figures[mode] - figures[modes.RAW]
    assert over <= function_calls.BUDGETS["function_calls_over_raw"][mode]


def test_every_mode_has_its_budgets() -> None:
    budgets = function_calls.BUDGETS
    assert set(budgets["function_calls_over_raw"]) == set(modes.OURS)
    assert set(budgets["instruction_ratio"]) == set(modes.OURS)
    assert set(budgets["cpu_ratio"]) == {modes.REFUSAL}
    assert budgets["overhead_to_composed"].keys() == modes.COMPOSED.keys()
