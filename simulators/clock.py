"""The clock of the virtual line: it runs N times faster than the wall clock."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime

NS_PER_SECOND = 1_000_000_000


@dataclass(frozen=True, slots=True)
class LineClock:
    """Line time = epoch + (wall - wall_start) * acceleration."""

    epoch_ns: int
    """Line time [ns since 1970 UTC] at the moment the clock was started."""
    wall_start_ns: int
    """Wall time [ns since 1970 UTC] at which the line shows `epoch_ns`."""
    acceleration: float
    """Line seconds per wall second [-]."""

    @classmethod
    def start(cls, epoch_ns: int | None, acceleration: float) -> LineClock:
        """Start a clock that shared its epoch with the wall; `None` means now.

        It shows epoch + elapsed wall time * acceleration, wherever the epoch lies: everybody
        who knows epoch and acceleration reads the same line time.
        """
        wall = time.time_ns()
        epoch = wall if epoch_ns is None else epoch_ns
        return cls(epoch_ns=epoch, wall_start_ns=epoch, acceleration=acceleration)

    def now_ns(self) -> int:
        """Line time [ns since 1970 UTC]."""
        return self.at(time.time_ns())

    def at(self, wall_ns: int) -> int:
        """Line time [ns] shown at wall time `wall_ns` [ns]."""
        return self.epoch_ns + int((wall_ns - self.wall_start_ns) * self.acceleration)


def to_datetime(time_ns: int) -> datetime:
    """UTC date and time of `time_ns`, to the microsecond."""
    seconds, rest = divmod(time_ns, NS_PER_SECOND)
    return datetime.fromtimestamp(seconds, UTC).replace(microsecond=rest // 1000)


def to_iso(time_ns: int) -> str:
    """ISO 8601 in UTC with microseconds and a `Z`, e.g. 2026-01-02T03:04:05.000006Z."""
    return to_datetime(time_ns).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
