"""Intervals made honest on the line: how many sigma really hold nine measurements of ten."""

from __future__ import annotations

import math
from bisect import bisect_right, insort
from typing import Final

import numpy as np

from twin.samples import Floats, Ints
from twin.snapshot import Snapshot

MISSED: Final = 0.1
"""Share of measurements that the interval may miss."""
GAUSSIAN: Final = 1.6448536269514722
"""Sigma that hold the other share of a normal distribution."""
RATE: Final = 0.06
"""Step of the logarithm of the margin."""
FIRST: Final = 60
"""Measurements whose own quantile is the margin, before it is tracked."""
HISTORY: Final = 50_000


class Margin:
    """The factor by which a stated sigma must grow or shrink, learned from what it missed.

    Adaptive conformal prediction (Gibbs and Candès 2021) as quantile tracking (Angelopoulos, Candès
    and Tibshirani 2023, eq. 4) of the logarithm of |residual| / sigma: after each measurement the
    margin grows by `RATE` times what it may hold where the interval that was stated when the
    material left the step missed, or shrinks by `RATE` times what it may miss. Whatever the
    residuals do, the share missed of n measurements departs from `MISSED` by
    ln(last margin / margin at their start) / (RATE n). Up to `FIRST` measurements the margin is
    their own quantile as in split conformal prediction (Vovk, Gammerman and Shafer 2005).
    """

    def __init__(self) -> None:
        self._level = 0.0
        self._first: list[float] = []
        self._times: list[int] = []
        self._levels: list[float] = []

    def update(self, read: Ints, left: Ints, score: Floats) -> None:
        """Take |residual| / sigma of segments in order of the time at which they were read.

        Args:
            read: when each was known, ns.
            left: when its prediction was made, ns.
            score: n, without unit.
        """
        scores = np.log(np.maximum(score, 1e-12) / GAUSSIAN)
        for now, then, value in zip(read.tolist(), left.tolist(), scores.tolist(), strict=True):
            if len(self._first) < FIRST:
                insort(self._first, value)
                rank = math.ceil((1 - MISSED) * (len(self._first) + 1))
                self._level = self._first[rank - 1] if rank <= len(self._first) else 0.0
            else:
                self._level += RATE * ((value > self._stated(then - 1)) - MISSED)
            self._times.append(now)
            self._levels.append(self._level)
        if len(self._times) > 2 * HISTORY:
            del self._times[:-HISTORY], self._levels[:-HISTORY]

    def snapshot(self) -> Snapshot:
        """What it has learned."""
        times, levels = np.array(self._times, np.int64), np.array(self._levels)
        first = np.array(self._first)
        return {"level": self._level, "first": first, "times": times, "levels": levels}

    def restore(self, state: Snapshot) -> None:
        """Take what another gave."""
        self._level, self._first = state["level"], state["first"].tolist()
        self._times, self._levels = state["times"].tolist(), state["levels"].tolist()

    def _stated(self, time: int) -> float:
        index = bisect_right(self._times, time) - 1
        return self._levels[index] if index >= 0 else 0.0

    def at(self, time: Ints) -> Floats:
        """The factor known at these times; 1 before the first measurement."""
        return np.exp([self._stated(moment) for moment in time.tolist()])
