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


@dataclass(slots=True)
class _Awaited:
    """A batch whose number is told, and whose inputs are still to be read."""

    number: int
    look: int
    """When they are read next, ns."""
    drawn: bool
    """Whether it feeds the hose since: then they are read as they are."""


@dataclass(frozen=True, slots=True)
class Milestone:
    """An event in the genealogy: roll started, wound, mounted, unknown; splice; cut-out; batch."""

    time: int
    kind: str
    web: str
    number: int
    position: float
    """Position on the coated web, m; NaN where it has none."""


class _Marks:
    """Places on the web in the order in which they were marked, the newest `most` of them."""

    def __init__(self, most: int) -> None:
        self._marks: deque[tuple[float, int, int]] = deque(maxlen=most)
        self._table: tuple[Floats, Ints, Ints] | None = None

    def __len__(self) -> int:
        return len(self._marks)

    @property
    def last(self) -> int:
        """Number of the mark set last."""
        return self._marks[-1][1]

    def mark(self, position: float, number: int, known: int) -> None:
        """Set a mark: position, m, a number, and when that was known, ns."""
        self._marks.append((position, number, known))
        self._table = None

    @property
    def table(self) -> tuple[Floats, Ints, Ints]:
        """Positions, numbers and when they were known."""
        if self._table is None:
            # questions come with every row, marks with every roll
            position, number, known = zip(*self._marks, strict=True) if self._marks else ((),) * 3
            self._table = (
                np.array(position, np.float64),
                np.array(number, np.int64),
                np.array(known, np.int64),
            )
        return self._table

    def snapshot(self) -> list[list[float]]:
        """Position, number and time of every mark."""
        return [list(mark) for mark in self._marks]

    def restore(self, state: list[tuple[float, int, int]]) -> None:
        """Take what another gave."""
        for position, number, known in state:
            self.mark(position, number, known)


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
        self._splices = _Marks(MOST_SPLICES)
        self._foils = _Marks(MOST_SPLICES)
        """Where each foil begins, and its number."""

    def spliced(self, segments: Ints, time: Ints) -> Bools:
        """Segments with a splice, a cut or a roll's end in or beside them, as known at `time`."""
        position, _, known = self._splices.table
        middle = (segments + 0.5) * self._segment
        near = np.abs(middle[:, None] - position) <= 1.5 * self._segment
        return np.asarray((near & (known <= time[:, None])).any(axis=1))

    def foils(self, segments: Ints, time: Ints) -> Ints:
        """Number of the foil that each segment is coated on, as known at `time`; 0 is the first."""
        position, number, known = self._foils.table
        # splices come in order of place and of time, so what holds is the last of both
        before = np.searchsorted(position, (segments + 0.5) * self._segment, "left")
        index = np.minimum(before, np.searchsorted(known, time, "right"))
        found: Ints = np.append(0, number)[index]
        return found

    def roll_starts(self, web: Web, segments: Ints) -> Floats:
        """Where the roll begins on which each segment was wound, m, of a web that unwinds rolls.

        -inf where it begins before all that is known.
        """
        rolls = self._rolls[web.config.unwinds or web.name].values()
        starts = np.array([-math.inf, *(r.start for r in rolls if math.isfinite(r.start))])
        index = np.searchsorted(starts, (segments + 0.5) * self._segment, "right") - 1
        found: Floats = starts[index]
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

    def advance(self, after: int, until: int) -> list[Milestone]:
        """What happened to the webs with after < time <= until, in order; their threads follow."""
        events: list[tuple[int, Web, str, float]] = []
        for web in self._webs.values():
            if not len(web.position):
                continue
            if web.config.unwinds is None:
                told = {"wind": web.config.roll, "splice": web.config.splice}
                if not web.threads:
                    first = web.position.first
                    web.begin(Thread(first, first, 1.0, -math.inf, NEVER))
            else:
                told = {"mount": web.config.roll, "cut": web.config.cut}
            for what, tag in told.items():
                events += [(time, web, what, v) for time, v in self._changes(tag, after, until)]
        found = []
        # one web's rolls are what another unwinds
        for time, web, what, value in sorted(events, key=lambda event: event[0]):
            match what:
                case "wind":
                    found += self._wind(web, int(value), time)
                case "splice":
                    found += self._splice(web, value, time)
                case "mount":
                    found += self._mount(web, int(value), time)
                case "cut":
                    found += self._cut(web, value, time)
        return found

    def _wind(self, web: Web, number: int, time: int) -> list[Milestone]:
        found: list[Milestone] = []
        rolls, before = self._rolls[web.name], self._here.get(web.name, NO_ROLL)
        if number == before:
            return found
        position = web.under(web.config.winds_at, time)
        if before in rolls:
            full = rolls[before]
            full.end, full.wound = position, time
            found.append(Milestone(time, "roll wound", web.name, full.number, position))
        self._here[web.name] = number
        if number == NO_ROLL:
            return found
        last = next(reversed(rolls.values()), None)
        if last is not None and last.number == number and math.isnan(last.outer):
            # told as none for a while: the same roll is wound on
            last.end, last.wound = math.nan, 0
            return found
        rolls.pop(number, None)
        rolls[number] = Roll(web.name, number, position)
        if len(rolls) > MOST_KEPT:
            del rolls[next(iter(rolls))]
        found.append(Milestone(time, "roll started", web.name, number, position))
        return found

    def _splice(self, web: Web, count: float, time: int) -> list[Milestone]:
        if count <= self._count(web, "splice", count):
            return []
        position = web.under(web.config.splices_at, time)
        if math.isfinite(position):
            self._mark(position, time)
            self._foils.mark(position, self._foils.last + 1 if len(self._foils) else 1, time)
        return [Milestone(time, "splice", web.name, int(count), position)]

    def _mount(self, web: Web, number: int, time: int) -> list[Milestone]:
        rolls = self._rolls[web.config.unwinds or web.name]
        before, encoder = self._here.get(web.name, NO_ROLL), self._encoder(web, time)
        if number == before:
            return []
        self._here[web.name] = number
        off = rolls.get(before)
        # one that was not known when it was mounted, or was wound anew since, is another
        if off is not None and math.isfinite(off.outer):
            off.outer = max(web.threads[-1].position(encoder), off.start)
        roll = rolls.get(number)
        origin = low = math.nan
        if roll is not None and math.isfinite(roll.end):
            origin, low = roll.end if math.isnan(roll.outer) else roll.outer, roll.start
            roll.outer = origin
            self._mark(origin, time)
            self._mark(low, time)
        if web.threads or number != NO_ROLL:
            web.begin(Thread(encoder, origin, -1.0 / (1.0 + web.config.stretch), low, time))
        if number == NO_ROLL:
            return []
        what = "unknown roll" if math.isnan(origin) else "roll mounted"
        return [Milestone(time, what, web.name, number, origin)]

    def _cut(self, web: Web, value: float, time: int) -> list[Milestone]:
        before = self._count(web, "cut", value)
        if value <= before or not web.threads:
            return []
        thread, encoder = web.threads[-1], self._encoder(web, time)
        origin = thread.position(encoder) - (value - before)
        web.begin(Thread(encoder, origin, thread.slope, thread.low, time))
        self._mark(origin, time)
        self._mark(origin + value - before, time)
        return [Milestone(time, "cut out", web.name, self._here.get(web.name, NO_ROLL), origin)]

    @staticmethod
    def _encoder(web: Web, time: int) -> float:
        encoder = web.encoder(time)
        return web.position.first if math.isnan(encoder) else encoder

    def _mark(self, position: float, time: int) -> None:
        """Remember a splice, a cut or a roll's end, once."""
        if math.isfinite(position) and not (self._splices.table[0] == position).any():
            self._splices.mark(position, 0, time)

    def _count(self, web: Web, counter: Literal["splice", "cut"], value: float) -> float:
        """Set a counter's value and give the one before, the same if it is the first."""
        before = self._counted.get((web.name, counter), value)
        self._counted[web.name, counter] = value
        return before

    def snapshot(self) -> Snapshot:
        """Rolls, counters and splices."""
        return {
            "rolls": {
                web: [[r.number, r.start, r.end, r.wound, r.outer] for r in rolls.values()]
                for web, rolls in self._rolls.items()
            },
            "here": dict(self._here),
            "counted": [[*counter, value] for counter, value in self._counted.items()],
            "splices": self._splices.snapshot(),
            "foils": self._foils.snapshot(),
        }

    def restore(self, state: Snapshot) -> None:
        """Take what another gave."""
        for web, rolls in state["rolls"].items():
            self._rolls[web] = {values[0]: Roll(web, *values) for values in rolls}
        self._here = dict(state["here"])
        self._counted = {(web, counter): value for web, counter, value in state["counted"]}
        self._splices.restore(state["splices"])
        self._foils.restore(state["foils"])

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
        lateness: how long after its number a batch's inputs may be told, ns.
    """

    def __init__(
        self,
        name: str,
        config: BatchConfiguration,
        web: Web,
        signals: Mapping[str, HeldSignal],
        inputs: Sequence[HeldSignal],
        segment: float,
        lateness: int,
    ) -> None:
        self._name = name
        self._config = config
        self._web = web
        self._number = signals[config.number]
        self._drawn = signals[config.drawn]
        self._flow = signals[config.flow]
        self._inputs = inputs
        self._segment = segment
        self._lateness = lateness
        self._last: int | None = None
        self._awaited: _Awaited | None = None
        self._inside: deque[tuple[int, float]] = deque()
        """Batches on their way: number, and the volume pumped when they arrive, m³."""
        self._heads = _Marks(MOST_KEPT)
        """Where on the web each batch begins."""

    def batch_at(self, segments: Ints, time: Ints) -> Ints:
        """Number of the batch that each segment is made of as known at `time`, -1 if unknown."""
        starts, numbers, known = self._heads.table
        index = np.searchsorted(starts, (segments + 0.5) * self._segment, "right")
        told = np.append(NEVER, known)[index] <= time
        return np.where(told, np.append(-1, numbers)[index], -1)

    def arrived(self, after: int, until: int) -> list[Milestone]:
        """Batches whose first slurry reached the web, of those drawn with time <= until."""
        found = []
        heads, inside, flow = self._heads, self._inside, self._flow
        for time, value in _changes(self._drawn, after, until):
            number = int(value)
            if not heads and not inside:
                heads.mark(-math.inf, number, time)
            elif number != (inside[-1][0] if inside else heads.last):
                through = float(flow.integral(np.array([time]))[0]) if len(flow) else 0.0
                inside.append((number, through + self._config.hose_volume))
        while inside and len(flow) and len(self._web.position):
            number, target = inside[0]
            arrived = flow.when_integral(target, until)
            if arrived is None:
                break
            position = self._web.under(self._config.head, arrived)
            heads.mark(position, number, arrived)
            inside.popleft()
            found.append(Milestone(arrived, "batch", self._web.name, number, position))
        return found

    def released(self, after: int, until: int) -> list[BatchReleased]:
        """Batches whose inputs are known, or will not be any more, of after < time <= until.

        They are read a lateness after the number; where one is missing, a lateness after anything
        more was told. A batch that is drawn meanwhile is read as it is; of one that another number
        follows nothing is known. To be called before `arrived`.
        """
        if not self._inputs:
            return []
        drawn = _changes(self._drawn, after, until)
        if not self._heads and not self._inside:
            # it may have fed the hose for hours
            drawn = drawn[1:]
        events = [(time, False, int(v)) for time, v in _changes(self._number, after, until)]
        events += [(time, True, int(v)) for time, v in drawn]
        found: list[BatchReleased] = []
        for time, draws, number in sorted(events):
            found += self._read(after, time - 1)
            after = time - 1
            if draws:
                if self._awaited is not None and self._awaited.number == number:
                    self._awaited.drawn, after = True, time
            elif number != self._last:
                if self._awaited is not None:
                    unknown = np.full(len(self._inputs), np.nan)
                    found.append(BatchReleased(self._name, self._awaited.number, time, unknown))
                self._last = number
                self._awaited = _Awaited(number, time + self._lateness, False)
        return found + self._read(after, until)

    def _read(self, after: int, until: int) -> list[BatchReleased]:
        """The batch that is awaited, if its inputs are read by `until`; all up to `after` was."""
        batch = self._awaited
        while batch is not None and batch.look <= until:
            # nothing was told since a look in vain
            time = max(batch.look, after)
            values = np.array([signal.last(time)[0] for signal in self._inputs])
            if batch.drawn or np.isfinite(values).all():
                self._awaited = None
                return [BatchReleased(self._name, batch.number, time, values)]
            told = [t for s in self._inputs for t in s.changes(time, until)[0][:1].tolist()]
            if not told:
                break
            batch.look = min(told) + self._lateness
        return []

    def snapshot(self) -> Snapshot:
        """Batches awaited, under way and on the web."""
        batch = self._awaited
        return {
            "last": self._last,
            "awaited": None if batch is None else [batch.number, batch.look, batch.drawn],
            "inside": [list(batch) for batch in self._inside],
            "heads": self._heads.snapshot(),
        }

    def restore(self, state: Snapshot) -> None:
        """Take what another gave."""
        self._last = state["last"]
        awaited = state["awaited"]
        self._awaited = None if awaited is None else _Awaited(*awaited)
        self._inside.extend((number, volume) for number, volume in state["inside"])
        self._heads.restore(state["heads"])


def _changes(signal: HeldSignal, after: int, until: int) -> list[tuple[int, float]]:
    times, values = signal.changes(after, until)
    return [
        (time, value)
        for time, value in zip(times.tolist(), values.tolist(), strict=True)
        if math.isfinite(value)
    ]
