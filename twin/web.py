"""One machine's web: which coated material is where in the machine.

Everything is keyed by positions on the coated web. A web that unwinds rolls of another sees the
same positions in reverse, stretched: every roll, and every piece between two cuts, is a thread.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from twin.configuration.models import WebConfiguration
from twin.samples import Floats, Ints
from twin.signal import WebPosition
from twin.snapshot import Snapshot


@dataclass(slots=True)
class Thread:
    """A stretch of web in a machine: `position = origin + slope * (encoder - start)`."""

    start: float
    """Encoder reading, less the station's distance, at which it begins, m."""
    origin: float
    """Coated position there, m; NaN where the roll is unknown."""
    slope: float
    low: float
    """Lowest coated position that belongs to it."""
    known: int
    """When the machine told of it, ns."""
    next: Thread | None = None
    """The thread that follows it in the machine."""

    def position(self, encoder: float) -> float:
        """Coated position at an encoder reading less the station's distance, m."""
        return self.origin + self.slope * (encoder - self.start)

    def encoder(self, position: Floats) -> Floats:
        """Encoder readings, less the station's distance, at coated positions, m."""
        return self.start + (position - self.origin) / self.slope


class Web:
    """The position of one machine's web, its threads and its stations."""

    def __init__(self, name: str, config: WebConfiguration) -> None:
        self.name = name
        self.config = config
        self.position = WebPosition(config.interval, from_speed=config.encoder is None)
        self.threads: list[Thread] = []
        self._unwound = self._place(config.unwinds_at) if config.unwinds_at else 0.0
        self._stretches = self._place(config.stretches_at) if config.stretches_at else math.inf
        ends = [p[1] if isinstance(p, tuple) else p for p in config.stations.values()]
        self._farthest = max((self.distance(end) for end in ends), default=0.0)

    def _place(self, station: str | None) -> float:
        place = self.config.stations[station] if station is not None else 0.0
        return place[0] if isinstance(place, tuple) else place

    def distance(self, station: float) -> float:
        """Encoder travel between the web's reference and a station at `station` m, m."""
        if self.config.unwinds is None:
            return station
        before = min(station, self._stretches) - self._unwound
        return before * (1 + self.config.stretch) + max(0.0, station - self._stretches)

    def encoder(self, time: int) -> float:
        """Length of web that has passed the encoder, m; NaN before its first report."""
        return float(self.position.at(np.array([time]))[0])

    def under(self, station: str | None, time: int) -> float:
        """Position under a station of a web that is the coated web itself, m."""
        return self.encoder(time) - self.distance(self._place(station))

    def begin(self, thread: Thread) -> None:
        """A thread follows the last one."""
        if self.threads:
            self.threads[-1].next = thread
        self.threads.append(thread)

    def locate(self, encoder: Floats) -> Floats:
        """Coated positions at encoder values (less the station's distance), NaN where no web."""
        if not self.threads:
            return np.full(len(encoder), np.nan)
        table = np.array([(t.start, t.origin, t.slope, t.low) for t in self.threads])
        index = np.searchsorted(table[:, 0], encoder, "right") - 1
        start, origin, slope, low = table[np.maximum(index, 0)].T
        position = origin + slope * (encoder - start)
        return np.where((index < 0) | (position < low), np.nan, position)

    def locate_under(self, station: str, time: Ints) -> Floats:
        """Coated positions under a station, m; NaN where no web."""
        return self.locate(self.position.at(time) - self.distance(self._place(station)))

    def coming(self, distance: float, time: int, segment: float, count: int) -> Ints:
        """Segments that pass next at a distance from the reference, as known at `time`.

        Args:
            distance: encoder travel to the place, m.
            time: ns.
            segment: length of a segment, m.
            count: how many at most.

        Returns:
            In the order of passing; fewer where a roll ends.
        """
        reach = self.encoder(time) - distance
        found: list[int] = []
        threads = [thread for thread in self.threads if thread.known <= time]
        ends = [thread.start for thread in threads[1:]] + [math.inf] * bool(threads)
        for thread, end in zip(threads, ends, strict=True):
            while reach < end and len(found) < count:
                position = thread.position(reach + 0.5 * segment)
                if not position >= thread.low:
                    break
                found.append(math.floor(position / segment))
                reach += segment
            reach = max(reach, end)
        return np.array(list(dict.fromkeys(found)), np.int64)

    def forget(self, before: int) -> None:
        """Drop positions before a time, and threads that had left the last station by then."""
        left = self.encoder(before) - self._farthest
        while len(self.threads) > 1 and self.threads[1].start <= left:
            del self.threads[0]
        self.position.forget(before)

    def snapshot(self, since: int) -> Snapshot:
        """What questions about a time >= `since` need."""
        return {
            "threads": [[t.start, t.origin, t.slope, t.low, t.known] for t in self.threads],
            "position": self.position.snapshot(since),
        }

    def restore(self, state: Snapshot) -> None:
        """Take what another gave."""
        for values in state["threads"]:
            self.begin(Thread(*values))
        self.position.restore(state["position"])
