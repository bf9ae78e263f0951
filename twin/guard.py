"""The guard: the last check between advice and a machine."""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from twin.configuration.models import InterlockConfiguration, LineConfiguration
from twin.ingest import NANOSECONDS
from twin.recommendation import Change, Recommendation
from twin.samples import Floats, Ints
from twin.snapshot import Renumbering, Snapshot
from twin.tags import TagTable
from twin.trust import Trust
from twin.units import to_si

MINUTE: Final = 60 * NANOSECONDS
"""The moves of a setpoint within any minute are at most what its rate allows, ns."""
_SLACK: Final = 1e-6
"""Share by which a largest move may be passed: what the arithmetic of units makes of it."""


@dataclass(frozen=True, slots=True)
class _Interlock:
    """A value that must lie in a range while setpoints are written, SI."""

    tag: int
    low: float
    high: float
    oldest: int | None
    """Age from which the value says nothing any more, ns."""
    said: str
    """What it asks for, in the tag's unit."""


@dataclass(frozen=True, slots=True)
class _Rails:
    """What holds for one setpoint, SI."""

    low: float
    high: float
    max_step: float
    max_rate: float
    """Per minute; infinite where there is none."""
    deadband: float
    pause: int
    """Between two writes, ns."""
    interlocks: tuple[_Interlock, ...]


class Guard:
    """Refuses what is not on the list, leaves limits, steps or rates, or is not allowed now.

    The list are the setpoints of the configuration. Not allowed now is what rests on old material,
    belongs to a step in shadow, or has an interlock that is open or whose value nobody knows.

    Args:
        line: the line's configuration.
        tags: the tag table.
        trust: the modes in effect.
    """

    def __init__(self, line: LineConfiguration, tags: TagTable, trust: Trust) -> None:
        self._trust = trust
        self._tags = tags
        self._stale = int(line.stale_after * NANOSECONDS)
        self._rails: dict[tuple[str, int], _Rails] = {}
        for name, step in line.steps.items():
            for setpoint in step.setpoints.values():
                tag = tags.index(setpoint.tag)
                scale, offset = to_si(tags[tag].unit)
                low, high = (limit * scale + offset for limit in setpoint.limits)
                self._rails[name, tag] = _Rails(
                    low,
                    high,
                    setpoint.max_step * scale,
                    math.inf if setpoint.max_rate is None else setpoint.max_rate * scale,
                    setpoint.deadband * scale,
                    int(step.advise_every * NANOSECONDS),
                    tuple(map(self._interlock, (*step.interlocks, *setpoint.interlocks))),
                )
        self._last_write: dict[int, int] = {}
        self._moves: dict[int, deque[tuple[int, float]]] = {}
        """Time (ns) and size (SI) of the moves of a setpoint within the last minute."""

    def _interlock(self, asked: InterlockConfiguration) -> _Interlock:
        tag = self._tags.index(asked.tag)
        unit = self._tags[tag].unit
        scale, offset = to_si(unit)
        low, high = asked.within if asked.within is not None else (asked.equals, asked.equals)
        assert low is not None
        assert high is not None
        said = f"{low:g}" if low == high else f"{low:g} to {high:g}"
        # the arithmetic of units must not open an interlock that sits on its edge
        slack = 1e-9 * max(abs(low), abs(high)) * scale
        return _Interlock(
            tag,
            low * scale + offset - slack,
            high * scale + offset + slack,
            None if asked.max_age is None else int(asked.max_age * NANOSECONDS),
            f"{asked.tag} must be {said} {unit}".replace(" dimensionless", ""),
        )

    def objections(
        self, recommendation: Recommendation, latest: Floats, latest_time: Ints, now: int
    ) -> list[str]:
        """Sentences that say why it must not be written; empty if it may be.

        Args:
            recommendation: what is to be written.
            latest: the last value of every tag, SI; NaN where missing or bad.
            latest_time: its source time, ns.
            now: line time, ns.
        """
        found = []
        if now - recommendation.time > self._stale:
            age = (now - recommendation.time) / NANOSECONDS
            found.append(f"the material that it rests on was measured {age:.0f} s ago")
        times = Counter(change.tag for change in recommendation.changes)
        found += [f"{self._tags[tag].name} would be set twice" for tag in times if times[tag] > 1]
        for change in recommendation.changes:
            found += self._judge(change, latest, now)
            found += self.open_interlocks(change.step, change.tag, latest, latest_time, now)
        return list(dict.fromkeys(found))

    def _judge(self, change: Change, latest: Floats, now: int) -> list[str]:
        rails = self._rails.get((change.step, change.tag))
        name = self._tags[change.tag].name
        if rails is None:
            return [f"{name} is not a setpoint of {change.step}"]
        mode = self._trust.mode(change.step)
        found = []
        if mode not in ("advisory", "twin"):
            reason = self._trust.reason(change.step)
            found.append(f"{change.step} is in {mode}" + (f": {reason}" if reason else ""))
        if not math.isfinite(change.after):
            return [*found, f"{name} would be set to no number"]
        width = rails.high - rails.low
        slack = 1e-9 * width if math.isfinite(width) else 0.0
        if not rails.low - slack <= change.after <= rails.high + slack:
            found.append(f"{name} would leave its limits")
        current = float(latest[change.tag])
        move = abs(change.after - current)
        if not math.isfinite(current):
            found.append(f"the present value of {name} is not known")
        # NaN compares as false: what cannot be judged is refused
        elif not move <= rails.max_step * (1 + _SLACK):
            found.append(f"{name} would move by more than its largest step")
        elif not abs(current - change.before) <= max(_SLACK * abs(current), rails.deadband):
            found.append(f"{name} was moved by somebody else since")
        if not move <= self._rate_left(change.tag, rails, now) + rails.max_rate * _SLACK:
            found.append(f"{name} would move faster than its largest rate")
        last = self._last_write.get(change.tag)
        if last is not None and now - last < rails.pause:
            found.append(f"{name} was written less than the pause ago")
        return found

    def _rate_left(self, tag: int, rails: _Rails, now: int) -> float:
        moved = sum(size for time, size in self._moves.get(tag, ()) if now - time < MINUTE)
        return rails.max_rate - moved if math.isfinite(rails.max_rate) else rails.max_rate

    def open_interlocks(
        self, step: str, tag: int, latest: Floats, latest_time: Ints, now: int
    ) -> list[str]:
        """Why a setpoint must not be written now, whatever the value; empty if it may be.

        An interlock is open also where its value is missing, bad or too old. Arguments as those of
        `objections`.
        """
        rails = self._rails.get((step, tag))
        found = []
        for asked in () if rails is None else rails.interlocks:
            value, age = float(latest[asked.tag]), now - int(latest_time[asked.tag])
            if not math.isfinite(value):
                found.append(f"{asked.said}, and is not known")
            elif asked.oldest is not None and age > asked.oldest:
                found.append(f"{asked.said}, and was last heard {age / NANOSECONDS:.0f} s ago")
            elif not asked.low <= value <= asked.high:
                found.append(f"{asked.said}, and is {self._tags[asked.tag].from_si(value):g}")
        return found

    def room(
        self, step: str, tag: int, latest: Floats, latest_time: Ints, now: int
    ) -> tuple[float, float] | None:
        """The lowest and highest value (SI) that would pass now; None where none would.

        Limits, largest step, rate, pause, mode and interlocks are in it: advice within it is not
        refused as long as nothing changes. Arguments as those of `objections`.
        """
        rails = self._rails.get((step, tag))
        current = float(latest[tag])
        if rails is None or not math.isfinite(current):
            return None
        last = self._last_write.get(tag)
        if (
            self._trust.mode(step) not in ("advisory", "twin")
            or (last is not None and now - last < rails.pause)
            or self.open_interlocks(step, tag, latest, latest_time, now)
        ):
            return None
        reach = min(rails.max_step, self._rate_left(tag, rails, now))
        low, high = max(rails.low, current - reach), min(rails.high, current + reach)
        # not so where a limit is NaN, or the setpoint stands too far outside its limits
        return (low, high) if low <= high else None

    def wrote(self, changes: Sequence[Change], latest: Floats, now: int) -> None:
        """Remember that setpoints are moved now, for pause and rate.

        Args:
            changes: of the setpoints.
            latest: the last value of every tag, SI: where they moved from.
            now: line time, ns.
        """
        for change in changes:
            self._last_write[change.tag] = now
            moves = self._moves.setdefault(change.tag, deque())
            while moves and now - moves[0][0] >= MINUTE:
                moves.popleft()
            moves.append((now, abs(change.after - float(latest[change.tag]))))

    def last_write(self, tags: Iterable[int]) -> int | None:
        """When one of these setpoints was written last, ns; None if never."""
        return max((self._last_write[tag] for tag in tags if tag in self._last_write), default=None)

    def took_back(self, changes: Sequence[Change], now: int) -> None:
        """Remember that setpoints went the way of their last move again, as a write failed."""
        for change in changes:
            if moves := self._moves.get(change.tag):
                moves.append((now, moves[-1][1]))

    def snapshot(self) -> Snapshot:
        """When each setpoint was written last, and how far within the last minute."""
        return {
            "writes": [list(write) for write in self._last_write.items()],
            "moves": [
                [tag, time, size] for tag, moves in self._moves.items() for time, size in moves
            ],
        }

    def restore(self, state: Snapshot, renumber: Renumbering) -> None:
        """Take what another gave."""
        self._last_write = {renumber(tag): time for tag, time in state["writes"]}
        self._moves = {}
        for tag, time, size in state["moves"]:
            self._moves.setdefault(renumber(tag), deque()).append((time, size))
