"""The tracker: which material met which machine and which gauge.

Everything is keyed by web segments of the coated web: segment n is the web between n and n + 1
segment lengths of the first web's encoder. A web that unwinds rolls of another sees the same
segments in reverse, stretched. Results depend on source times only: samples wait until the
watermark (latest source time minus the lateness) has passed them, and are then taken in order of
time, however they were cut into batches.
"""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

import numpy as np

from twin.configuration.models import BatchConfiguration, LineConfiguration, WebConfiguration
from twin.material import Roll
from twin.samples import Bools, Floats, Ints, SampleBatch
from twin.signal import SECOND, HeldSignal, WebPosition

NEVER: Final = -(2**62)
MEMORY: Final = int(6 * 3600 * SECOND)
"""How far back positions and signals are kept: longer than material stays in any one machine."""
NO_ROLL: Final = 0
"""The roll number of a machine without a roll."""
MOST_OPEN: Final = 1000
"""Unfinished segments of a gauge beyond which the oldest are given up (cut web, torn web)."""


@dataclass(frozen=True, slots=True)
class Column:
    """A quantity of every segment: a machine's signal that acted on it, or a gauge's reading."""

    name: str
    tag: int
    web: str
    start: float
    """Station's entry on the web path, m."""
    end: float
    """Station's exit, the same for a point."""
    kind: Literal["input", "gauge"]


@dataclass(frozen=True, slots=True)
class Passage:
    """Segments that have passed a column's station, in the order of passing."""

    column: Column
    segments: Ints
    time: Ints
    """When each had passed, ns."""
    value: Floats
    """Mean of the input over the segment's stay or length, or of the gauge's readings; SI."""
    spread: Floats
    """Standard error of a gauge's mean, SI; 0 for inputs."""


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


@dataclass(slots=True)
class Tracked:
    """What the tracker found out since it was last fed, every list in order of time."""

    frontier: int
    passages: list[Passage] = field(default_factory=list)
    released: list[BatchReleased] = field(default_factory=list)
    milestones: list[Milestone] = field(default_factory=list)


@dataclass(slots=True)
class _Thread:
    """A stretch of web in a machine: `position = origin + slope * (encoder - start)`."""

    start: float
    origin: float
    slope: float
    low: float
    """Lowest coated position that belongs to it."""


class _Pool:
    """Samples that wait for the watermark; released in order of tag and time, each once."""

    def __init__(self) -> None:
        self._parts: list[SampleBatch] = []

    @property
    def oldest(self) -> int | None:
        """Time of the oldest sample that waits."""
        return min((int(part.time.min()) for part in self._parts if len(part)), default=None)

    def add(self, batch: SampleBatch) -> None:
        if len(batch):
            self._parts.append(batch)

    def take(self, until: int) -> dict[int, tuple[Ints, Floats]]:
        """Times and values per tag up to `until`."""
        pool = SampleBatch.concatenate(self._parts)
        ready = pool.time <= until
        self._parts = [] if ready.all() else [pool.where(~ready)]
        tag, time, value = pool.tag[ready], pool.time[ready], pool.value[ready]
        if (time[1:] < time[:-1]).any():
            order = np.argsort(time, kind="stable")
            tag, time, value = tag[order], time[order], value[order]
        order = np.argsort(tag.astype(np.int16), kind="stable")
        tag, time, value = tag[order], time[order], value[order]
        if ((tag[1:] == tag[:-1]) & (time[1:] == time[:-1])).any():
            # of two values for one moment the larger counts, whichever came first
            order = np.lexsort((value, time, tag))
            tag, time, value = tag[order], time[order], value[order]
            keep = np.append((tag[1:] != tag[:-1]) | (time[1:] != time[:-1]), True)
            tag, time, value = tag[keep], time[keep], value[keep]
        if not len(tag):
            return {}
        indices, starts = np.unique(tag, return_index=True)
        return {
            int(index): (time[a:b], value[a:b])
            for index, a, b in zip(indices, starts, [*starts[1:], len(tag)], strict=True)
        }


class _ColumnState:
    """Where a column's station is in the web, and a gauge's readings of unfinished segments."""

    def __init__(self, column: Column, entry: float, leave: float) -> None:
        self.column = column
        self.entry = entry
        """Encoder travel to the station's entry, m."""
        self.leave = leave
        self.thread = 0
        """Index of the thread whose material is at the exit."""
        self.next: int | None = None
        """The segment that will pass next; None at the start of a thread."""
        self.unread: list[tuple[Ints, Floats]] = []
        self.sums: dict[int, tuple[float, float, float]] = {}
        """Sum, sum of squares and count of the readings per segment."""


class _Web:
    """One machine's web: its position, its threads and the columns of its stations."""

    def __init__(self, name: str, config: WebConfiguration) -> None:
        self.name = name
        self.config = config
        self.position = WebPosition(config.interval, from_speed=config.encoder is None)
        self.threads: list[_Thread] = []
        self.columns: list[_ColumnState] = []
        self.rolls: dict[int, Roll] = {}
        self.roll: int | None = None
        self.splices: float | None = None
        self.cut: float | None = None
        self.unwound = _point(config, config.unwinds_at) if config.unwinds_at else 0.0
        self.stretches = _point(config, config.stretches_at) if config.stretches_at else math.inf

    def distance(self, station: float) -> float:
        """Encoder travel between the web's reference and a station at `station` m, m."""
        if self.config.unwinds is None:
            return station
        before = min(station, self.stretches) - self.unwound
        return before * (1 + self.config.stretch) + max(0.0, station - self.stretches)

    def locate(self, encoder: Floats) -> Floats:
        """Coated positions at encoder values (less the station's distance), NaN where no web."""
        if not self.threads:
            return np.full(len(encoder), np.nan)
        table = np.array([(t.start, t.origin, t.slope, t.low) for t in self.threads])
        index = np.searchsorted(table[:, 0], encoder, "right") - 1
        start, origin, slope, low = table[np.maximum(index, 0)].T
        position = origin + slope * (encoder - start)
        return np.where((index < 0) | (position < low), np.nan, position)


def _point(config: WebConfiguration, station: str | None) -> float:
    place = config.stations[station] if station is not None else 0.0
    return place[0] if isinstance(place, tuple) else place


class Tracker:
    """Gives every segment what each machine did to it and what each gauge read on it.

    Args:
        line: the line's configuration.
        tags: index of every tag by name.
        columns: the quantities wanted per segment.
        batch_inputs: per kind of batch, the tags wanted of every batch.
        held: further tags whose course `value_at` is asked for.
    """

    def __init__(
        self,
        line: LineConfiguration,
        tags: Mapping[str, int],
        columns: Sequence[Column],
        batch_inputs: Mapping[str, Sequence[int]],
        held: Sequence[int] = (),
    ) -> None:
        self._segment = line.segment
        self._lateness = int(line.lateness * SECOND)
        self._interval = int(max(web.interval for web in line.webs.values()) * SECOND)
        self._tags = tags
        webs = sorted(line.webs.items(), key=lambda item: item[1].unwinds is not None)
        self._webs = {name: _Web(name, config) for name, config in webs}
        self._batches = dict(line.batches)
        self._batch_inputs = {name: list(indices) for name, indices in batch_inputs.items()}
        self._released: dict[str, list[tuple[int, int]]] = {name: [] for name in line.batches}
        self._last_batch: dict[str, int] = {}
        self._drawn: dict[str, list[tuple[int, float]]] = {name: [] for name in line.batches}
        self._heads: dict[str, list[tuple[float, int, int]]] = {name: [] for name in line.batches}
        self._splices: deque[tuple[float, int]] = deque(maxlen=MOST_OPEN)
        self._encoders: dict[int, _Web] = {}
        self._signals: dict[int, tuple[HeldSignal, _Web]] = {}
        self._gauges: dict[int, list[tuple[_Web, _ColumnState]]] = {}

        main = next(iter(self._webs.values()))
        for index in (*held, *(i for indices in self._batch_inputs.values() for i in indices)):
            self._hold(index, main)
        for web in self._webs.values():
            config = web.config
            self._encoders[tags[config.encoder or config.speed or ""]] = web
            for name in (config.roll, config.splice, config.cut):
                if name is not None:
                    self._hold(tags[name], web)
        for batch in self._batches.values():
            for name in (batch.number, batch.drawn, batch.flow):
                self._hold(tags[name], self._webs[batch.web])
        for column in columns:
            web = self._webs[column.web]
            state = _ColumnState(column, web.distance(column.start), web.distance(column.end))
            web.columns.append(state)
            if column.kind == "gauge":
                self._gauges.setdefault(column.tag, []).append((web, state))
            else:
                self._hold(column.tag, web)

        count = max(tags.values(), default=0) + 1
        self._is_encoder = np.zeros(count, np.bool_)
        self._is_encoder[list(self._encoders)] = True
        self._is_used = np.zeros(count, np.bool_)
        self._is_used[[*self._signals, *self._gauges]] = True
        self._encoder_pool = _Pool()
        self._pool = _Pool()
        self._is_gauge = np.zeros(count, np.bool_)
        self._is_gauge[list(self._gauges)] = True
        self._seen = np.zeros(count, np.bool_)
        self._late: Counter[int] = Counter()
        self._latest = NEVER
        self._frontier = NEVER

    def _hold(self, tag: int, web: _Web) -> None:
        # a signal's means over length are those of the web on which it acts
        if tag not in self._signals or web is not self._signals[tag][1]:
            self._signals[tag] = (HeldSignal(), web)

    @property
    def frontier(self) -> int:
        """Everything up to this source time has been taken, ns."""
        return self._frontier

    @property
    def late(self) -> Counter[int]:
        """Samples that came after the watermark had passed them, by tag."""
        return Counter(self._late)

    def value_at(self, tag: int, time: int) -> float:
        """The value that a held tag had at a time up to the frontier, SI; NaN if none."""
        signal, _ = self._signals[tag]
        return float(signal.at(np.array([time]))[0]) if len(signal) else math.nan

    def locate(self, web: str, station: str, time: Ints) -> Floats:
        """Coated positions under a station at times up to the frontier, m; NaN where no web."""
        track = self._webs[web]
        distance = track.distance(_point(track.config, station))
        return track.locate(track.position.at(time) - distance)

    def batch_at(self, batches: str, segments: Ints, time: Ints) -> Ints:
        """Number of the batch that each segment is made of as known at `time`, -1 if unknown."""
        heads = self._heads[batches]
        starts = np.array([position for position, _, _ in heads])
        numbers = np.array([-1, *(number for _, number, _ in heads)], np.int64)
        known = np.array([NEVER, *(known for _, _, known in heads)], np.int64)
        index = np.searchsorted(starts, (segments + 0.5) * self._segment, "right")
        return np.where(known[index] <= time, numbers[index], -1)

    def spliced(self, segments: Ints, time: Ints) -> Bools:
        """Segments with a splice, a cut or a roll's end in or beside them, as known at `time`."""
        found = np.zeros(len(segments), np.bool_)
        for position, known in self._splices:
            near = np.abs((segments + 0.5) * self._segment - position) <= 1.5 * self._segment
            found |= near & (known <= time)
        return found

    def segment_of(self, roll: int, metre: float) -> int | None:
        """The segment at a metre of a roll, counted from its inner end; None if not known."""
        for web in self._webs.values():
            if web.config.unwinds is None and roll in web.rolls:
                return math.floor((web.rolls[roll].start + metre) / self._segment)
        return None

    def feed(self, batch: SampleBatch) -> Tracked:
        """Take samples (bad ones as NaN) and say what is now certain."""
        self.add(batch)
        return self.advance(self.horizon)

    def add(self, batch: SampleBatch) -> None:
        """Take samples in order of arrival (bad ones as NaN); what comes too late is counted."""
        if not len(batch):
            return
        # every tag drives the watermark: silence of one must not stop the others
        latest = np.maximum.accumulate(np.append(self._latest, batch.time))
        self._latest = int(latest[-1])
        used = self._is_used[batch.tag] | self._is_encoder[batch.tag]
        batch, watermark = batch.where(used), latest[:-1][used] - self._lateness
        late = batch.time < watermark
        if late.any():
            batch = self._sort_out(batch, late, watermark)
        self._seen[batch.tag] = True
        encoder = self._is_encoder[batch.tag]
        self._encoder_pool.add(batch.where(encoder))
        self._pool.add(batch.where(self._is_used[batch.tag]))

    def _sort_out(self, batch: SampleBatch, late: Bools, watermark: Ints) -> SampleBatch:
        """Count what is late; the first word of a machine, however old, holds from now on."""
        new = {int(tag) for tag in np.unique(batch.tag[late]) if not self._seen[tag]}
        time, drop = batch.time.copy(), late.copy()
        for tag in new:
            first = int(np.argmax(batch.tag == tag))
            if late[first] and not self._is_gauge[tag]:
                time[first], drop[first] = watermark[first], False
        self._late.update(batch.tag[drop].tolist())
        return SampleBatch(batch.tag, time, batch.value, batch.quality).where(~drop)

    @property
    def horizon(self) -> int:
        """How far `advance` may go: no sample up to this time can still come in time, ns."""
        if self._latest == NEVER:
            return NEVER
        return self._latest - self._lateness - self._interval - 1

    @property
    def oldest(self) -> int | None:
        """Time of the oldest sample that waits, ns."""
        found = (self._encoder_pool.oldest, self._pool.oldest)
        return min((time for time in found if time is not None), default=None)

    def advance(self, frontier: int) -> Tracked:
        """Say what is certain up to a time not beyond the horizon, ns."""
        if frontier <= self._frontier:
            return Tracked(self._frontier)
        before, self._frontier = self._frontier, frontier
        for index, samples in self._encoder_pool.take(frontier + self._interval).items():
            self._encoders[index].position.extend(*samples)
        for index, (time, value) in self._pool.take(frontier).items():
            if index in self._signals:
                signal, web = self._signals[index]
                signal.extend(time, value, web.position.at(time))
            for web, state in self._gauges.get(index, ()):
                self._read(web, state, time, value)
        tracked = Tracked(frontier)
        for web in self._webs.values():
            if len(web.position):
                self._genealogy(web, before, tracked)
        for name, config in self._batches.items():
            self._draw(name, config, before, tracked)
            self._release(name, config, before, tracked)
        for web in self._webs.values():
            encoder = float(web.position.at(np.array([frontier]))[0])
            if math.isfinite(encoder):
                passages = (self._pass(web, state, encoder) for state in web.columns)
                tracked.passages += [passage for passage in passages if passage is not None]
        self._forget(frontier - MEMORY)
        return tracked

    def _read(self, web: _Web, state: _ColumnState, time: Ints, value: Floats) -> None:
        use = np.isfinite(value) & web.position.known(time)
        time, value = time[use], value[use]
        if not len(time) or not len(web.position):
            return
        state.unread.append((time, value))

    def _settle(self, web: _Web, state: _ColumnState) -> None:
        """Put a gauge's readings on the segments that were under it."""
        for time, value in state.unread:
            position = web.locate(web.position.at(time) - state.leave)
            found = np.isfinite(position)
            segments = np.floor(position[found] / self._segment).astype(np.int64)
            value = value[found]
            if not len(segments):
                continue
            low = int(segments.min())
            sums = np.zeros((3, int(segments.max()) - low + 1))
            for segment in np.unique(segments).tolist():
                sums[:, segment - low] = state.sums.get(segment, (0.0, 0.0, 0.0))
            # one addition after the other, so that the cut into batches leaves no trace
            np.add.at(sums[0], segments - low, value)
            np.add.at(sums[1], segments - low, value * value)
            np.add.at(sums[2], segments - low, 1.0)
            for segment in np.unique(segments).tolist():
                total, squares, count = sums[:, segment - low].tolist()
                state.sums[segment] = (total, squares, count)
        state.unread.clear()

    def _genealogy(self, web: _Web, before: int, tracked: Tracked) -> None:
        config = web.config
        if config.unwinds is None:
            if not web.threads:
                web.threads.append(_Thread(web.position.first, web.position.first, 1.0, -math.inf))
            self._wind(web, before, tracked)
            if config.splice is not None:
                splices = self._signals[self._tags[config.splice]][0]
                for time, count in _changes(splices, before, tracked.frontier):
                    if web.splices is not None and count > web.splices:
                        position = self._under(web, config.splices_at, time)
                        self._splices.append((position, time))
                        tracked.milestones.append(
                            Milestone(time, "splice", web.name, int(count), position)
                        )
                    web.splices = count
        else:
            self._unwind(web, self._webs[config.unwinds], before, tracked)

    def _under(self, web: _Web, station: str | None, time: int) -> float:
        encoder = float(web.position.at(np.array([time]))[0])
        return encoder - web.distance(_point(web.config, station))

    def _wind(self, web: _Web, before: int, tracked: Tracked) -> None:
        roll = self._signals[self._tags[web.config.roll]][0]
        for time, value in _changes(roll, before, tracked.frontier):
            number = int(value)
            if number in (web.roll, NO_ROLL):
                continue
            position = self._under(web, web.config.winds_at, time)
            if web.roll is not None and web.roll in web.rolls:
                full = web.rolls[web.roll]
                full.end, full.wound = position, time
                tracked.milestones.append(
                    Milestone(time, "roll wound", web.name, full.number, position)
                )
            web.roll = number
            web.rolls[number] = Roll(web.name, number, position)
            tracked.milestones.append(Milestone(time, "roll started", web.name, number, position))

    def _unwind(self, web: _Web, wound: _Web, before: int, tracked: Tracked) -> None:
        rolls = self._signals[self._tags[web.config.roll]][0]
        events = [
            (time, "roll", value) for time, value in _changes(rolls, before, tracked.frontier)
        ]
        if web.config.cut is not None:
            cuts = self._signals[self._tags[web.config.cut]][0]
            events += [
                (time, "cut", value) for time, value in _changes(cuts, before, tracked.frontier)
            ]
        slope = -1.0 / (1.0 + web.config.stretch)
        for time, kind, value in sorted(events, key=lambda event: event[0]):
            encoder = float(web.position.at(np.array([time]))[0])
            if math.isnan(encoder):
                encoder = web.position.first
            if kind == "roll" and int(value) != web.roll:
                web.roll = int(value)
                if web.roll == NO_ROLL:
                    continue
                roll = wound.rolls.get(web.roll)
                known = roll is not None and math.isfinite(roll.end)
                origin, low = (roll.end, roll.start) if roll and known else (math.nan, math.nan)
                web.threads.append(_Thread(encoder, origin, slope, low))
                if known:
                    self._splices += [(origin, time), (low, time)]
                what = "roll mounted" if known else "unknown roll"
                tracked.milestones.append(Milestone(time, what, web.name, web.roll, origin))
            elif kind == "cut":
                if web.cut is not None and value > web.cut and web.threads:
                    thread = web.threads[-1]
                    origin = thread.origin + slope * (encoder - thread.start) - (value - web.cut)
                    web.threads.append(_Thread(encoder, origin, slope, thread.low))
                    self._splices += [(origin, time), (origin + value - web.cut, time)]
                    tracked.milestones.append(
                        Milestone(time, "cut out", web.name, web.roll or 0, origin)
                    )
                web.cut = value

    def _draw(self, name: str, config: BatchConfiguration, before: int, tracked: Tracked) -> None:
        web = self._webs[config.web]
        flow = self._signals[self._tags[config.flow]][0]
        drawn = self._signals[self._tags[config.drawn]][0]
        heads, waiting = self._heads[name], self._drawn[name]
        for time, value in _changes(drawn, before, tracked.frontier):
            number = int(value)
            if not heads and not waiting:
                heads.append((-math.inf, number, time))
            elif number != (waiting[-1][0] if waiting else heads[-1][1]):
                through = float(flow.integral(np.array([time]))[0]) if len(flow) else 0.0
                waiting.append((number, through + config.hose_volume))
        while waiting and len(flow) and len(web.position):
            number, target = waiting[0]
            arrived = flow.when_integral(target, tracked.frontier)
            if arrived is None:
                break
            position = self._under(web, config.head, arrived)
            heads.append((position, number, arrived))
            waiting.pop(0)
            tracked.milestones.append(Milestone(arrived, "batch", web.name, number, position))

    def _release(
        self, name: str, config: BatchConfiguration, before: int, tracked: Tracked
    ) -> None:
        inputs = [self._signals[index][0] for index in self._batch_inputs.get(name, ())]
        number = self._signals[self._tags[config.number]][0]
        waiting = self._released[name]
        for time, value in _changes(number, before, tracked.frontier):
            if int(value) != self._last_batch.get(name):
                self._last_batch[name] = int(value)
                waiting.append((int(value), time))
        if not inputs or any(not len(signal) for signal in inputs):
            return
        for batch, released in waiting:
            # what a machine told before it told all is from the same start
            time = max(released, *(signal.first_time for signal in inputs))
            values = np.array([float(signal.at(np.array([time]))[0]) for signal in inputs])
            tracked.released.append(BatchReleased(name, batch, time, values))
        waiting.clear()

    def _pass(self, web: _Web, state: _ColumnState, encoder: float) -> Passage | None:
        if state.column.kind == "gauge":
            self._settle(web, state)
        parts = []
        while state.thread < len(web.threads):
            thread = web.threads[state.thread]
            last = state.thread + 1 == len(web.threads)
            end = math.inf if last else web.threads[state.thread + 1].start
            segments = self._passed(state, thread, min(encoder - state.leave, end))
            if len(segments):
                parts.append(self._value(web, state, thread, segments))
            if encoder - state.leave <= end:
                break
            state.thread += 1
            state.next = None
        if not parts:
            return None
        segments, time, value, spread = (
            np.concatenate(columns) for columns in zip(*parts, strict=True)
        )
        return Passage(
            state.column, segments.astype(np.int64), time.astype(np.int64), value, spread
        )

    def _passed(self, state: _ColumnState, thread: _Thread, reach: float) -> Ints:
        """Whole segments of a thread whose last edge has passed, in the order of passing."""
        position = thread.origin + thread.slope * (reach - thread.start)
        if math.isnan(position) or reach < thread.start:
            return np.empty(0, np.int64)
        if thread.slope > 0:
            if state.next is None:
                state.next = math.ceil(thread.origin / self._segment)
            segments = np.arange(state.next, math.floor(position / self._segment))
        else:
            if state.next is None:
                state.next = math.floor(thread.origin / self._segment) - 1
            low = math.ceil(max(position, thread.low) / self._segment)
            segments = np.arange(state.next, low - 1, -1)
        if len(segments):
            state.next = int(segments[-1]) + (1 if thread.slope > 0 else -1)
        return segments

    def _value(
        self, web: _Web, state: _ColumnState, thread: _Thread, segments: Ints
    ) -> tuple[Ints, Ints, Floats, Floats]:
        forward = thread.slope > 0
        first, last = (segments, segments + 1) if forward else (segments + 1, segments)
        first_edge, last_edge = (
            thread.start + (edge.astype(np.float64) * self._segment - thread.origin) / thread.slope
            for edge in (first, last)
        )
        passed = web.position.reached(last_edge + state.leave)
        if state.column.kind == "gauge":
            sums = np.array([state.sums.pop(n, (0.0, 0.0, 0.0)) for n in segments.tolist()])
            count = sums[:, 2]
            with np.errstate(invalid="ignore", divide="ignore"):
                value = sums[:, 0] / count
                variance = np.maximum(sums[:, 1] / count - value**2, 0.0)
                return segments, passed, value, np.sqrt(variance / count)
        signal, _ = self._signals[state.column.tag]
        if not len(signal):
            value = np.full(len(segments), np.nan)
        elif state.column.start == state.column.end:
            entered = web.position.reached(first_edge + state.entry)
            value = signal.mean_over_length(entered, passed, web.position)
        else:
            middle = 0.5 * (first_edge + last_edge)
            entered = web.position.reached(middle + state.entry)
            value = signal.mean_over_time(entered, web.position.reached(middle + state.leave))
        return segments, passed, value, np.zeros(len(segments))

    def _forget(self, before: int) -> None:
        for signal, _ in self._signals.values():
            signal.forget(before)
        for web in self._webs.values():
            web.position.forget(before)
            for state in web.columns:
                if len(state.sums) > MOST_OPEN:
                    for segment in sorted(state.sums)[: -MOST_OPEN // 2]:
                        del state.sums[segment]


def _changes(signal: HeldSignal, after: int, until: int) -> Iterable[tuple[int, float]]:
    times, values = signal.changes(after, until)
    return [
        (time, value)
        for time, value in zip(times.tolist(), values.tolist(), strict=True)
        if math.isfinite(value)
    ]
