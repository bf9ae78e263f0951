"""Intervals made honest on the line: how many sigma really hold nine measurements of ten."""

from __future__ import annotations

from array import array
from bisect import bisect_right, insort
from collections.abc import Sequence
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
ROW: Final = 60
"""Measurements inside one after the other, by chance once in 550, that say it is too wide."""
HISTORY: Final = 8192
"""Measurements whose margins are kept: twice what predictions are remembered for."""


class Margin:
    """The factor by which a stated sigma must grow or shrink, learned from what it missed.

    Adaptive conformal prediction (Gibbs and Candès 2021) as quantile tracking (Angelopoulos, Candès
    and Tibshirani 2023, eq. 4) of the logarithm of |residual| / sigma: after each measurement the
    margin grows by `RATE` times what it may hold where the interval that was stated when the
    material left the step missed, or shrinks by `RATE` times what it may miss. Whatever the
    residuals do, the share missed of n measurements departs from `MISSED` by
    ln(last margin / margin at their start) / (RATE n), but for what it is set down. Up to `FIRST`
    measurements the margin is their own quantile as in split conformal prediction (Vovk, Gammerman
    and Shafer 2005), between two of them in proportion, so that it holds `1 - MISSED` and not more.
    It is set down to that of the last `ROW` where none of them missed: a rough start is not paid
    for with wide intervals.
    """

    def __init__(self) -> None:
        self._level = 0.0
        self._first: list[float] = []
        self._inside: list[float] = []
        self._times = array("q")
        self._levels = array("d")

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
                self._level = _quantile(self._first)
            else:
                missed = value > self._stated(then - 1)
                self._level += RATE * (missed - MISSED)
                if missed:
                    self._inside.clear()
                else:
                    insort(self._inside, value)
                if len(self._inside) == ROW:
                    self._level = min(self._level, _quantile(self._inside))
                    self._inside.clear()
            self._times.append(now)
            self._levels.append(self._level)
        if len(self._times) > HISTORY + HISTORY // 4:
            del self._times[:-HISTORY], self._levels[:-HISTORY]

    def snapshot(self) -> Snapshot:
        """What it has learned."""
        times, levels = np.array(self._times, np.int64), np.array(self._levels, np.float64)
        first = np.array(self._first)
        inside = np.array(self._inside)
        return {
            "level": self._level, "first": first, "inside": inside, "times": times,
            "levels": levels,
        }  # fmt: skip

    def restore(self, state: Snapshot) -> None:
        """Take what another gave."""
        self._level, self._first = state["level"], state["first"].tolist()
        self._inside = state["inside"].tolist()
        self._times = array("q", state["times"].tolist())
        self._levels = array("d", state["levels"].tolist())

    def _stated(self, time: int) -> float:
        index = bisect_right(self._times, time) - 1
        return self._levels[index] if index >= 0 else 0.0

    def at(self, time: Ints) -> Floats:
        """The factor known at these times; 1 before the first measurement."""
        return np.exp([self._stated(moment) for moment in time.tolist()])


def _quantile(scores: Sequence[float]) -> float:
    """Of ascending scores, such that the next misses it with `MISSED`; 0 where they are too few."""
    rank = (1 - MISSED) * (len(scores) + 1)
    if rank > len(scores):
        return 0.0
    return float(np.interp(rank, np.arange(1, len(scores) + 1), scores))
