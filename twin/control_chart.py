"""Control charts: does the correction still follow, or do residuals stay on one side?"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np

from twin.samples import Bools, Floats, Ints
from twin.snapshot import Snapshot

WEIGHT: Final = 0.2
"""Of the newest residual in the EWMA."""
EWMA_LIMIT: Final = 3.0 * math.sqrt(WEIGHT / (2.0 - WEIGHT))
"""Sigma within which the EWMA of independent residuals wanders by chance, three of its own."""
SLACK: Final = 0.5
"""Sigma that the cumulative sums forgive per residual."""
CUSUM_LIMIT: Final = 5.0
"""Sigma: by chance crossed once in 465 independent residuals."""
MOST: Final = 4.0
"""Sigma as which a residual counts at most: one odd reading is no shift."""
LEARNED: Final = 200.0
"""Residuals over which their correlation is learned."""
UNKNOWN: Final = 30.0
"""Independent residuals that it is taken to begin with."""
ALIKE: Final = 0.6
"""Correlation of successive residuals that is believed at most: a slow swing of the process is more
alike, and must not be taken for noise."""
LASTING: Final = 60
"""Residuals in a row for which their mean is beyond the limit of independent ones before that is an
alarm, however alike they are."""


@dataclass(frozen=True, slots=True)
class Charted:
    """What n residuals make of the charts, in sigma; NaN where one did not count."""

    ewma: Floats
    cusum: Floats
    """The sum of the side that is farther from zero, negative where that is the lower one."""


@dataclass(frozen=True, slots=True)
class Shift:
    """From `time` (ns) on residuals have stayed on one side for long, or no longer do."""

    time: int
    lasts: bool
    mean: float
    """Weighted mean of the residuals, sigma."""


class ControlChart:
    """EWMA and two-sided tabular CUSUM of standardised residuals of one structure parameter.

    EWMA: Roberts 1959, with asymptotic limits. CUSUM: Page 1954, as in Montgomery, Introduction to
    Statistical Quality Control, with k = `SLACK`, h = `CUSUM_LIMIT`. Successive residuals of a web
    are alike (foil and slurry vary slowly), so both are divided by what a correlation r of
    successive residuals makes of their spread: the EWMA by sqrt((1 + r q) / (1 - r q)) with
    q = 1 - `WEIGHT` (Schmid 1997, for an autoregressive process of first order), the residuals of
    the CUSUM by sqrt((1 + r) / (1 - r)) (Johnson and Bagshaw 1974). r is learned while the EWMA is
    inside its limits, so that a lasting shift is not taken for noise.

    A weighted mean that stays beyond `EWMA_LIMIT` is told as a `Shift`; it ends when it has been
    inside for as many residuals.
    """

    def __init__(self) -> None:
        self._ewma = 0.0
        self._sums = (0.0, 0.0)
        self._last = 0.0
        self._squares, self._products = UNKNOWN, 0.0
        self._row = 0
        self._lasts = False

    @property
    def correlation(self) -> float:
        """Of successive residuals, as learned so far."""
        return min(max(self._products / self._squares, 0.0), ALIKE)

    def update(self, time: Ints, score: Floats) -> tuple[Charted, list[Shift]]:
        """Take residuals in order of time.

        Args:
            time: n times, ns.
            score: n residuals over their stated sigma; NaN for one that does not count.
        """
        known: Bools = np.isfinite(score)
        ewma, cusum = np.full(len(score), np.nan), np.full(len(score), np.nan)
        shifts: list[Shift] = []
        high, low = self._sums
        scores = np.clip(score[known], -MOST, MOST).tolist()
        for place, now, value in zip(
            np.flatnonzero(known).tolist(), time[known].tolist(), scores, strict=True
        ):
            alike = self.correlation
            lagged = (1.0 - WEIGHT) * alike
            self._ewma += WEIGHT * (value - self._ewma)
            mean = self._ewma / math.sqrt((1.0 + lagged) / (1.0 - lagged))
            step = value / math.sqrt((1.0 + alike) / (1.0 - alike))
            high, low = max(0.0, high + step - SLACK), max(0.0, low - step - SLACK)
            ewma[place], cusum[place] = mean, high if high >= low else -low
            if abs(mean) <= EWMA_LIMIT:
                self._squares += value * value - self._squares / LEARNED
                self._products += value * self._last - self._products / LEARNED
            self._last = value
            outside = abs(self._ewma) > EWMA_LIMIT
            self._row = self._row + 1 if outside != self._lasts else 0
            if self._row == LASTING:
                self._row, self._lasts = 0, outside
                shifts.append(Shift(now, outside, self._ewma))
        self._sums = high, low
        return Charted(ewma, cusum), shifts

    def snapshot(self) -> Snapshot:
        """Where the charts are."""
        learned = [self._last, self._squares, self._products]
        return {"numbers": [self._ewma, *self._sums, *learned, self._row, self._lasts]}

    def restore(self, state: Snapshot) -> None:
        """Take what another gave."""
        self._ewma, high, low, *learned, self._row, self._lasts = state["numbers"]
        self._sums = high, low
        self._last, self._squares, self._products = learned


def evidence(name: str, shift: Shift, sigma: float, unit: str) -> tuple[str, str]:
    """What an alarm says of a shift.

    Args:
        name: `step.output`.
        shift: the shift.
        sigma: of a residual, in `unit`.
        unit: of differences, as people read them.
    """
    size, where = abs(shift.mean), "above" if shift.mean > 0 else "below"
    return (
        f"{name} is read {size * sigma:.3g} {unit} {where} its corrected prediction",
        f"the weighted mean of its residuals is {size:.1f} sigma, beyond its limit {LASTING} times "
        "in a row",
    )
