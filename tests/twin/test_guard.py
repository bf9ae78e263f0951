"""The guard: whatever the advice, nothing outside the rails is written."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tests.in_process import line_configuration
from twin.guard import Guard
from twin.recommendation import Change, Recommendation
from twin.trust import Trust
from twin.units import to_si

LINE = line_configuration()
TAGS = LINE.tag_table()
S = 1_000_000_000
ANY = st.floats(allow_nan=True, allow_infinity=True) | st.floats(-1e-6, 1e-5)


@given(
    after=ANY,
    before=ANY,
    latest=ANY,
    step=st.sampled_from(["coating", "calendering", "drying"]),
    tag=st.sampled_from(["coater.pump_flow_setpoint", "calender.roll_gap_setpoint", "coater.run"]),
    age=st.floats(0, 100),
    doubt=st.booleans(),
)
def test_no_violation_passes(
    after: float, before: float, latest: float, step: str, tag: str, age: float, doubt: bool
) -> None:
    trust = Trust({name: config.mode for name, config in LINE.steps.items()})
    if doubt:
        trust.doubt(step, "stale", "an input is missing", 0)
    guard = Guard(LINE, TAGS, trust)
    index = TAGS.index(tag)
    values = np.full(len(TAGS), latest)
    now = 1000 * S
    advice = Recommendation(
        "x", now - int(age * S), "coater", (Change(step, index, before, after),), (), ""
    )
    if guard.objections(advice, values, now):
        return
    setpoint = next(s for s in LINE.steps[step].setpoints.values() if s.tag == tag)
    scale, offset = to_si(TAGS[index].unit)
    assert math.isfinite(after)
    assert setpoint.limits[0] - 1e-6 <= (after - offset) / scale <= setpoint.limits[1] + 1e-6
    assert abs(after - latest) <= setpoint.max_step * scale * (1 + 1e-5)
    assert age <= LINE.stale_after
    assert not doubt


def test_a_second_write_waits_for_the_pause() -> None:
    guard = Guard(LINE, TAGS, Trust(dict.fromkeys(LINE.steps, "advisory")))
    tag = TAGS.index("coater.pump_flow_setpoint")
    scale = to_si(TAGS[tag].unit)[0]
    values = np.full(len(TAGS), 80 * scale)
    advice = Recommendation(
        "x", 0, "coater", (Change("coating", tag, 80 * scale, 81 * scale),), (), ""
    )
    assert not guard.objections(advice, values, 0)
    guard.wrote(advice, 0)
    assert guard.objections(advice, values, 9 * S)
    assert not guard.objections(advice, values, 11 * S)
