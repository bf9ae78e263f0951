"""Now, injected: the core never asks the computer what time it is."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Protocol


class Clock(Protocol):
    """The source of now in line time."""

    def now(self) -> int:
        """Line time, ns since the epoch (UTC)."""
        ...

    @property
    def acceleration(self) -> float:
        """Seconds of line time per second of wall time."""
        ...


@dataclass(frozen=True, slots=True)
class LineClock:
    """Line time that runs `acceleration` times faster than the computer's from `epoch` on.

    Without state, so that processes given the same two numbers agree on the time of the line.
    """

    acceleration: float = 1.0
    epoch: int = 0
    """The moment at which both clocks agree, ns since the epoch (UTC)."""

    def now(self) -> int:
        wall = time.time_ns()
        if self.acceleration == 1.0:
            return wall
        return self.epoch + int((wall - self.epoch) * self.acceleration)


@dataclass(slots=True)
class ManualClock:
    """A clock that is set by hand or by the time stamps of a recording."""

    time: int = 0
    acceleration: float = 1.0

    def now(self) -> int:
        return self.time
