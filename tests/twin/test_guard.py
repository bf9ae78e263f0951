"""The guard: whatever the advice, nothing outside the rails is written."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.in_process import line_configuration
from twin.configuration.models import InterlockConfiguration
from twin.guard import Guard
from twin.recommendation import Change, Recommendation
from twin.samples import Floats, Ints
from twin.snapshot import Renumbering
from twin.trust import Trust
from twin.units import to_si

LINE = line_configuration()
TAGS = LINE.tag_table()
S = 1_000_000_000
KNOWN = np.zeros(len(TAGS), np.int64)
PUMP = TAGS.index("coater.pump_flow_setpoint")
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
    if guard.objections(advice, values, KNOWN, now):
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
    assert not guard.objections(advice, values, KNOWN, 0)
    guard.wrote(advice.changes, values, 0)
    assert guard.objections(advice, values, KNOWN, 9 * S)
    assert not guard.objections(advice, values, KNOWN, 11 * S)


def railed(**setpoint: Any) -> tuple[Guard, Callable[[float, float], Change]]:
    """A guard of a pump with more rails than usual, and changes of it in mL/min."""
    coating = LINE.steps["coating"]
    pump = coating.setpoints["pump_flow"].model_copy(update={"deadband": 0.0} | setpoint)
    coating = coating.model_copy(update={"setpoints": {"pump_flow": pump}, "advise_every": 1.0})
    line = LINE.model_copy(update={"steps": {**LINE.steps, "coating": coating}})
    scale = to_si(TAGS[PUMP].unit)[0]
    guard = Guard(line, TAGS, Trust(dict.fromkeys(line.steps, "advisory")))
    return guard, lambda before, after: Change("coating", PUMP, before * scale, after * scale)


def refused(guard: Guard, change: Change, values: Floats, now: int, at: Ints = KNOWN) -> str:
    advice = Recommendation("x", now, "coater", (change,), (), "")
    return "; ".join(guard.objections(advice, values, at, now))


def test_moves_within_any_minute_add_up_to_the_rate_at_most() -> None:
    guard, moved = railed(max_rate=12.0, max_step=10.0)
    scale = to_si(TAGS[PUMP].unit)[0]
    values = np.full(len(TAGS), np.nan)
    values[PUMP] = 80 * scale
    first = moved(80, 90)
    assert not refused(guard, first, values, 0)
    guard.wrote([first], values, 0)
    values[PUMP] = 90 * scale
    assert "largest rate" in refused(guard, moved(90, 87), values, 30 * S)
    low, high = guard.room("coating", PUMP, values, KNOWN, 30 * S) or (0.0, 0.0)
    assert (low / scale, high / scale) == (pytest.approx(88), pytest.approx(92))
    assert not refused(guard, moved(90, 92), values, 30 * S)
    assert not refused(guard, moved(90, 99), values, 60 * S)
    # a write that failed went there and back
    guard.took_back([first], 1 * S)
    assert guard.room("coating", PUMP, values, KNOWN, 30 * S) is None
    again, _ = railed(max_rate=12.0, max_step=10.0)
    names = [tag.name for tag in TAGS]
    again.restore(guard.snapshot(), Renumbering(names, {name: i for i, name in enumerate(names)}))
    assert "largest rate" in refused(again, moved(90, 91), values, 30 * S)


@pytest.mark.parametrize(
    ("interlock", "value", "age", "words"),
    [
        ({"within": (1.0, 8.0)}, 5.0, 1000.0, ""),
        ({"within": (1.0, 8.0)}, 8.0, 0.0, ""),
        ({"within": (1.0, 8.0)}, 8.1, 0.0, "must be 1 to 8 m/min, and is 8.1"),
        ({"within": (1.0, 8.0)}, math.nan, 0.0, "is not known"),
        ({"within": (1.0, 8.0)}, math.inf, 0.0, "is not known"),
        ({"equals": 3.0}, 3.0, 0.0, ""),
        ({"equals": 3.0}, 2.9, 0.0, "must be 3 m/min, and is 2.9"),
        ({"equals": 3.0, "max_age": 2.0}, 3.0, 1.9, ""),
        ({"equals": 3.0, "max_age": 2.0}, 3.0, 2.1, "was last heard 2 s ago"),
    ],
)
def test_an_interlock_forbids_every_write(
    interlock: dict[str, Any], value: float, age: float, words: str
) -> None:
    asked = InterlockConfiguration.model_construct(
        **{"tag": "coater.line_speed", "within": None, "equals": None, "max_age": None} | interlock
    )
    guard, moved = railed(interlocks=(asked,))
    values, at, now = np.full(len(TAGS), np.nan), KNOWN.copy(), 5000 * S
    values[PUMP] = 80 * to_si(TAGS[PUMP].unit)[0]
    speed = TAGS.index("coater.line_speed")
    values[speed] = value / 60
    at[speed] = now - int(age * S)
    said = refused(guard, moved(80, 81), values, now, at)
    assert (words in said) if words else not said
    assert (guard.room("coating", PUMP, values, at, now) is None) is bool(words)


@given(
    current=st.floats(-50, 400),
    after=st.floats(-100, 500),
    moved_before=st.lists(st.tuples(st.integers(0, 70), st.floats(0, 15)), max_size=3),
    rate=st.none() | st.floats(1, 40),
)
def test_what_lies_in_the_room_passes_and_nothing_else(
    current: float, after: float, moved_before: list[tuple[int, float]], rate: float | None
) -> None:
    guard, moved = railed(max_rate=rate, max_step=10.0)
    scale = to_si(TAGS[PUMP].unit)[0]
    values = np.full(len(TAGS), np.nan)
    for time, size in sorted(moved_before):
        values[PUMP] = 100 * scale
        guard.wrote([moved(100, 100 + size)], values, time * S)
    values[PUMP] = current * scale
    now = 75 * S
    room = guard.room("coating", PUMP, values, KNOWN, now)
    passes = not refused(guard, moved(current, after), values, now)
    edge = 1e-3
    if room is None or not room[0] / scale - edge <= after <= room[1] / scale + edge:
        assert not passes
    elif room[0] / scale + edge <= after <= room[1] / scale - edge:
        assert passes
