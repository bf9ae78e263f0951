"""The genealogy of material: rolls wound and mounted, splices, cut-outs, batches in the hose.

A roll knows where on the coated web it was wound, so a machine that unwinds it sees that web again
from the outer end. A slurry batch begins on the web when it has gone through the hose.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from twin.configuration.models import BatchConfiguration
from twin.material import Roll
from twin.samples import Bools, Floats, Ints
from twin.signal import HeldSignal
from twin.snapshot import Snapshot
from twin.watermark import NEVER
from twin.web import Thread, Web

NO_ROLL: Final = 0
"""The roll number of a machine without a roll."""
MOST_SPLICES: Final = 1000
"""Splices, cuts and ends of rolls beyond which the oldest are forgotten."""
MOST_KEPT: Final = 4096
"""Rolls, and batches, beyond which the oldest are forgotten: years, and far more than the table of
material has segments for."""


@dataclass(frozen=True, slots=True)
class BatchReleased:
    """A slurry batch left the mixer; inputs in the order asked for, SI."""

    batches: str
    number: int
    time: int
    inputs: Floats


@dataclass(frozen=True, slots=True)
class Milestone:
    """An event in the genealogy: roll started, wound, mounted, unknown; splice; cut-out; batch."""

    time: int
    kind: str
    web: str
    number: int
    position: float
    """Position on the coated web, m; NaN where it has none."""


class Rolls:
    """Rolls, splices and cut-outs of all webs.

    Args:
        webs: every machine's web by name.
        signals: machine values by tag name.
        segment: length of a segment, m.
    """

    def __init__(
        self, webs: Mapping[str, Web], signals: Mapping[str, HeldSignal], segment: float
    ) -> None:
        self._webs = webs
        self._signals = signals
        self._segment = segment
        self._rolls: dict[str, dict[int, Roll]] = {name: {} for name in webs}
        self._here: dict[str, int] = {}
        """The roll that each machine winds or unwinds."""
        self._counted: dict[tuple[str, Literal["splice", "cut"]], float] = {}
        """Last value of each machine's counters."""
        self._splices: deque[tuple[float, int]] = deque(maxlen=MOST_SPLICES)
        self._foils: deque[tuple[float, int, int]] = deque(maxlen=MOST_SPLICES)
        """Where each foil begins, when that was known, and its number."""

    def spliced(self, segments: Ints, time: Ints) -> Bools:
        """Segments with a splice, a cut or a roll's end in or beside them, as known at `time`."""
        if not self._splices:
            return np.zeros(len(segments), np.bool_)
        position = np.array([position for position, _ in self._splices])
        known = np.array([known for _, known in self._splices], np.int64)
        middle = (segments + 0.5) * self._segment
        near = np.abs(middle[:, None] - position) <= 1.5 * self._segment
        found: Bools = (near & (known <= time[:, None])).any(axis=1)
        return found

    def foils(self, segments: Ints, time: Ints) -> Ints:
        """Number of the foil that each segment is coated on, as known at `time`; 0 is the first."""
        middle = (segments + 0.5) * self._segment
        found = np.zeros(len(segments), np.int64)
        for position, known, number in self._foils:
            found[(position < middle) & (known <= time)] = number
        return found

    def segment_of(self, roll: int, metre: float) -> int | None:
        """The segment at a metre of a roll, counted from its inner end; None if not known."""
        for name, web in self._webs.items():
            if web.config.unwinds is None and roll in self._rolls[name]:
                return math.floor((self._rolls[name][roll].start + metre) / self._segment)
        return None

    def wound(self) -> list[Roll]:
        """All rolls that are wound or were."""
        return [roll for rolls in self._rolls.values() for roll in rolls.values()]

    def here(self, web: Web, time: int) -> tuple[int | None, float]:
        """The roll that a web winds or unwinds, and the metre in it there; NaN if not known."""
        number = self._here.get(web.name, NO_ROLL)
        if number == NO_ROLL:
            return None, math.nan
        if web.config.unwinds is None:
            position = web.under(web.config.winds_at, time)
        else:
            (position,) = web.locate_under(web.config.unwinds_at or "", np.array([time])).tolist()
        roll = self._rolls[web.config.unwinds or web.name].get(number)
        return number, math.nan if roll is None else position - roll.start

    def advance(self, web: Web, after: int, until: int) -> list[Milestone]:
        """What happened to a web with after < time <= until; its threads follow."""
        if web.config.unwinds is not None:
            return self._unwind(web, web.config.unwinds, after, until)
        if not web.threads:
            first = web.position.first
            web.begin(Thread(first, first, 1.0, -math.inf, NEVER))
        return self._wind(web, after, until) + self._splice(web, after, until)

    def _wind(self, web: Web, after: int, until: int) -> list[Milestone]:
        found = []
        rolls = self._rolls[web.name]
        for time, value in self._changes(web.config.roll, after, until):
            number, before = int(value), self._here.get(web.name)
            if number in (before, NO_ROLL):
                continue
            position = web.under(web.config.winds_at, time)
            if before in rolls:
                full = rolls[before]
                full.end, full.wound = position, time
                found.append(Milestone(time, "roll wound", web.name, full.number, position))
            self._here[web.name] = number
            rolls.pop(number, None)
            rolls[number] = Roll(web.name, number, position)
            if len(rolls) > MOST_KEPT:
                del rolls[next(iter(rolls))]
            found.append(Milestone(time, "roll started", web.name, number, position))
        return found

    def _splice(self, web: Web, after: int, until: int) -> list[Milestone]:
        found = []
        for time, count in self._changes(web.config.splice, after, until):
            if count > self._count(web, "splice", count):
                position = web.under(web.config.splices_at, time)
                self._splices.append((position, time))
                self._foils.append((position, time, self._foils[-1][2] + 1 if self._foils else 1))
                found.append(Milestone(time, "splice", web.name, int(count), position))
        return found

    def _unwind(self, web: Web, wound: str, after: int, until: int) -> list[Milestone]:
        events = [(time, "roll", v) for time, v in self._changes(web.config.roll, after, until)]
        events += [(time, "cut", v) for time, v in self._changes(web.config.cut, after, until)]
        found = []
        for time, kind, value in sorted(events, key=lambda event: event[0]):
            encoder = web.encoder(time)
            if math.isnan(encoder):
                encoder = web.position.first
            if kind == "roll":
                found += self._mount(web, self._rolls[wound], int(value), encoder, time)
            else:
                found += self._cut(web, value, encoder, time)
        return found

    def _mount(
        self, web: Web, rolls: Mapping[int, Roll], number: int, encoder: float, time: int
    ) -> list[Milestone]:
        if number == self._here.get(web.name):
            return []
        self._here[web.name] = number
        if number == NO_ROLL:
            return []
        roll = rolls.get(number)
        known = roll is not None and math.isfinite(roll.end)
        origin, low = (roll.end, roll.start) if roll and known else (math.nan, math.nan)
        web.begin(Thread(encoder, origin, -1.0 / (1.0 + web.config.stretch), low, time))
        if known:
            self._splices += [(origin, time), (low, time)]
        what = "roll mounted" if known else "unknown roll"
        return [Milestone(time, what, web.name, number, origin)]

    def _cut(self, web: Web, value: float, encoder: float, time: int) -> list[Milestone]:
        before = self._count(web, "cut", value)
        if value <= before or not web.threads:
            return []
        thread = web.threads[-1]
        origin = thread.position(encoder) - (value - before)
        web.begin(Thread(encoder, origin, thread.slope, thread.low, time))
        self._splices += [(origin, time), (origin + value - before, time)]
        return [Milestone(time, "cut out", web.name, self._here.get(web.name, NO_ROLL), origin)]

    def _count(self, web: Web, counter: Literal["splice", "cut"], value: float) -> float:
        """Set a counter's value and give the one before, the same if it is the first."""
        before = self._counted.get((web.name, counter), value)
        self._counted[web.name, counter] = value
        return before

    def snapshot(self) -> Snapshot:
        """Rolls, counters and splices."""
        return {
            "rolls": {
                web: [[roll.number, roll.start, roll.end, roll.wound] for roll in rolls.values()]
                for web, rolls in self._rolls.items()
            },
            "here": dict(self._here),
            "counted": [[*counter, value] for counter, value in self._counted.items()],
            "splices": [list(splice) for splice in self._splices],
            "foils": [list(foil) for foil in self._foils],
        }

    def restore(self, state: Snapshot) -> None:
        """Take what another gave."""
        for web, rolls in state["rolls"].items():
            self._rolls[web] = {values[0]: Roll(web, *values) for values in rolls}
        self._here = dict(state["here"])
        self._counted = {(web, counter): value for web, counter, value in state["counted"]}
        self._splices.extend((position, known) for position, known in state["splices"])
        self._foils.extend((position, known, number) for position, known, number in state["foils"])

    def _changes(self, tag: str | None, after: int, until: int) -> list[tuple[int, float]]:
        return [] if tag is None else _changes(self._signals[tag], after, until)


class Hose:
    """One kind of slurry batch: released by the mixer, drawn into the hose, arrived on the web.

    Args:
        name: the kind of batch.
        config: its tags, and the volume of the hose.
        web: the web that is coated.
        signals: machine values by tag name.
        inputs: the values wanted of every batch.
        segment: length of a segment, m.
    """

    def __init__(
        self,
        name: str,
        config: BatchConfiguration,
        web: Web,
        signals: Mapping[str, HeldSignal],
        inputs: Sequence[HeldSignal],
        segment: float,
    ) -> None:
        self._name = name
        self._config = config
        self._web = web
        self._number = signals[config.number]
        self._drawn = signals[config.drawn]
        self._flow = signals[config.flow]
        self._inputs = inputs
        self._segment = segment
        self._last: int | None = None
        self._untold: list[tuple[int, int]] = []
        """Released batches whose inputs are not known yet: number and time."""
        self._inside: deque[tuple[int, float]] = deque()
        """Batches on their way: number, and the volume pumped when they arrive, m³."""
        self._heads: deque[tuple[float, int, int]] = deque(maxlen=MOST_KEPT)
        """Where on the web each batch begins: position, number, and when that was known."""

    def batch_at(self, segments: Ints, time: Ints) -> Ints:
        """Number of the batch that each segment is made of as known at `time`, -1 if unknown."""
        starts = np.array([position for position, _, _ in self._heads])
        numbers = np.array([-1, *(number for _, number, _ in self._heads)], np.int64)
        known = np.array([NEVER, *(known for _, _, known in self._heads)], np.int64)
        index = np.searchsorted(starts, (segments + 0.5) * self._segment, "right")
        return np.where(known[index] <= time, numbers[index], -1)

    def arrived(self, after: int, until: int) -> list[Milestone]:
        """Batches whose first slurry reached the web, of those drawn with time <= until."""
        found = []
        heads, inside, flow = self._heads, self._inside, self._flow
        for time, value in _changes(self._drawn, after, until):
            number = int(value)
            if not heads and not inside:
                heads.append((-math.inf, number, time))
            elif number != (inside[-1][0] if inside else heads[-1][1]):
                through = float(flow.integral(np.array([time]))[0]) if len(flow) else 0.0
                inside.append((number, through + self._config.hose_volume))
        while inside and len(flow) and len(self._web.position):
            number, target = inside[0]
            arrived = flow.when_integral(target, until)
            if arrived is None:
                break
            position = self._web.under(self._config.head, arrived)
            heads.append((position, number, arrived))
            inside.popleft()
            found.append(Milestone(arrived, "batch", self._web.name, number, position))
        return found

    def released(self, after: int, until: int) -> list[BatchReleased]:
        """Batches of which the mixer has told everything by `until`."""
        for time, value in _changes(self._number, after, until):
            if int(value) != self._last:
                self._last = int(value)
                self._untold.append((self._last, time))
        if not self._inputs or any(not len(signal) for signal in self._inputs):
            return []
        found = []
        for batch, released in self._untold:
            # what a machine told before it told all is from the same start
            time = max(released, *(signal.first_time for signal in self._inputs))
            values = np.array([float(signal.at(np.array([time]))[0]) for signal in self._inputs])
            found.append(BatchReleased(self._name, batch, time, values))
        self._untold.clear()
        return found

    def snapshot(self) -> Snapshot:
        """Batches released, under way and on the web."""
        return {
            "last": self._last,
            "untold": [list(batch) for batch in self._untold],
            "inside": [list(batch) for batch in self._inside],
            "heads": [list(head) for head in self._heads],
        }

    def restore(self, state: Snapshot) -> None:
        """Take what another gave."""
        self._last = state["last"]
        self._untold = [(number, time) for number, time in state["untold"]]
        self._inside.extend((number, volume) for number, volume in state["inside"])
        self._heads.extend((start, number, known) for start, number, known in state["heads"])


def _changes(signal: HeldSignal, after: int, until: int) -> list[tuple[int, float]]:
    times, values = signal.changes(after, until)
    return [
        (time, value)
        for time, value in zip(times.tolist(), values.tolist(), strict=True)
        if math.isfinite(value)
    ]
