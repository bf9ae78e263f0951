"""Scores of predictions along a web, with confidence intervals that know of neighbours.

What is wrong with a segment is mostly wrong with the next one too: residuals along a web are
autocorrelated, and resampling single segments would promise far too much. Stretches of consecutive
segments are drawn instead (moving blocks: Künsch 1989, Ann. Statist. 17, 1217).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy.special import ndtr, ndtri, stdtrit

from twin.samples import Bools, Floats, Ints
from twin.verdict import Estimate, Scores

CONFIDENCE: Final = 0.95
"""Of all intervals of figures."""
NOMINAL: Final = 0.9
"""Share of measurements that the stated interval of a prediction should hold."""
ALLOWANCE: Final = 1.0
"""Sigma of a step that the chart forgives. Textbooks take 0.5, for a mean and sigma that are known;
these are learned from few groups, and neighbouring groups are still somewhat alike."""
DECISION: Final = 8.0
"""Cumulative sum, in sigma, that is an alarm. In 600 rows without a shift there is one by chance in
1 of 100 series of white noise, and in 1 of 10 where 0.7 of a residual carries over; a shift of 1.5
sigma of a row is found 20 to 40 rows later."""
REFERENCE: Final = 20
"""Groups from which the chart learns what is usual."""
GROUP: Final = 5
"""Consecutive measured segments whose mean is one step of the chart."""
_ROOM: Final = 4_000_000
"""Numbers that are held at once while drawing."""


@dataclass(frozen=True, slots=True)
class Blocks:
    """Draws the material anew, in blocks of consecutive rows that do not cross recordings.

    The intervals are expanded percentile intervals (Hesterberg 2015, Am. Stat. 69, 371): with few
    blocks plain percentiles are too narrow, as a normal instead of a t interval would be.
    """

    run: Ints
    """Which recording a row is of; rows in order of the web."""
    block: int
    """Rows that are drawn together."""
    resamples: int
    seed: int

    @property
    def count(self) -> float:
        """Length of the material in blocks."""
        return len(self.run) / self.block

    def estimates(
        self, columns: Floats, statistic: Callable[[Floats], Floats], confidence: float = CONFIDENCE
    ) -> list[Estimate]:
        """Figures that are functions of sums over the material, with their intervals.

        Args:
            columns: (n, k) what is summed.
            statistic: gives figures (m, q) of sums (m, k).
            confidence: of the intervals.
        """
        with np.errstate(divide="ignore", invalid="ignore"):
            values = statistic(columns.sum(axis=0)[None, :])[0]
            drawn = statistic(self._sums(columns))
        if not len(drawn):
            return [estimate(value) for value in values.tolist()]
        wide = math.sqrt(self.count / (self.count - 1)) * float(
            stdtrit(self.count - 1, 0.5 * (1 + confidence))
        )
        levels = [float(ndtr(-wide)), float(ndtr(wide))]
        found = []
        for value, each in zip(values.tolist(), drawn.T, strict=True):
            known = each[np.isfinite(each)]
            low, high = np.quantile(known, levels).tolist() if len(known) else (math.nan, math.nan)
            found.append(estimate(value, low, high))
        return found

    def _sums(self, columns: Floats) -> Floats:
        """Sums over the material drawn anew (resamples, k); none of less than two blocks."""
        rows = len(self.run)
        if self.count < 2:
            return np.empty((0, columns.shape[1]))
        starts = np.flatnonzero(self.run[: rows - self.block + 1] == self.run[self.block - 1 :])
        if not len(starts):
            return np.empty((0, columns.shape[1]))
        total = np.vstack([np.zeros(columns.shape[1]), np.cumsum(columns, axis=0)])
        sums = total[starts + self.block] - total[starts]
        draw = np.random.default_rng(self.seed)
        blocks = math.ceil(self.count)
        at_once = max(1, _ROOM // (blocks * columns.shape[1]))
        drawn = []
        for first in range(0, self.resamples, at_once):
            many = min(at_once, self.resamples - first)
            drawn.append(sums[draw.integers(len(starts), size=(many, blocks))].sum(axis=1))
        return np.concatenate(drawn)


def estimate(value: float, low: float = math.nan, high: float = math.nan) -> Estimate:
    """A figure for the report: what is not finite is not known."""
    known = math.isfinite(low) and math.isfinite(high)
    return Estimate(
        value=value if math.isfinite(value) else None,
        low=low if known else None,
        high=high if known else None,
    )


def columns(measured: Floats, predicted: Floats, sigma: Floats | None) -> Floats:
    """What the scores are sums of, per row: one, |r|, r, r², y, y², in its interval; (n, 7).

    Args:
        measured: is taken from its mean, so that its variance keeps its digits.
        predicted: of the same rows.
        sigma: of a measurement against the prediction; a row without one does not count. None
            where the predictions state no interval.
    """
    residual = measured - predicted
    about = measured - measured.mean() if len(measured) else measured
    counts = np.ones(len(measured), np.bool_) if sigma is None else np.isfinite(sigma)
    inside = np.full(len(measured), np.nan) if sigma is None else covered(residual, sigma)
    table = np.column_stack(
        [
            np.ones(len(measured)),
            np.abs(residual),
            residual,
            residual**2,
            about,
            about**2,
            inside,
        ]
    )
    table[~counts] = 0.0
    return table


def covered(residual: Floats, sigma: Floats, nominal: float = NOMINAL) -> Bools:
    """Which measurements lie in the central interval of a normal prediction."""
    with np.errstate(invalid="ignore"):
        return np.abs(residual) <= float(ndtri(0.5 * (1 + nominal))) * sigma


def figures(sums: Floats) -> Floats:
    """Mean absolute error, bias, R² and coverage (m, 4) of sums (m, 7) of `columns`."""
    count, absolute, residual, squared, about, spread, inside = sums.T
    variance = spread - about**2 / count
    return np.column_stack(
        [absolute / count, residual / count, 1.0 - squared / variance, inside / count]
    )


def scores(measured: Floats, predicted: Floats, sigma: Floats | None, blocks: Blocks) -> Scores:
    """How far predictions were from the measurements of the same rows, in the unit of both."""
    mae, bias, r2, coverage = blocks.estimates(columns(measured, predicted, sigma), figures)
    return Scores(
        mae=mae, bias=bias, r2=r2, coverage=coverage if coverage.value is not None else None
    )


def cumulative_sums(standardised: Floats, allowance: float = ALLOWANCE) -> tuple[Floats, Floats]:
    """Upper and lower sums of a tabular chart (Page 1954; Montgomery, Statistical Quality Control).

    Args:
        standardised: deviations in sigma.
        allowance: sigma forgiven per step.
    """
    upper, lower = np.zeros(len(standardised)), np.zeros(len(standardised))
    high = low = 0.0
    for index, value in enumerate(standardised.tolist()):
        high = max(0.0, high + value - allowance)
        low = max(0.0, low - value - allowance)
        upper[index], lower[index] = high, low
    return upper, lower


def drift_alarms(residual: Floats) -> list[int]:
    """Rows at which the mean of the residuals was found to have moved.

    The chart runs on means of `GROUP` rows, which are far less alike than neighbours are, and
    compares them with the first `REFERENCE` means. After an alarm it learns anew what is usual, so
    that one shift is one alarm.
    """
    groups = len(residual) // GROUP
    means = residual[: groups * GROUP].reshape(groups, GROUP).mean(axis=1)
    alarms: list[int] = []
    start = 0
    while start + REFERENCE < groups:
        usual = means[start : start + REFERENCE]
        later = means[start + REFERENCE :]
        sigma = float(usual.std(ddof=1))
        if not sigma > 0.0:
            sigma = float(np.finfo(np.float64).tiny)
        upper, lower = cumulative_sums((later - usual.mean()) / sigma)
        found = np.flatnonzero(np.maximum(upper, lower) > DECISION)
        if not len(found):
            break
        start += REFERENCE + int(found[0]) + 1
        alarms.append(start * GROUP - 1)
    return alarms
