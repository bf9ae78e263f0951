"""Scores: what they are of known predictions, and whether their intervals hold what they say."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from twin.samples import Floats
from twin.scores import GROUP, REFERENCE, Blocks, cumulative_sums, drift_alarms, scores
from twin.verdict import Scores

VALUES = arrays(np.float64, st.integers(10, 60), elements=st.floats(-1e3, 1e3, width=32))
MONTGOMERY = (
    "9.45 7.99 9.29 11.66 12.16 10.18 8.04 11.46 9.20 10.34 9.03 11.47 10.51 9.40 10.08 9.37 10.62 "
    "10.31 8.52 10.84 10.90 9.33 12.29 11.50 10.60 11.08 10.38 11.62 11.31 10.52"
)
"""Montgomery, Introduction to Statistical Quality Control, example of the tabular chart: mean 10,
sigma 1, and from the 21st on a mean of 11."""


def blocks(rows: int, block: int = 5, resamples: int = 100) -> Blocks:
    return Blocks(np.zeros(rows, np.int64), block, resamples, 1)


def scored(measured: Floats, said: Floats, sigma: float | None = None, block: int = 5) -> Scores:
    spread = None if sigma is None else np.full(len(measured), sigma)
    return scores(measured, said, spread, blocks(len(measured), block))


def autocorrelated(draw: np.random.Generator, rows: int, share: float) -> Floats:
    """Noise of which a share carries over from row to row, with a spread of 1."""
    noise = draw.normal(size=rows)
    found = np.empty(rows)
    found[0] = noise[0]
    for row in range(1, rows):
        found[row] = share * found[row - 1] + np.sqrt(1 - share**2) * noise[row]
    return found


@given(VALUES)
@settings(max_examples=30, deadline=None)
def test_a_perfect_model(measured: Floats) -> None:
    found = scored(measured, measured, sigma=1.0)
    assert (found.mae.value, found.mae.low, found.mae.high) == (0.0, 0.0, 0.0)
    assert found.bias.value == 0.0
    assert found.coverage is not None
    assert found.coverage.value == 1.0
    assert found.r2.value in (None, pytest.approx(1.0))


@given(VALUES, st.floats(-100, 100))
@settings(max_examples=30, deadline=None)
def test_a_shift_of_the_prediction_is_a_bias(measured: Floats, shift: float) -> None:
    found = scored(measured, measured + shift)
    assert found.bias.value == pytest.approx(-shift, abs=1e-9)
    assert found.mae.value == pytest.approx(abs(shift), abs=1e-9)
    assert found.coverage is None


@given(VALUES, st.floats(-1000, 1000), st.integers(0, 2**31))
@settings(max_examples=30, deadline=None)
def test_a_shift_of_both_changes_nothing(measured: Floats, shift: float, seed: int) -> None:
    said = measured + np.random.default_rng(seed).normal(size=len(measured))
    one, two = scored(measured, said), scored(measured + shift, said + shift)
    for field in ("mae", "bias"):
        first, second = getattr(one, field), getattr(two, field)
        assert second.value == pytest.approx(first.value, abs=1e-9)
        assert second.low == pytest.approx(first.low, abs=1e-9)


def test_the_interval_of_a_known_gaussian() -> None:
    draw = np.random.default_rng(2)
    said = draw.normal(100, 5, 4000)
    found = scored(said + draw.normal(0, 2, 4000), said, sigma=2.0)
    assert found.coverage is not None
    assert found.coverage.value == pytest.approx(0.9, abs=0.02)
    assert found.coverage.low is not None
    assert found.coverage.high is not None
    assert found.coverage.low < 0.9 < found.coverage.high
    assert found.mae.value == pytest.approx(2 * np.sqrt(2 / np.pi), rel=0.05)
    assert found.r2.value == pytest.approx(1 - 4 / 29, abs=0.02)


def test_what_has_no_stated_interval_yet_does_not_count() -> None:
    sigma = np.array([np.nan] * 10 + [1.0] * 30)
    measured = np.concatenate([np.full(10, 99.0), np.zeros(30)])
    found = scores(measured, np.zeros(40), sigma, blocks(40))
    assert found.mae.value == 0.0


@pytest.mark.parametrize(("rows", "tolerated"), [(200, (0.87, 0.99)), (500, (0.89, 0.99))])
def test_intervals_hold_the_truth_as_often_as_they_say(
    rows: int, tolerated: tuple[float, float]
) -> None:
    """With neighbours that are alike; drawing single segments would hold it far less often."""
    draw = np.random.default_rng(3)
    held = {1: 0, 25: 0}
    trials = 150
    for _ in range(trials):
        residual = autocorrelated(draw, rows, 0.7)
        for block in held:
            bias = scores(residual, np.zeros(rows), None, blocks(rows, block, 200)).bias
            assert bias.low is not None
            assert bias.high is not None
            held[block] += bias.low < 0.0 < bias.high
    assert tolerated[0] < held[25] / trials < tolerated[1]
    assert held[1] / trials < 0.75


def test_blocks_do_not_cross_recordings() -> None:
    """Two recordings of opposite sign, one block each: a block has one sign."""
    signs = np.repeat([1.0, -1.0], 20)
    of = Blocks(np.repeat([0, 1], 20), 20, 50, 1)
    drawn: list[Floats] = []

    def mean(sums: Floats) -> Floats:
        drawn.append(sums / 40)
        return sums

    of.estimates(signs[:, None], mean)
    assert set(np.unique(drawn[-1])) <= {-1.0, 0.0, 1.0}


def test_less_than_two_blocks_have_no_interval() -> None:
    found = scored(np.arange(30.0), np.zeros(30), block=25)
    assert found.mae.value == pytest.approx(14.5)
    assert found.mae.low is None


def test_the_chart_of_the_textbook() -> None:
    values = np.array([float(value) for value in MONTGOMERY.split()])
    upper, lower = cumulative_sums(values - 10.0, allowance=0.5)
    assert upper[:6] == pytest.approx([0.0, 0.0, 0.0, 1.16, 2.82, 2.50])
    assert lower[:4] == pytest.approx([0.05, 1.56, 1.77, 0.0])
    assert upper[28] == pytest.approx(5.28)
    assert int(np.flatnonzero(upper > 5)[0]) + 1 == 29


def test_one_shift_is_one_alarm() -> None:
    draw = np.random.default_rng(4)
    learning = GROUP * REFERENCE
    residual = draw.normal(size=6 * learning)
    assert drift_alarms(residual) == []
    moved = residual.copy()
    moved[3 * learning :] += 3.0
    (alarm,) = drift_alarms(moved)
    assert 3 * learning <= alarm < 3 * learning + 4 * GROUP
    assert drift_alarms(moved + 50.0) == [alarm]


@pytest.mark.parametrize("rows", [0, 3, GROUP * REFERENCE])
def test_a_short_or_constant_series_raises_no_alarm(rows: int) -> None:
    assert drift_alarms(np.zeros(rows)) == []
    assert drift_alarms(np.full(10 * GROUP * REFERENCE, 0.25)) == []
