"""Promises: what a recommendation said would come of it, and what the material then did."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Final

import numpy as np

from twin.conformal import GAUSSIAN
from twin.material import MaterialTable
from twin.passage import Passage
from twin.recommendation import Effect, Recommendation
from twin.snapshot import Snapshot

FIRST: Final = 2
"""Segments after a move that are left out: the machine was still moving."""
ENOUGH: Final = 8
"""Segments by which a promise is judged."""
FEWEST: Final = 3
"""Segments by which it is judged where another move comes before."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """Whether the material did what a recommendation promised; SI."""

    recommendation: str
    time: int
    """When the last of the material was measured, ns."""
    step: str
    output: str
    promised: float
    sigma: float
    """Of a measurement against what was promised."""
    before: float
    """What was expected without the move."""
    measured: float
    """Mean over the segments."""
    segments: int

    @property
    def kept(self) -> bool:
        """Whether the mean lies in the 90 % interval that was stated."""
        return abs(self.measured - self.promised) <= GAUSSIAN * self.sigma


@dataclass(slots=True)
class _Open:
    recommendation: str
    web: str
    since: int
    effect: Effect
    passed: int = 0
    values: list[float] = field(default_factory=list)
    time: int = 0


class Promises:
    """Follows what became of recommendations that were carried out.

    Material counts that left the step after the move and was measured; `FIRST` segments are left
    out and `ENOUGH` judged, fewer where the next move on the web comes earlier.

    Args:
        table: when each segment left each step.
    """

    def __init__(self, table: MaterialTable) -> None:
        self._table = table
        self._open: list[_Open] = []

    def made(self, recommendation: Recommendation, time: int) -> list[Judgement]:
        """A recommendation was carried out at `time` (ns); judges the one before on its web."""
        ended = [each for each in self._open if each.web == recommendation.web]
        self._open = [each for each in self._open if each.web != recommendation.web]
        self._open += [
            _Open(recommendation.id, recommendation.web, time, effect)
            for effect in recommendation.effects
        ]
        return [_judged(each) for each in ended if len(each.values) >= FEWEST]

    def read(self, step: str, output: str, read: Passage) -> list[Judgement]:
        """Take measurements of segments; says what is judged by them."""
        found: list[Judgement] = []
        for each in [o for o in self._open if (o.effect.step, o.effect.output) == (step, output)]:
            left = self._table.time(f"{step}.{output}", read.segments)
            for row in np.flatnonzero((left > each.since) & np.isfinite(read.value)).tolist():
                each.passed += 1
                if each.passed <= FIRST:
                    continue
                each.values.append(float(read.value[row]))
                each.time = int(read.time[row])
                if len(each.values) == ENOUGH:
                    found.append(_judged(each))
                    self._open.remove(each)
                    break
        return found

    def snapshot(self) -> Snapshot:
        """What is not judged yet."""
        return {"open": [asdict(each) for each in self._open]}

    def restore(self, state: Snapshot) -> None:
        """Take what another gave."""
        self._open = [
            _Open(**{**each, "effect": Effect(**each["effect"])}) for each in state["open"]
        ]


def _judged(promise: _Open) -> Judgement:
    effect = promise.effect
    return Judgement(
        promise.recommendation,
        promise.time,
        effect.step,
        effect.output,
        effect.after,
        effect.sigma,
        effect.before,
        float(np.mean(promise.values)),
        len(promise.values),
    )
