"""Control charts: quiet while residuals are noise, loud when they stay on one side."""

from __future__ import annotations

import numpy as np
import pytest

from twin.control_chart import CUSUM_LIMIT, EWMA_LIMIT, LASTING, ControlChart, Shift
from twin.samples import Floats


def noise(correlation: float, count: int, seed: int = 1) -> Floats:
    """An autoregressive process of first order with unit variance."""
    random = np.random.default_rng(seed).normal(size=count)
    values = np.empty(count)
    values[0] = random[0]
    for row in range(1, count):
        values[row] = correlation * values[row - 1] + np.sqrt(1 - correlation**2) * random[row]
    return values


def taken(chart: ControlChart, score: Floats, at: int = 0) -> tuple[Floats, Floats, list[Shift]]:
    charted, shifts = chart.update(np.arange(at, at + len(score)), score)
    return charted.ewma, charted.cusum, shifts


@pytest.mark.parametrize("correlation", [0.0, 0.3, 0.5])
def test_noise_is_rarely_beyond_the_limits_and_no_alarm(correlation: float) -> None:
    ewma, cusum, shifts = taken(ControlChart(), noise(correlation, 5000))
    assert (np.abs(ewma[500:]) > EWMA_LIMIT).mean() < 0.02
    assert (np.abs(cusum[500:]) > CUSUM_LIMIT).mean() < 0.06
    assert shifts == []


@pytest.mark.parametrize("sign", [-1.0, 1.0])
def test_a_lasting_shift_is_told_once_and_taken_back(sign: float) -> None:
    chart = ControlChart()
    taken(chart, noise(0.0, 300))
    ewma, cusum, (began,) = taken(chart, sign * 2.0 + 0.3 * noise(0.0, 3 * LASTING), 300)
    assert began.lasts
    assert 300 + LASTING <= began.time < 300 + LASTING + 10
    assert began.mean == pytest.approx(sign * 2.0, abs=0.5)
    assert sign * ewma[-1] > EWMA_LIMIT
    assert sign * cusum[-1] > CUSUM_LIMIT
    *_, (ended,) = taken(chart, 0.3 * noise(0.0, 3 * LASTING), 900)
    assert not ended.lasts


def test_a_spike_is_no_shift_and_what_does_not_count_changes_nothing() -> None:
    chart = ControlChart()
    score = np.zeros(100)
    score[50] = 1000.0
    score[60] = np.nan
    ewma, _, shifts = taken(chart, score)
    assert np.flatnonzero(np.isnan(ewma)).tolist() == [60]
    assert np.nanmax(ewma) <= EWMA_LIMIT
    assert shifts == []


def test_how_it_is_cut_does_not_matter_and_another_goes_on() -> None:
    score = noise(0.4, 400) + np.repeat([0.0, 1.5], 200)
    whole = taken(ControlChart(), score)
    chart = ControlChart()
    parts = []
    for start in range(0, 400, 37):
        parts.append(taken(chart, score[start : start + 37], start))
        other = ControlChart()
        other.restore(chart.snapshot())
        chart = other
    for column in (0, 1):
        cut = np.concatenate([np.asarray(part[column]) for part in parts])
        np.testing.assert_array_equal(cut, np.asarray(whole[column]))
    assert [shift for part in parts for shift in part[2]] == whole[2]
