"""The guard: the last check between advice and a machine."""

from __future__ import annotations

import math
from collections import Counter

from twin.configuration.models import LineConfiguration, SetpointConfiguration
from twin.ingest import NANOSECONDS
from twin.recommendation import Change, Recommendation
from twin.samples import Floats
from twin.snapshot import Renumbering, Snapshot
from twin.tags import TagTable
from twin.trust import Trust
from twin.units import to_si


class Guard:
    """Refuses what leaves limits, steps or rates, rests on old material, or is a step's in shadow.

    Args:
        line: the line's configuration.
        tags: the tag table.
        trust: the modes in effect.
    """

    def __init__(self, line: LineConfiguration, tags: TagTable, trust: Trust) -> None:
        self._trust = trust
        self._tags = tags
        self._stale = int(line.stale_after * NANOSECONDS)
        self._setpoints: dict[tuple[str, int], SetpointConfiguration] = {
            (step_name, tags.index(setpoint.tag)): setpoint
            for step_name, step in line.steps.items()
            for setpoint in step.setpoints.values()
        }
        self._pause = {
            name: int(step.advise_every * NANOSECONDS) for name, step in line.steps.items()
        }
        self._last_write: dict[int, int] = {}

    def objections(self, recommendation: Recommendation, latest: Floats, now: int) -> list[str]:
        """Sentences that say why it must not be written; empty if it may be.

        Args:
            recommendation: what is to be written.
            latest: the last value of every tag, SI.
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
        return found

    def _judge(self, change: Change, latest: Floats, now: int) -> list[str]:
        setpoint = self._setpoints.get((change.step, change.tag))
        name = self._tags[change.tag].name
        if setpoint is None:
            return [f"{name} is not a setpoint of {change.step}"]
        mode = self._trust.mode(change.step)
        found = []
        if mode not in ("advisory", "twin"):
            reason = self._trust.reason(change.step)
            found.append(f"{change.step} is in {mode}" + (f": {reason}" if reason else ""))
        scale, offset = to_si(self._tags[change.tag].unit)
        low, high = (limit * scale + offset for limit in setpoint.limits)
        slack = 1e-9 * (high - low) if math.isfinite(high - low) else 0.0
        if not math.isfinite(change.after):
            return [*found, f"{name} would be set to no number"]
        if not low - slack <= change.after <= high + slack:
            found.append(f"{name} would leave its limits")
        current = float(latest[change.tag])
        if not math.isfinite(current):
            found.append(f"the present value of {name} is not known")
        # NaN compares as false: what cannot be judged is refused
        elif not abs(change.after - current) <= setpoint.max_step * scale * (1 + 1e-6):
            found.append(f"{name} would move by more than its largest step")
        elif not abs(current - change.before) <= max(
            1e-6 * abs(current), setpoint.deadband * scale
        ):
            found.append(f"{name} was moved by somebody else since")
        last = self._last_write.get(change.tag)
        if last is not None and now - last < self._pause[change.step]:
            found.append(f"{name} was written less than the pause ago")
        return found

    def wrote(self, recommendation: Recommendation, now: int) -> None:
        """Remember when the setpoints were written, for the rate."""
        for change in recommendation.changes:
            self._last_write[change.tag] = now

    def snapshot(self) -> Snapshot:
        """When each setpoint was written last."""
        return {"writes": [list(write) for write in self._last_write.items()]}

    def restore(self, state: Snapshot, renumber: Renumbering) -> None:
        """Take what another gave."""
        self._last_write = {renumber(tag): time for tag, time in state["writes"]}
