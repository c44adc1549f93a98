"""The day: whether it is well-formed, and which phase it is when."""

from __future__ import annotations

import pytest

from platform_http.cli.demo.script import DAY, Fault, Phase, Script
from platform_http.cli.demo.service import OPERATIONS

SCRIPT = Script("x", (Phase(0.0, "first"), Phase(0.5, "second"), Phase(0.8, "third")))


@pytest.mark.parametrize(
    ("moment", "name"),
    [(0.0, "first"), (0.49, "first"), (0.5, "second"), (0.79, "second"), (0.999, "third")],
)
def test_a_phase_lasts_until_the_next_one_starts(moment, name):
    assert SCRIPT.at(moment).name == name


@pytest.mark.parametrize(
    ("roll", "fault"),
    [
        (0.0, Fault.RESET),
        (0.29, Fault.RESET),
        (0.3, Fault.HANG),
        (0.49, Fault.HANG),
        (0.5, None),
        (0.99, None),
    ],
)
def test_faults_have_their_shares_of_the_rolls(roll, fault):
    phase = Phase(0.0, "x", faults={Fault.RESET: 0.3, Fault.HANG: 0.2})
    assert phase.fault(roll) is fault


@pytest.mark.parametrize("script", DAY, ids=lambda script: script.client)
def test_each_day_begins_at_its_start_and_ends_healthy(script):
    starts = [phase.start for phase in script.phases]
    assert starts[0] == 0
    assert starts == sorted(set(starts))
    assert starts[-1] < 1
    assert not script.phases[-1].faults
    assert all(sum(phase.faults.values()) <= 1 for phase in script.phases)


def test_every_fault_happens_in_the_day():
    happening = {fault for script in DAY for phase in script.phases for fault in phase.faults}
    assert happening == set(Fault)
    assert not all(phase.listens for script in DAY for phase in script.phases)


def test_each_upstream_is_called():
    assert {operation.client for operation in OPERATIONS} == {script.client for script in DAY}
