"""A recording, served: every sample when it arrived then, all times shifted by one constant."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from dataclasses import replace
from types import TracebackType
from typing import Final, Self

import numpy as np

from connectors.recording import Recording
from connectors.serving.gauges import ServedGauges
from connectors.serving.machine import ServedMachine
from twin.clock import LineClock
from twin.configuration.models import OpcUaConnector
from twin.intervention import Arrivals
from twin.samples import OfflineMeasurement, SampleBatch

LEAD: Final = 10.0
"""Wall seconds for which clients can connect before the recording begins."""
FAREWELL: Final = 2.0
"""Wall seconds after the last sample in which clients can take it."""
_SECOND: Final = 1_000_000_000
_TICK: Final = 0.03
"""Wall seconds between two looks at the clock."""
_PIECE: Final = 8_192
"""Samples that are read at once."""
_INITIAL: Final = 60 * _SECOND
"""What a variable held at the start is known by then after the first arrival, ns."""


class ServedLine:
    """The machines and gauges of a recording's line; an async context manager.

    The recording is shifted by whole seconds, so that stamps keep the digits that they had.

    Args:
        recording: for the line whose addresses are to be served.
        speed: seconds of line time per second.
        lead: wall seconds for which clients can connect before it begins.

    Attributes:
        now: recorded line time up to which has been served, ns.
        clock: the line's time; a twin beside it needs its two numbers.
        shift: served less recorded line time, ns.
        lag: the most by which a sample came too late, wall s.
        published: samples and laboratory values by connector.
    """

    clock: LineClock
    shift: int

    def __init__(self, recording: Recording, speed: float, lead: float = LEAD) -> None:
        first, last = recording.manifest.first, recording.manifest.last
        if first is None or last is None:
            raise ValueError(f"{recording.folder} holds no sample")
        self.first, self.last = first, last
        """Arrivals of the first and the last sample, recorded line time, ns."""
        self.now = first
        self.lag = 0.0
        self._recording = recording
        self._speed = speed
        self._lead = lead
        line = recording.line
        self.servers: list[ServedMachine | ServedGauges] = [
            ServedMachine(name, line)
            if isinstance(connector, OpcUaConnector)
            else ServedGauges(name, line)
            for name, connector in line.connectors.items()
        ]
        self.published: Counter[str] = Counter()

    @property
    def endpoints(self) -> dict[str, str]:
        """URL by connector."""
        return {each.name: each.endpoint for each in self.servers}

    @property
    def dropped(self) -> int:
        """Messages that found no room while a broker was away."""
        return sum(each.dropped for each in self.servers if isinstance(each, ServedGauges))

    @property
    def refused(self) -> int:
        """Writes of clients."""
        return sum(each.refused for each in self.servers if isinstance(each, ServedMachine))

    async def __aenter__(self) -> Self:
        """Listen, connect, and say what the variables hold at the start.

        Raises:
            OSError: a server cannot listen, or a broker is away.
            ValueError: a node cannot be made.
        """
        try:
            # the sooner a broker is missed, the better: servers take a second each
            for each in sorted(self.servers, key=lambda each: isinstance(each, ServedMachine)):
                await each.start()
            initial = await asyncio.to_thread(self._initial)
            earliest = time.time_ns() + int(self._lead * _SECOND)
            self.shift = -((self.first - earliest) // _SECOND) * _SECOND
            self.clock = LineClock(self._speed, self.first + self.shift)
            for each in self.servers:
                if isinstance(each, ServedMachine):
                    await each.publish(_shifted(initial, self.shift))
        except BaseException:
            await self._stop()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._stop()

    async def _stop(self) -> None:
        await asyncio.gather(*(each.stop() for each in self.servers))

    async def run(self) -> None:
        """Serve the recording to its end."""
        pieces: asyncio.Queue[Arrivals | None] = asyncio.Queue(4)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._read(pieces), name="recording")
            await self._play(pieces)
        await asyncio.sleep(FAREWELL)

    async def _read(self, pieces: asyncio.Queue[Arrivals | None]) -> None:
        stream = self._recording.stream(_PIECE)
        while True:
            piece = await asyncio.to_thread(next, stream, None)
            await pieces.put(piece)
            if piece is None:
                return

    async def _play(self, pieces: asyncio.Queue[Arrivals | None]) -> None:
        piece = await pieces.get()
        while piece is not None:
            target = self.clock.now() - self.shift
            due: list[SampleBatch] = []
            oldest, count = target, 0
            while piece is not None and count < _PIECE:
                head, rest = _split(piece, target, self.now)
                if head is None:
                    break
                oldest = min(oldest, int(head.arrived[0]) if len(head.arrived) else target)
                self.now = int(head.arrived[-1]) if len(head.arrived) else self.now
                due.append(head.batch)
                count += len(head.batch)
                if rest is not None:
                    piece = rest
                    break
                piece = await pieces.get()
            if not due:
                self.now = max(self.now, min(target, self.last))
                await asyncio.sleep(_TICK)
                continue
            batch = _shifted(SampleBatch.concatenate(due), self.shift)
            for each in self.servers:
                self.published[each.name] += await each.publish(batch)
            behind = self.clock.now() - self.shift - oldest
            self.lag = max(self.lag, behind / _SECOND / self._speed)
            await asyncio.sleep(_TICK if count < _PIECE else 0)
        self.now = self.last

    def _initial(self) -> SampleBatch:
        """The first sample of every tag, where it is no newer than the first arrival.

        A newer one would be from the future: until it arrives, nobody knows what was before.
        """
        seen = np.zeros(len(self._recording.line.tags), np.bool_)
        found: list[SampleBatch] = []
        for piece in self._recording.stream(_PIECE):
            known = np.flatnonzero(piece.batch.tag >= 0)
            tags, rows = np.unique(piece.batch.tag[known], return_index=True)
            fresh = known[rows[~seen[tags]]]
            seen[tags] = True
            old = np.zeros(len(piece.batch), np.bool_)
            old[fresh] = piece.batch.time[fresh] <= self.first
            found.append(replace(piece.batch.where(old), offline=()))
            if seen.all() or (len(piece.arrived) and piece.arrived[-1] > self.first + _INITIAL):
                break
        return SampleBatch.concatenate(found)


def _split(piece: Arrivals, until: int, now: int) -> tuple[Arrivals | None, Arrivals | None]:
    """What of a piece is due, and what is left of it; a laboratory value when it became known."""
    offline = piece.batch.offline
    if offline and max(each.known for each in offline) > max(until, now):
        return None, piece
    count = int(np.searchsorted(piece.arrived, until, "right"))
    if count == len(piece.batch):
        return piece, None
    if not count and not offline:
        return None, piece
    rows = np.arange(len(piece.batch))
    head = Arrivals(piece.batch.where(rows < count), piece.arrived[:count])
    rest = replace(piece.batch.where(rows >= count), offline=())
    return head, Arrivals(rest, piece.arrived[count:])


def _shifted(batch: SampleBatch, shift: int) -> SampleBatch:
    def later(measurement: OfflineMeasurement) -> OfflineMeasurement:
        return replace(measurement, sampled=measurement.sampled + shift)

    return replace(
        batch, time=batch.time + shift, offline=tuple(later(each) for each in batch.offline)
    )
