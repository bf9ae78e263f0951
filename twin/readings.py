"""Raw readings of one gauge: spikes are taken out; frozen, spiking and noisy gauges are found.

Everything is judged against what the gauge itself did before, so that no limit has to be
configured: its noise from successive differences (von Neumann 1941), how often two readings in a
row are equal and how long they stay so, how often one lies alone.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from twin.samples import Bools, Floats, Ints
from twin.snapshot import Snapshot

Kind = Literal["frozen", "spiking", "noisy"]

WINDOW: Final = 15
"""Readings before a reading whose median it is compared with."""
PAIRS: Final = 60
"""Successive differences that the noise is taken from."""
SPIKE: Final = 10.0
"""Sigma from the median beyond which a reading that stands alone is a spike (Hampel 1974)."""
CHANCE: Final = 1e-10
"""Of a run of equal readings, or of spikes, with a gauge that is well."""
RUN: Final = 5
"""Equal readings in a row that are looked at, at least."""
HABIT: Final = 3
"""Runs as long as that are the gauge's way: one that ended was no freeze, or one that is over."""
LONGER: Final = 3.0
"""Times as long as those the readings must stay equal."""
RUNS: Final = 40
"""Runs that must have ended before the longest of them say much."""
UNKNOWN: Final = 100
"""Equal readings in a row that are looked at before that, at least."""
FADE: Final = 100_000
"""Readings in which the length of a run that is remembered falls to 1/e."""
SHARE: Final = 0.002
"""Of readings that may lie alone on a gauge that is well."""
COUNTED: Final = 200
"""Readings of which spikes are counted."""
NOISIER: Final = 4.0
"""Times the gauge's usual noise that it must scatter, twice in a row."""
WELL: Final = 40
"""Readings without its cause after which a condition is over."""
MEMORY: Final = 2000
"""Readings of which the usual noise is the median."""
_GAUSS: Final = 1.4826 / math.sqrt(2.0)
"""Sigma per median of absolute successive differences, normal distribution."""


@dataclass(frozen=True, slots=True)
class Condition:
    """A gauge's readings are not what they were, or are again."""

    time: int
    """When it showed, ns."""
    tag: int
    kind: Kind
    active: bool
    since: int
    """When it began, ns."""
    evidence: str


class Readings:
    """Follows the readings of one gauge in order of time.

    Args:
        tag: index of the gauge's tag.
    """

    def __init__(self, tag: int) -> None:
        self._tag = tag
        self._value = np.empty(0)
        self._time = np.empty(0, np.int64)
        self._travel = np.empty(0)
        self._active: dict[Kind, int] = {}
        """Readings since the cause was last seen, by condition."""
        self._run = 0
        self._began = 0
        self._equal, self._pairs = 1.0, 10.0
        self._runs, self._faded = 0, 0
        """Runs that ended, and the reading up to which the longest have faded."""
        self._longest = [0.0] * HABIT
        """Of the runs that ended, rising."""
        self._spikes: list[int] = []
        self._noisy = 0
        self._left: tuple[float, float] | None = None
        """Median and bound that the reading before has left, if it stands alone so far."""
        self._count = 0
        self._usual: list[float] = []

    def follow(self, time: Ints, value: Floats, travel: Floats) -> tuple[Bools, list[Condition]]:
        """Which readings are spikes, and what is wrong with the gauge.

        Args:
            time: ns, rising.
            value: SI, finite.
            travel: of the web by then, m; where it stands still, nothing is said of equal readings.
        """
        before = len(self._value)
        values = np.concatenate([self._value, value])
        times = np.concatenate([self._time, time])
        travels = np.concatenate([self._travel, travel])
        noise = self._noise(values, before)
        spike, middle, bound = self._alone(values, noise, before)
        found: list[Condition] = []
        for index in range(len(value)):
            here = before + index
            self._count += 1
            found += self._judge_run(values, times, travels, here)
            found += self._judge_noise(times, here, float(noise[index + 1]))
            left, self._left = self._left, None
            if spike[index]:
                self._left = float(middle[index]), float(bound[index])
            came_back = left is not None and abs(values[here] - left[0]) <= left[1]
            found += self._judge_spikes(int(times[here]), came_back)
        keep = max(0, len(values) - PAIRS - 1)
        self._value, self._time, self._travel = values[keep:], times[keep:], travels[keep:]
        return spike, found

    def snapshot(self) -> Snapshot:
        """What it compares with."""
        return {
            "columns": [self._value, self._time, self._travel],
            "active": dict(self._active),
            "run": [self._run, self._began, self._equal, self._pairs],
            "runs": [self._runs, self._faded, *self._longest],
            "spikes": list(self._spikes),
            "noisy": self._noisy,
            "left": self._left,
            "count": self._count,
            "usual": list(self._usual),
        }

    def restore(self, state: Snapshot) -> None:
        """Take what another gave."""
        self._value, self._time, self._travel = state["columns"]
        self._active = dict(state["active"])
        self._run, self._began, self._equal, self._pairs = state["run"]
        self._runs, self._faded, *self._longest = state["runs"]
        self._spikes, self._noisy = list(state["spikes"]), state["noisy"]
        left = state["left"]
        self._left = None if left is None else (left[0], left[1])
        self._count, self._usual = state["count"], list(state["usual"])

    @staticmethod
    def _noise(values: Floats, before: int) -> Floats:
        """Sigma of a reading from the differences up to the last before and each; NaN at first."""
        found = np.full(len(values) - before + 1, np.nan)
        first = max(before - 1, PAIRS)
        if len(values) > first:
            steps = np.abs(np.diff(values[first - PAIRS :]))
            windows = sliding_window_view(steps, PAIRS)
            found[first - before + 1 :] = _GAUSS * np.median(windows, axis=1)
        return found

    @staticmethod
    def _alone(values: Floats, noise: Floats, before: int) -> tuple[Bools, Floats, Floats]:
        """Readings far from the one before and from the median of those before; it, and how far."""
        count = len(values) - before
        spike, middle, bound = np.zeros(count, np.bool_), np.zeros(count), np.zeros(count)
        first = max(before, PAIRS + 1)
        if len(values) <= first:
            return spike, middle, bound
        new = slice(first - before, None)
        middle[new] = np.median(sliding_window_view(values[first - WINDOW : -1], WINDOW), axis=1)
        # the noise without the reading itself
        bound[new] = SPIKE * noise[first - before : -1]
        here, last = values[first:], values[first - 1 : -1]
        far = (np.abs(here - middle[new]) > bound[new]) & (np.abs(here - last) > bound[new])
        spike[new] = far & (bound[new] > 0.0)
        return spike, middle, bound

    def _judge_run(
        self, values: Floats, times: Ints, travels: Floats, here: int
    ) -> Iterator[Condition]:
        if here == 0:
            return
        time = int(times[here])
        moving = bool(travels[here] != travels[here - 1])
        equal = bool(values[here] == values[here - 1])
        if equal and moving:
            if not self._run:
                self._began = int(times[here - 1])
            self._run += 1
        elif not equal:
            self._end_run()
        usual = self._equal / self._pairs
        frozen = self._run >= RUN and self._run > self._bound() and usual**self._run < CHANCE
        if moving and self._run < RUN:
            self._equal += equal
            self._pairs += 1.0
        text = f"{self._run + 1} readings in a row are the same while the web moves; " + (
            f"of two in a row {100 * usual:.2g} % are usually equal"
        )
        yield from self._settle("frozen", frozen, time, self._began, text)

    def _end_run(self) -> None:
        """Learn how long readings of this gauge stay equal."""
        self._runs += 1
        if self._run:
            left = math.exp((self._faded - self._count) / FADE)
            self._longest = sorted([*(left * each for each in self._longest), self._run])[-HABIT:]
            self._run, self._faded = 0, self._count

    def _bound(self) -> float:
        """Equal pairs in a row that are nothing new for this gauge."""
        bound = LONGER * self._longest[0]
        return bound if self._runs >= RUNS else max(bound, UNKNOWN)

    def _judge_spikes(self, time: int, came_back: bool) -> Iterator[Condition]:
        if came_back:
            self._spikes.append(self._count)
        while self._spikes and self._spikes[0] <= self._count - COUNTED:
            self._spikes.pop(0)
        # Poisson: the chance of so many in so few
        count, mean = len(self._spikes), SHARE * COUNTED
        chance = mean**count / math.factorial(min(count, 150))
        of = min(self._count, COUNTED)
        text = f"{count} of the last {of} readings stand alone, far from those beside them"
        spiking = came_back and (chance < 1e-4 or "spiking" in self._active)
        yield from self._settle("spiking", spiking, time, time, text)

    def _judge_noise(self, times: Ints, here: int, noise: float) -> Iterator[Condition]:
        if not math.isfinite(noise) or self._count % PAIRS:
            return
        usual = float(np.median(self._usual)) if len(self._usual) >= 5 else math.nan
        time = int(times[here])
        self._noisy = self._noisy + 1 if noise > NOISIER * usual > 0.0 else 0
        noisy = self._noisy > 1
        text = f"its readings scatter {noise / usual if usual else 0.0:.2g} times as much as usual"
        if not self._noisy and "frozen" not in self._active:
            self._usual.append(noise)
            del self._usual[: -MEMORY // PAIRS]
        yield from self._settle("noisy", noisy, time, int(times[max(0, here - PAIRS)]), text)

    def _settle(
        self, kind: Kind, wrong: bool, time: int, since: int, text: str
    ) -> Iterator[Condition]:
        if wrong:
            if kind not in self._active:
                yield Condition(time, self._tag, kind, True, since, text)
            self._active[kind] = 0
        elif kind in self._active:
            self._active[kind] += 1
            patience = WELL if kind == "frozen" else COUNTED if kind == "spiking" else 3
            if self._active[kind] >= patience:
                del self._active[kind]
                yield Condition(time, self._tag, kind, False, time, "")
