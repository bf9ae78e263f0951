"""The tracker: which material met which machine and which gauge.

Everything is keyed by web segments of the coated web: segment n is the web between n and n + 1
segment lengths of the first web's encoder. A web that unwinds rolls of another sees the same
segments in reverse, stretched. Results depend on source times only: samples wait until the
watermark has passed them, however they were cut into batches.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from twin.configuration.models import LineConfiguration
from twin.genealogy import BatchReleased, Hose, Milestone, Rolls
from twin.material import Roll
from twin.passage import Column, Passage, Station
from twin.readings import Condition
from twin.samples import Bools, Floats, Ints, SampleBatch
from twin.signal import SECOND, HeldSignal
from twin.snapshot import Renumbering, Snapshot
from twin.watermark import NEVER, Watermark
from twin.web import Web

MEMORY: Final = int(6 * 3600 * SECOND)
"""How far back positions and signals are kept: longer than material stays in any one machine."""

SPEED_OVER: Final = int(5 * SECOND)
"""Time over which a web's speed is told, ns."""


@dataclass(slots=True)
class Tracked:
    """What the tracker found out since it was last fed, every list in order of time."""

    frontier: int
    passages: list[Passage] = field(default_factory=list)
    released: list[BatchReleased] = field(default_factory=list)
    milestones: list[Milestone] = field(default_factory=list)
    conditions: list[Condition] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class WebState:
    """Where a web is."""

    position: float
    """Length that has passed its encoder, m; NaN before the first report."""
    speed: float
    """m/s, over the last seconds; NaN where not known."""
    roll: int | None
    """That is wound or unwound; None where not known."""
    metre: float
    """In the roll, m from its inner end; NaN where not known."""


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
        self._interval = int(max(web.interval for web in line.webs.values()) * SECOND)
        webs = sorted(line.webs.items(), key=lambda item: item[1].unwinds is not None)
        self._webs = {name: Web(name, config) for name, config in webs}
        self._encoders: dict[int, Web] = {}
        self._signals: dict[int, tuple[HeldSignal, Web]] = {}
        self._stations: dict[str, list[Station]] = {name: [] for name in self._webs}
        self._gauges: dict[int, list[Station]] = {}
        self._hold_signals(line, tags, batch_inputs, held)
        for column in columns:
            web = self._webs[column.web]
            station = Station(column, web, line.segment)
            self._stations[column.web].append(station)
            if column.kind == "gauge":
                self._gauges.setdefault(column.tag, []).append(station)
            else:
                self._hold(column.tag, web)

        signals = {name: self._signals[i][0] for name, i in tags.items() if i in self._signals}
        self._rolls = Rolls(self._webs, signals, line.segment)
        self._hoses = {
            name: Hose(
                name,
                config,
                self._webs[config.web],
                signals,
                [self._signals[index][0] for index in batch_inputs.get(name, ())],
                line.segment,
                int(line.lateness * SECOND),
            )
            for name, config in line.batches.items()
        }
        self._watermark = Watermark(
            int(line.lateness * SECOND),
            self._encoders,
            self._signals,
            self._gauges,
            max(tags.values(), default=0) + 1,
        )
        self._frontier = NEVER

    def _hold_signals(
        self,
        line: LineConfiguration,
        tags: Mapping[str, int],
        batch_inputs: Mapping[str, Sequence[int]],
        held: Sequence[int],
    ) -> None:
        main = next(iter(self._webs.values()))
        for index in (*held, *(i for indices in batch_inputs.values() for i in indices)):
            self._hold(index, main)
        for web in self._webs.values():
            config = web.config
            self._encoders[tags[config.encoder or config.speed or ""]] = web
            for name in (config.roll, config.splice, config.cut):
                if name is not None:
                    self._hold(tags[name], web)
        for batch in line.batches.values():
            for name in (batch.number, batch.drawn, batch.flow):
                self._hold(tags[name], self._webs[batch.web])

    def _hold(self, tag: int, web: Web) -> None:
        # a signal's means over length are those of the web on which it acts
        if tag not in self._signals or web is not self._signals[tag][1]:
            self._signals[tag] = (HeldSignal(), web)

    @property
    def frontier(self) -> int:
        """Everything up to this source time has been taken, ns."""
        return self._frontier

    @property
    def horizon(self) -> int:
        """How far `advance` may go: no sample up to this time can still come in time, ns."""
        passed = self._watermark.passed
        return NEVER if passed == NEVER else passed - self._interval

    @property
    def oldest(self) -> int | None:
        """Time of the oldest sample that waits, ns."""
        return self._watermark.oldest

    @property
    def late(self) -> Counter[int]:
        """Samples that came after the watermark had passed them, by tag."""
        return Counter(self._watermark.late)

    @property
    def ahead(self) -> dict[int, tuple[int, int]]:
        """As `Watermark.ahead`."""
        return dict(self._watermark.ahead)

    def value_at(self, tag: int, time: int) -> float:
        """The value that a held tag had at a time up to the frontier, SI; NaN if none."""
        signal, _ = self._signals[tag]
        return float(signal.at(np.array([time]))[0]) if len(signal) else math.nan

    def last(self, tag: int, time: int) -> tuple[float, int]:
        """As `value_at`, and when it was last told, ns; 0 if never."""
        signal, _ = self._signals[tag]
        return signal.last(time) if len(signal) else (math.nan, 0)

    def locate(self, web: str, station: str, time: Ints) -> Floats:
        """Coated positions under a station at times up to the frontier, m; NaN where no web.

        Positions are remembered for `MEMORY`.
        """
        return self._webs[web].locate_under(station, time)

    def coming(self, web: str, station: float, time: int, count: int) -> Ints:
        """Segments that pass a place of a web (m) next, as known at `time` (ns); `count` at most.

        Fewer where a roll ends.
        """
        machine = self._webs[web]
        return machine.coming(machine.distance(station), time, self._segment, count)

    def batch_at(self, batches: str, segments: Ints, time: Ints) -> Ints:
        """Number of the batch that each segment is made of as known at `time`, -1 if unknown."""
        return self._hoses[batches].batch_at(segments, time)

    def spliced(self, segments: Ints, time: Ints) -> Bools:
        """Segments with a splice, a cut or a roll's end in or beside them, as known at `time`."""
        return self._rolls.spliced(segments, time)

    def foils(self, segments: Ints, time: Ints) -> Ints:
        """A number for the foil of each segment, as known at `time`."""
        return self._rolls.foils(segments, time)

    def roll_starts(self, web: str, segments: Ints) -> Floats:
        """Where the roll begins on which each segment was wound, m, of a web that unwinds rolls."""
        return self._rolls.roll_starts(self._webs[web], segments)

    def segment_of(self, roll: int, metre: float) -> int | None:
        """The segment at a metre of a roll, counted from its inner end; None if not known."""
        return self._rolls.segment_of(roll, metre)

    def rolls(self) -> list[Roll]:
        """The rolls that are remembered, in the order in which they were begun."""
        return self._rolls.wound()

    def web_state(self, web: str) -> WebState:
        """Where a web is at the frontier."""
        found = self._webs[web]
        if not len(found.position):
            return WebState(math.nan, math.nan, None, math.nan)
        now, before = self._frontier, self._frontier - SPEED_OVER
        position = found.encoder(now)
        speed = (position - found.encoder(before)) / (SPEED_OVER / SECOND)
        number, metre = self._rolls.here(found, now)
        return WebState(position, speed, number, metre)

    def feed(self, batch: SampleBatch, arrived: int | Ints) -> Tracked:
        """Take samples (bad ones as NaN) that arrived then, ns, and say what is now certain."""
        self.add(batch, arrived)
        return self.advance(self.horizon)

    def add(self, batch: SampleBatch, arrived: int | Ints) -> None:
        """Take samples in order of arrival (bad ones as NaN); what comes too late is counted."""
        self._watermark.add(batch, arrived)

    def advance(self, frontier: int) -> Tracked:
        """Say what is certain up to a time not beyond the horizon, ns."""
        if frontier <= self._frontier:
            return Tracked(self._frontier)
        before, self._frontier = self._frontier, frontier
        self._take(frontier)
        tracked = Tracked(frontier)
        tracked.milestones += self._rolls.advance(before, frontier)
        for hose in self._hoses.values():
            tracked.released += hose.released(before, frontier)
            tracked.milestones += hose.arrived(before, frontier)
        for name, web in self._webs.items():
            encoder = web.encoder(frontier)
            if math.isfinite(encoder):
                passages = (self._pass(station, encoder) for station in self._stations[name])
                tracked.passages += [passage for passage in passages if passage is not None]
                for station in self._stations[name]:
                    tracked.conditions += station.conditions
                    station.conditions.clear()
        tracked.conditions.sort(key=lambda condition: (condition.time, condition.tag))
        self._forget(frontier - MEMORY)
        return tracked

    def _take(self, frontier: int) -> None:
        for index, samples in self._watermark.encoders.take(frontier + self._interval).items():
            self._encoders[index].position.extend(*samples)
        for index, (time, value) in self._watermark.others.take(frontier).items():
            if index in self._signals:
                signal, web = self._signals[index]
                signal.extend(time, value, web.position.at(time))
            for station in self._gauges.get(index, ()):
                station.read(time, value)

    def _pass(self, station: Station, encoder: float) -> Passage | None:
        if station.column.kind == "gauge":
            return station.advance(encoder, None)
        return station.advance(encoder, self._signals[station.column.tag][0])

    def _forget(self, before: int) -> None:
        for signal, _ in self._signals.values():
            signal.forget(before)
        for web in self._webs.values():
            web.forget(before)
        for stations in self._stations.values():
            for station in stations:
                station.forget()

    def snapshot(self) -> Snapshot:
        """Everything that material still on its way needs, whatever time it was there."""
        since = {name: self._needed_from(name) for name in self._webs}
        stood = {name: web.position.standstills() for name, web in self._webs.items()}
        elsewhere = {
            station.column.tag
            for name, stations in self._stations.items()
            for station in stations
            if self._signals.get(station.column.tag, (None, self._webs[name]))[1].name != name
        }
        signals = []
        for tag, (signal, web) in self._signals.items():
            if tag in elsewhere:
                held = signal.snapshot(NEVER, ())
            else:
                held = signal.snapshot(since[web.name], stood[web.name])
            signals.append([tag, web.name, held])
        return {
            "frontier": self._frontier,
            "webs": {name: web.snapshot(since[name]) for name, web in self._webs.items()},
            "signals": signals,
            "stations": {
                station.column.name: station.snapshot()
                for stations in self._stations.values()
                for station in stations
            },
            "rolls": self._rolls.snapshot(),
            "hoses": {name: hose.snapshot() for name, hose in self._hoses.items()},
            "watermark": self._watermark.snapshot(),
        }

    def _needed_from(self, name: str) -> int:
        """Since when the course of a web's signals matters to what has not passed yet, ns."""
        web = self._webs[name]
        encoder = web.encoder(self._frontier) if len(web.position) else math.nan
        if math.isnan(encoder):
            return NEVER
        entered = [station.needs_from(encoder) for station in self._stations[name]]
        position = np.array([min(entered, default=encoder)])
        return min(int(web.position.reached(position)[0]), self._frontier)

    def restore(self, state: Snapshot, renumber: Renumbering) -> None:
        """Take what a tracker of the same webs, batches and columns gave."""
        self._frontier = state["frontier"]
        for name, web in self._webs.items():
            web.restore(state["webs"][name])
        for tag, name, signal in state["signals"]:
            held = self._signals.get(renumber(tag))
            if held is not None and held[1].name == name:
                held[0].restore(signal)
        for stations in self._stations.values():
            for station in stations:
                station.restore(state["stations"][station.column.name])
        self._rolls.restore(state["rolls"])
        for name, hose in self._hoses.items():
            hose.restore(state["hoses"][name])
        self._watermark.restore(state["watermark"], renumber)
