"""Every benchmark still runs, and says what it is read for."""

from __future__ import annotations

import asyncio
import os
import re

import pytest

from benchmarks import instructions, micro, modes, results, throughput
from benchmarks.report import BROKEN, HOLDS

# Left to ``make bench``: valgrind, forty interpreters, and what has no sizes to make smaller.
SLOW = {"instructions", "function_calls", "import_cost", "policy_cost"}

ROWS = {
    "throughput": [*throughput.SMALL, *throughput.STREAMS],
    "micro": ["load_settings() of five variables", "each further session", "… and a CLIENT span"],
    "growth": ["8", "the first 100 of a client"],
    "tail_latency": ["ours, defaults"],
}

PROMISES = {
    "throughput": ["throughput over the composed stack", "function calls that three further MiB"],
    "micro": ["settings and first session", "each further session", "SSL contexts", "a refusal"],
    "growth": [
        *("calls to 8 clients in turn", "function calls of calls to 8 clients in turn"),
        *("calls to 8 origins in turn", "function calls of calls to 8 origins in turn"),
        "policy state",
        *("a scrape per 10 series", "stall added by a scrape"),
    ],
    "tail_latency": [],
}


@pytest.fixture(scope="module")
def outputs() -> dict[str, str]:
    # At once: the smallest sizes mostly start interpreters and wait.
    async def all_of_them() -> dict[str, str]:
        parts = [part for part in results.PARTS if part.module not in SLOW]
        ran = [asyncio.to_thread(results.run, part, *part.smallest) for part in parts]
        return dict(zip((part.module for part in parts), await asyncio.gather(*ran), strict=True))

    # Unmeasured: what they run is measured where it is tested.
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("COVERAGE")]:
            patch.delenv(name)
        return asyncio.run(all_of_them())


@pytest.mark.parametrize("module", ROWS)
def test_a_benchmark_prints_a_row_for_each_thing_that_it_compares(
    module: str, outputs: dict[str, str]
) -> None:
    first_cells = set(re.findall(r"^\| (.+?) \|", outputs[module], re.MULTILINE))
    assert set(ROWS[module]) <= first_cells


@pytest.mark.parametrize("module", PROMISES)
def test_a_benchmark_says_of_each_promise_whether_it_holds(
    module: str, outputs: dict[str, str]
) -> None:
    verdicts = [
        line.removeprefix(HOLDS).removeprefix(BROKEN)
        for line in outputs[module].splitlines()
        if line.startswith((HOLDS, BROKEN))
    ]
    for promise in PROMISES[module]:
        assert any(verdict.startswith(promise) for verdict in verdicts), verdicts


def test_the_document_begins_with_what_does_not_hold() -> None:
    micro_part, growth_part = (
        next(part for part in results.PARTS if part.module == module)
        for module in ("micro", "growth")
    )
    document = results.compose(
        {micro_part: f"{HOLDS}one\n{BROKEN}two\n", growth_part: f"{HOLDS}three\n{BROKEN}four\n"}
    )
    summary = document[document.index("## What was promised") : document.index(micro_part.title)]
    assert re.findall(r"(one|two|three|four)", summary) == ["two", "four", "one", "three"]
    assert "2 of 4 promises do not hold." in summary
    assert (micro.__doc__ or "").splitlines()[0] in document
    assert "## Mutation testing" in document


def test_instructions_are_held_against_raw_aiohttp_and_against_the_composed_stack() -> None:
    small = {
        modes.RAW: 100.0,
        "plain profile": 103.0,
        "sampled out, 1 %": 161.0,
        "composed stack, 1 %": 305.0,
    }
    assert list(instructions.verdicts({"small": small})) == [
        ("instructions over raw, plain profile", 1.03, 1.03),
        ("instructions over raw, sampled out, 1 %", 1.61, 1.6),
        (
            "overhead over the composed stack, 1 %'s, sampled out, 1 %",
            pytest.approx(0.2976, 1e-3),
            0.37,
        ),
    ]


def test_the_table_of_what_must_hold_says_which_mode_does() -> None:
    small = {
        modes.RAW: 100.0,
        "plain profile": 103.0,
        "sampled out, 1 %": 158.0,
        modes.DEFAULT: 239.0,
        "composed stack, 1 %": 250.0,
        "composed stack, recorded": 305.0,
    }
    assert list(instructions.must_hold(small)) == [
        ("plain profile", "1.030", "1.03", "", "", "yes"),
        ("sampled out, 1 %", "1.580", "1.60", "0.387", "0.37", "**no**"),
        (modes.DEFAULT, "2.390", "2.40", "0.678", "0.68", "yes"),
    ]


def test_a_stream_is_held_against_a_raw_one_plus_what_a_small_call_costs_more() -> None:
    figures = {
        "small": {modes.RAW: 100.0, modes.DEFAULT: 200.0},
        "stream": {modes.RAW: 1000.0, modes.DEFAULT: 1210.0},
    }
    *_, verdict = instructions.verdicts(figures)
    assert verdict == (
        f"a 1 MiB stream over raw plus a call's fixed cost, {modes.DEFAULT}",
        pytest.approx(1.1),
        1.02,
    )


def test_a_stream_is_held_against_a_shorter_one() -> None:
    figures = {
        "small": {modes.RAW: 100.0, modes.DEFAULT: 200.0},
        "short_stream": {modes.RAW: 400.0, modes.DEFAULT: 550.0},
        "stream": {modes.RAW: 1000.0, modes.DEFAULT: 1210.0},
    }
    *_, verdict = instructions.verdicts(figures)
    assert verdict == (
        f"what is over raw of a stream of 1 MiB, over that of 384 KiB, {modes.DEFAULT}",
        pytest.approx(1.4),
        1.1,
    )


def test_a_failing_benchmark_fails_the_run() -> None:
    with pytest.raises(RuntimeError, match=r"nothing: (?s:.*)No module named benchmarks.nothing"):
        results.run(results.Part("Nothing", "nothing"))
