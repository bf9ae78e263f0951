"""Evidence: of several causes the one that is at work is found, on noise like that of a line."""

from __future__ import annotations

import numpy as np
import pytest

from tests.in_process import line_configuration, make_core
from twin.causes import Causes
from twin.evidence import Cause, Found, Panel
from twin.samples import Floats

H = 3_600_000_000_000
ROW = H // 360
"""10 s."""
OWN = np.array([0.0012, 0.0009, 0.0017])
GAUGES = [Cause(name, at, np.eye(3)[at]) for at, name in enumerate(("wet", "beta", "caliper"))]
PUMP = Cause("pump", None, np.array([1.0, 1.0, 1.0]))
SOLIDS = Cause("solids", None, np.array([0.0, 1.0, 0.9]), batch=True)
CAUSES = [*GAUGES, PUMP, SOLIDS]


def rows(count: int, seed: int) -> Floats:
    """Shares: models that are wrong by a constant, own noise, and foil that all gauges see."""
    draw = np.random.default_rng(seed)
    foil = np.empty(count)
    last = draw.standard_normal()
    for row in range(count):
        last = 0.9 * last + np.sqrt(1 - 0.81) * draw.standard_normal()
        foil[row] = last
    seen = np.outer(foil, [0.0009, 0.0018, 0.0015]) + OWN * draw.standard_normal((count, 3))
    return seen + np.array([-0.02, 0.015, 0.03])


def panel_of_three(unknown: bool = False) -> Panel:
    """Of models with one input, whose zero nobody may know."""
    reach = np.ones((3, 1), np.bool_)
    return Panel(np.array([0.003, 0.0017, 0.005]), reach, np.array([unknown]))


def read_under(gap: Floats) -> Panel:
    """A healthy line at a gap, um, as it was displayed row by row; its domain is 240 um wide."""
    panel = panel_of_three(unknown=True)
    for row, (value, shown) in enumerate(zip(rows(len(gap), 3), gap, strict=True)):
        panel.add(value, np.array([shown / 240.0]), row * ROW, 0, 0)
    return panel


def eras(panel: Panel) -> list[int]:
    """Number of the first row of every era but the oldest."""
    era = panel.snapshot()["groups"][:, 2]
    return (panel.first + 1 + np.flatnonzero(np.diff(era))).tolist()


def judged(values: Floats, batch: int = 10**9) -> list[Found]:
    panel = panel_of_three()
    for row, value in enumerate(values):
        panel.add(value, np.zeros(1), row * ROW, int(row >= batch), 0)
    return panel.judge(CAUSES, panel.noise(), {})


def test_nothing_stands_out_on_a_healthy_line() -> None:
    scores = [judged(rows(400, seed))[0].score for seed in range(8)]
    assert max(scores) < 18.0


@pytest.mark.parametrize("gauge", [0, 1, 2])
def test_a_gauge_that_jumps_is_named(gauge: int) -> None:
    values = rows(300, 3)
    values[280:, gauge] += 0.01
    best, second, *_ = judged(values)
    assert best.cause is GAUGES[gauge]
    assert best.score > 30.0
    assert best.score > second.score + 8.0
    assert abs(best.since - 280) <= 1
    assert best.size == pytest.approx(0.01, abs=0.003)


def test_a_gauge_that_drifts_is_named_with_its_onset() -> None:
    values = rows(300, 4)
    values[120:, 1] += 0.01 * np.arange(180) / 360.0
    best, second, *_ = judged(values)
    assert best.cause is GAUGES[1]
    assert best.ramp
    assert best.score > second.score + 4.0
    assert abs(best.since - 120) <= 40


def test_a_process_that_changes_is_not_a_gauge() -> None:
    values = rows(300, 5)
    values[250:] += 0.02
    best, *others = judged(values)
    assert best.cause is PUMP
    assert best.score > max(each.score for each in others if each.cause.gauge is not None) + 4.0


def test_another_batch_may_have_other_solids_and_no_gauge_is_to_blame() -> None:
    values = rows(300, 5)
    values[250:] += 0.04 * SOLIDS.signature
    assert judged(values, batch=250)[0].score < 18.0
    assert judged(values)[0].score > 100.0


def test_a_batch_that_nobody_told_of_is_supposed_rather_than_two_broken_gauges() -> None:
    values = rows(300, 5)
    values[250:] += 0.04 * SOLIDS.signature
    panel = panel_of_three()
    for row, value in enumerate(values):
        panel.add(value, np.zeros(1), row * ROW, 0, 0)
    best, *others = panel.judge(CAUSES, panel.noise(), {})
    assert best.cause is SOLIDS
    assert best.supposed
    assert best.score > max(each.score for each in others if each.cause.gauge is not None) + 4.0
    panel.begin_anew(best)
    assert panel.judge(CAUSES, panel.noise(), {})[0].score < 18.0


def test_a_change_that_was_found_is_not_found_again_and_a_gauge_still_is() -> None:
    values = rows(400, 6)
    values[150:] += 0.02
    values[320:, 1] += 0.008
    panel = panel_of_three()
    for row, value in enumerate(values[:300]):
        panel.add(value, np.zeros(1), row * ROW, 0, 0)
    found = panel.judge(CAUSES, panel.noise(), {})
    assert found[0].cause is PUMP
    panel.begin_anew(found[0])
    assert panel.judge(CAUSES, panel.noise(), {})[0].score < 18.0
    for row, value in enumerate(values[300:], 300):
        panel.add(value, np.zeros(1), row * ROW, 0, 0)
    assert panel.judge(CAUSES, panel.noise(), {})[0].cause is GAUGES[1]


@pytest.mark.parametrize("scatter", [0.1, 0.34, 0.5, 1.0])
def test_noise_of_an_input_is_no_move(scatter: float) -> None:
    shown = 60.3 + scatter * np.random.default_rng(2).standard_normal(480)
    assert len(eras(read_under(shown))) <= 1
    assert len(eras(read_under(np.round(shown)))) <= 1


@pytest.mark.parametrize("flips", [0.02, 0.1, 0.2, 0.35, 0.5])
def test_a_display_that_jumps_to_its_next_digit_and_back_is_no_move(flips: float) -> None:
    draw = np.random.default_rng(5)
    assert len(eras(read_under(60.0 + (draw.random(480) < flips)))) <= 1


@pytest.mark.parametrize(("by", "scatter"), [(1.0, 0.05), (-1.0, 0.1), (2.0, 0.34), (5.0, 0.5)])
def test_a_move_that_lasts_begins_an_era_where_it_took_place(by: float, scatter: float) -> None:
    shown = 60.3 + scatter * np.random.default_rng(4).standard_normal(300)
    shown[200:] += by
    # three rows say so, not fewer: they are what a verdict needs at least
    assert eras(read_under(shown[:202])) == []
    assert eras(read_under(shown[:203])) == [200]
    assert eras(read_under(shown)) == [200]


def test_a_row_on_the_way_and_a_row_that_stands_alone_begin_no_era_of_their_own() -> None:
    shown = 60.3 + 0.05 * np.random.default_rng(4).standard_normal(300)
    shown[100] = 90.0
    shown[200:] += 4.0
    shown[200] -= 2.0
    (moved,) = eras(read_under(shown))
    assert 200 <= moved <= 201


def test_a_slow_drift_of_an_input_begins_an_era_now_and_then() -> None:
    shown = 60.3 + 0.05 * np.random.default_rng(4).standard_normal(400)
    shown[100:] += 0.05 * np.arange(300)
    assert 5 <= len(eras(read_under(shown))) <= 16


def test_of_changes_as_few_are_kept_as_rows_rest_on() -> None:
    still, moving = read_under(np.full(1500, 60.0)), read_under(60.0 + np.arange(1500) // 8 * 2.0)
    assert len(still.snapshot()["rows"]) >= 480
    state = moving.snapshot()
    assert state["changes"].shape == (16, 3, 3)
    assert state["groups"][0, 2] == 0
    assert state["groups"][-1, 2] == 16
    assert len(state["rows"]) == len(state["groups"]) >= 16 * 8
    again = panel_of_three(unknown=True)
    again.restore(state)
    first, second = (each.judge(CAUSES, each.noise(), {}) for each in (moving, again))
    assert [each.score for each in first] == [each.score for each in second]


def test_a_change_that_is_found_later_takes_in_what_began_since() -> None:
    """Otherwise a pump that drifts makes an era of every finding, and a gauge is blamed at last."""
    shown = np.full(300, 60.0)
    shown[150:] += 3.0
    shown[250:] += 3.0
    panel = read_under(shown)
    assert eras(panel) == [150, 250]
    panel.begin_anew(Found(PUMP, 30.0, since=200, ramp=False, size=0.02))
    assert eras(panel) == [150, 200]
    for _ in range(20):
        panel.begin_anew(Found(PUMP, 30.0, since=200, ramp=False, size=0.02))
    assert eras(panel) == [150, 200]
    assert len(panel.snapshot()["changes"]) == 2
    assert panel.first == 0


def test_signatures_come_from_the_declared_chain() -> None:
    core = make_core(line_configuration())
    gauges = {
        "coating.wet_thickness": "gauges.wet_thickness",
        "coating.mass_loading": "gauges.mass_loading",
        "drying.dry_thickness": "gauges.dry_thickness",
    }
    told = {
        "mixing.solids_content": 0.66,
        "mixing.mixer_speed": 209.0,
        "mixing.mixing_time": 3600.0,
        "mixing.mixing_temperature": 298.0,
        "coating.pump_flow": 1.3e-6,
        "coating.line_speed": 0.05,
        "coating.coating_gap": 1.9e-4,
        "drying.zone_1_temperature": 383.0,
        "drying.zone_2_temperature": 398.0,
        "drying.zone_3_temperature": 398.0,
        "drying.air_speed": 10.0,
    }
    found = {cause.name: cause for cause in Causes(core.line, core.surrogates, gauges).of(told)}
    pump = found["coating.pump_flow or coating.line_speed"]
    np.testing.assert_allclose(pump.signature, [1.0, 1.0, 1.0], atol=0.02)
    solids = found["mixing.solids_content"]
    assert solids.batch
    np.testing.assert_allclose(solids.signature, [0.0, 1.0, 0.93], atol=0.05)
    dried = next(cause for name, cause in found.items() if "drying.dry_porosity" in name)
    np.testing.assert_allclose(dried.signature, [0.0, 0.0, 1.0], atol=0.05)
    assert dried.smear > 1.0
