"""What lines are controlled with today: a run-to-run EWMA controller and a PI loop on the gauge."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np

from twin.cli.assessment.control import Writer
from twin.cli.assessment.loops import Gain, Loop, find_loops
from twin.configuration.models import LineConfiguration
from twin.ports import Surrogate, Write
from twin.samples import SampleBatch

FORGETTING: Final = 0.3
"""Lambda: the middle of 0.2 to 0.4, which serves where the disturbance is not known beforehand
(Box and Luceno, Statistical Control by Monitoring and Feedback Adjustment, 1997)."""
RUN: Final = 0.25
"""Web that makes a run, in material delays."""
BARE: Final = 0.5
"""Readings below this share of the target are of bare foil or of no web."""


class Law(Protocol):
    """Turns errors of the gauge into what the output should change by; all in its unit, SI."""

    wanted: float
    """Change of the output that is still to be made."""

    def read(self, error: float, length: float) -> bool:
        """Take an error (measured less target) at a web length, m; whether it may move now."""
        ...

    def moved(self, length: float) -> None:
        """The setpoint was moved when the encoder stood at `length`, m."""
        ...


class Ewma:
    """Run to run (Ingolfsson and Sachs, J. Quality Technology 25, 1993, 271-287).

    The intercept of a linear process with known gain is followed by an exponentially weighted mean
    and the setpoint inverts the line: what is wanted becomes (1 - lambda) wanted - lambda error. A
    run is the mean of some metres of web. After a move the next run begins when material that met
    the new setting has reached the gauge: one move per material delay.
    """

    def __init__(self, loop: Loop) -> None:
        self.wanted = 0.0
        self._delay = loop.delay + loop.segment
        self._run = max(RUN * loop.delay, 4 * loop.segment)
        self._start: float | None = None
        self._errors: list[float] = []

    def read(self, error: float, length: float) -> bool:
        """Take an error; a run has ended where it may move."""
        if self._start is None:
            self._start = length
        if length < self._start:
            return False
        self._errors.append(error)
        if length < self._start + self._run:
            return False
        run = float(np.mean(self._errors))
        self.wanted = (1 - FORGETTING) * self.wanted - FORGETTING * run
        self._start = length
        self._errors.clear()
        return True

    def moved(self, length: float) -> None:
        """Wait until material that met the new setting is under the gauge."""
        self._start = length + self._delay
        self._errors.clear()


class Pi:
    """A PI loop with metres of web for time, so that its tuning holds at any speed.

    The process is a pure delay of the web between machine and gauge, and the lag is the filter of
    one segment that the readings pass. Tuned by SIMC with tau_c = theta (Skogestad, J. Process
    Control 13, 2003, 291-309): gain tau / (2 k theta), integral length min(tau, 8 theta).
    """

    def __init__(self, loop: Loop) -> None:
        self.wanted = 0.0
        self._lag = loop.segment
        delay = loop.delay + loop.segment  # half of what passes between two moves, and the gauge
        self._gain = self._lag / (2 * delay)
        self._integral = min(self._lag, 8 * delay)
        self._longest = loop.segment
        self._filtered: float | None = None
        self._length = 0.0

    def read(self, error: float, length: float) -> bool:
        """Take an error; it may move at any time."""
        passed = min(length - self._length, self._longest)
        self._length = length
        if self._filtered is None:
            self._filtered = error
        before = self._filtered
        self._filtered += (error - before) * -math.expm1(-passed / self._lag)
        rise = self._filtered - before
        self.wanted -= self._gain * (rise + passed / self._integral * self._filtered)
        return True

    def moved(self, length: float) -> None:
        """Nothing to wait for."""


@dataclass(slots=True)
class _Standing:
    loop: Loop
    law: Law
    length: float = -math.inf
    gain: float = math.nan
    gained: int = -(2**62)
    written: int = -(2**62)


class GaugeControl:
    """A law on every loop of the line: gauge in, setpoint out.

    Args:
        line: the configuration.
        surrogates: only their slope is used.
        law: makes the law of a loop.
    """

    def __init__(
        self,
        line: LineConfiguration,
        surrogates: Mapping[str, Surrogate],
        law: Callable[[Loop], Law],
    ) -> None:
        self._gain = Gain(line, surrogates)
        self._latest = np.full(len(line.tags), np.nan)
        self._by_gauge = {loop.gauge: _Standing(loop, law(loop)) for loop in find_loops(line)}
        self._wanted = np.array(
            [*self._by_gauge, *(each.loop.length for each in self._by_gauge.values())], np.int32
        )

    def take(self, batch: SampleBatch, now: int, write: Writer) -> None:
        """Take samples that arrived at line time `now`, ns."""
        lengths = {each.loop.length: self._latest[each.loop.length] for each in self._standing()}
        self._latest[batch.tag] = batch.value
        for row in np.flatnonzero(np.isin(batch.tag, self._wanted)).tolist():
            tag, value = int(batch.tag[row]), float(batch.value[row])
            if tag in lengths:
                lengths[tag] = value
            standing = self._by_gauge.get(tag)
            if standing is not None:
                self._read(standing, value, float(lengths[standing.loop.length]), now, write)

    def _standing(self) -> list[_Standing]:
        return list(self._by_gauge.values())

    def _read(
        self, standing: _Standing, value: float, length: float, now: int, write: Writer
    ) -> None:
        loop, law = standing.loop, standing.law
        # a web that stands shows the same material again
        if not (value > BARE * loop.target and length > standing.length):
            return
        standing.length = length
        if not law.read(value - loop.target, length) or now - standing.written < loop.pause:
            return
        if now - standing.gained >= loop.pause:
            standing.gain, standing.gained = self._gain.of(loop, self._latest), now
        present = float(self._latest[loop.setpoint])
        after = loop.allowed(present, present + law.wanted / standing.gain)
        if not math.isfinite(after):
            return
        change = after - present
        if after in (loop.low, loop.high):
            law.wanted = change * standing.gain  # nothing is saved up behind a limit
        if abs(change) < loop.deadband or not change:
            return
        if write(Write(loop.setpoint, after)).status == "applied":
            law.wanted -= change * standing.gain
            self._latest[loop.setpoint] = after
            standing.written = now
            law.moved(length)
