"""The judgement: verdicts by the rule, and advice beside advice."""

from __future__ import annotations

import numpy as np
import pytest

from tests.in_process import line_configuration
from twin.backtest import Notes, Proposal, Track, compare_advice
from twin.judgement import Judge, rule, verdict
from twin.samples import Floats
from twin.verdict import Advice, Difference, Estimate, ModelTried, ParameterDifference, Verdict

S = 1_000_000_000
LINE = line_configuration()
TAGS = LINE.tag_table()
PUMP = TAGS.index("coater.pump_flow_setpoint")
GAP = TAGS.index("calender.roll_gap_setpoint")
ABOVE = Estimate(value=0.1, low=0.05, high=0.15)
ABOUT = Estimate(value=0.0, low=-0.05, high=0.05)
BELOW = Estimate(value=-0.1, low=-0.15, high=-0.05)
NOTHING = Advice(
    proposals=0, alike=0, different=0, only_champion=0, only_candidate=0, would_differ=None
)
COATING = {"coating": ModelTried(version="2", sha256="0")}


@pytest.mark.parametrize(
    ("corrected", "alone", "limited", "missed", "expected"),
    [
        (ABOVE, ABOVE, ABOUT, 0.0, "better"),
        (ABOVE, ABOUT, ABOUT, 0.0, "better"),
        (ABOUT, ABOVE, ABOUT, 0.0, "better"),
        (ABOUT, ABOUT, ABOUT, 0.0, "no difference"),
        (ABOVE, BELOW, ABOUT, 0.0, "no difference"),
        (ABOVE, ABOVE, BELOW, 0.0, "no difference"),
        (ABOVE, ABOVE, ABOUT, 0.2, "no difference"),
        (BELOW, ABOUT, ABOUT, 0.0, "worse"),
        (ABOUT, BELOW, ABOUT, 0.0, "worse"),
        (ABOUT, ABOUT, BELOW, 0.0, "worse"),
        (ABOUT, ABOUT, ABOUT, 0.2, "worse"),
    ],
)
def test_the_rule(
    corrected: Estimate, alone: Estimate, limited: Estimate, missed: float, expected: Verdict
) -> None:
    difference = Difference(corrected=corrected, alone=alone, segments=400, blocks=16.0)
    of = ParameterDifference(corrected=limited, alone=ABOUT, limited=True)
    free = ParameterDifference(corrected=BELOW, alone=BELOW, limited=False)
    each = {"coating.mass_loading": of, "coating.wet_thickness": free}
    found, reasons = verdict(rule(), difference, each, list(each), missed)
    assert found == expected
    assert reasons


def test_without_enough_material_there_is_no_other_verdict() -> None:
    difference = Difference(corrected=ABOVE, alone=ABOVE, segments=150, blocks=6.0)
    found, reasons = verdict(rule(), difference, {}, [], 0.0)
    assert found == "too little material"
    assert "150 segments" in reasons[0]


def track(said: Floats, measured: Floats, first: int = 0) -> Track:
    count = len(said)
    time = np.arange(count) * S
    return Track(
        np.zeros(count, np.int64), np.arange(first, first + count), time, time + 5 * S,
        measured, said, said, np.full(count, 1.0), np.ones(count, np.bool_),
    )  # fmt: skip


def judged(
    noise: float, count: int = 400, offset: float = 0.0, lost: int = 0, step: str = "coating"
) -> Verdict:
    """The verdict on a model with other noise than the champion, whose noise is 1."""
    draw = np.random.default_rng(5)
    truth = draw.normal(0.18, 0.01, count)
    champion = track(truth + 0.001 * draw.normal(size=count), truth)
    challenger = track(truth + 0.001 * noise * draw.normal(size=count) + offset, truth)
    judge = Judge(LINE, {"coating.mass_loading": champion}, rule(resamples=300))
    models = {step: COATING["coating"]}
    tracks = {"coating.mass_loading": challenger.where(np.arange(count) >= lost)}
    return judge.challenger("other", models, tracks, NOTHING).verdict


def test_verdicts_on_models_that_are_known() -> None:
    assert judged(0.5) == "better"
    assert judged(2.0) == "worse"
    assert judged(1.0) == "no difference"
    assert judged(1.0, offset=0.01) == "worse"
    assert judged(0.5, count=150) == "too little material"
    assert judged(0.5, lost=100) == "no difference"


def test_equal_models_are_seldom_told_apart() -> None:
    """Two models whose errors are alike along the web, and equally large: 95 % is meant."""
    told = 0
    for seed in range(60):
        draw = np.random.default_rng(seed)
        errors = [np.convolve(draw.normal(size=409), np.ones(10), "valid") for _ in range(2)]
        truth = draw.normal(0.18, 0.01, 400)
        champion, other = (
            {"coating.mass_loading": track(truth + 3e-4 * error, truth)} for error in errors
        )
        judge = Judge(LINE, champion, rule(resamples=200))
        told += judge.challenger("other", COATING, other, NOTHING).verdict != "no difference"
    assert told <= 9


def test_a_step_that_is_not_measured_is_judged_by_what_it_feeds() -> None:
    assert judged(0.5, step="mixing") == "better"
    assert judged(0.5, step="calendering") == "too little material"


def test_the_champion_against_itself() -> None:
    draw = np.random.default_rng(6)
    truth = draw.normal(0.18, 0.01, 300)
    tracks = {"coating.mass_loading": track(truth + 0.001 * draw.normal(size=300), truth)}
    found = Judge(LINE, tracks, rule()).challenger("itself", COATING, tracks, NOTHING)
    assert found.verdict == "no difference"
    assert found.difference.corrected == Estimate(value=0.0, low=0.0, high=0.0)
    assert found.overall.corrected.mae.value == pytest.approx(1.0)


def test_a_disturbance_that_is_known() -> None:
    draw = np.random.default_rng(7)
    truth = np.full(600, 0.18)
    said = truth + 0.001 * draw.normal(size=600)
    said[400:] -= 0.005
    tracks = {"coating.mass_loading": track(said, truth)}
    judge = Judge(LINE, tracks, rule(resamples=50), disturbance=400 * S)
    drift = judge.candidate("champion", {}, tracks).parameters["coating.mass_loading"].drift
    assert (drift.alarms, drift.false_alarms) == (1, 0)
    assert drift.delay is not None
    assert 5 <= drift.delay <= 30  # the gauge reads 5 s later
    late = Judge(LINE, tracks, rule(resamples=50), disturbance=500 * S)
    drift = late.candidate("champion", {}, tracks).parameters["coating.mass_loading"].drift
    assert (drift.false_alarms, drift.delay) == (1, None)


def test_persistence_knows_what_had_been_read() -> None:
    """Segments leave each second and are read 5 s later: the last one known is six before."""
    measured = np.arange(20.0)
    found = track(measured, measured).persistence()
    assert np.isnan(found[:6]).all()
    np.testing.assert_array_equal(found[6:], measured[:-6])


def test_common_material() -> None:
    values = np.arange(10.0)
    one, two = track(values, values).common(track(values, values, first=4))
    np.testing.assert_array_equal(one.segment, np.arange(4, 10))
    np.testing.assert_array_equal(two.segment, one.segment)
    np.testing.assert_array_equal(two.measured, values[:6])


def notes(*proposals: tuple[float, str, int, float, float]) -> Notes:
    found = Notes({})
    for seconds, web, tag, before, after in proposals:
        found.proposals.append(Proposal(0, web, int(seconds * S), {tag: (before, after)}))
    return found


def test_advice_beside_advice() -> None:
    flow = 1e-6 / 60  # 1 mL/min
    champion = notes(
        (100, "coater", PUMP, 40 * flow, 42 * flow),
        (200, "coater", PUMP, 40 * flow, 42 * flow),
        (300, "coater", PUMP, 40 * flow, 42 * flow),
        (100, "calender", GAP, 50e-6, 55e-6),
    )
    challenger = notes(
        (103, "coater", PUMP, 40 * flow, 42.2 * flow),  # within the deadband of 0.3 mL/min
        (201, "coater", PUMP, 40 * flow, 43 * flow),
        (320, "coater", PUMP, 40 * flow, 42 * flow),  # more than the pause of 10 s later
    )
    found = compare_advice(champion, challenger, LINE, TAGS)
    assert (found.alike, found.different) == (1, 1)
    assert (found.only_champion, found.only_candidate) == (2, 1)
    assert found.would_differ == pytest.approx(4 / 5)
    assert compare_advice(champion, champion, LINE, TAGS).would_differ == 0.0
    assert compare_advice(notes(), notes(), LINE, TAGS).would_differ is None
