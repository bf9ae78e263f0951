"""The way of samples to the historian: safe on disk first, then delivered, in order."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, Protocol, TypeVar

import numpy as np
import structlog

from twin.ports import Event, Historian, Refused
from twin.samples import SampleBatch
from twin.spool import Spool
from twin.spool_record import MOST, rows
from twin.telling import Telling

Result = TypeVar("Result")
Safe = Callable[[], None]
log = structlog.get_logger()

COMMIT = 0.05
"""Seconds from one write of the spool to the next: what arrives meanwhile shares it."""
DELIVER = 0.25
"""Seconds from one delivery to the next where the historian keeps up."""
AT_ONCE = 200_000
"""Samples that are made safe together, at most."""
ATTEMPTS = 200
"""Appends that look for what a historian refuses among what is delivered together."""
FAREWELL = 5.0
"""Seconds for which the historian still gets what is in the spool at the end."""


class OpenHistorian(Historian, Protocol):
    """A historian that the store closes at the end."""

    def close(self) -> None:
        """Let go of the store, so that others may open it."""
        ...


@dataclass(frozen=True, slots=True)
class StoreState:
    """How samples fare between the connectors and the historian; counts are since the start."""

    stored: int
    """Samples of the line that the historian has taken."""
    waiting: int
    """Samples in memory that are not safe yet."""
    spooled: int
    """Samples on disk that the historian has not taken yet."""
    spool_bytes: int
    """Size of the spool on disk; what was delivered and is kept a while longer included."""
    spool_limit: int
    """Size at which the oldest is dropped, bytes; 0 where there is no spool."""
    oldest: float
    """Age of the oldest sample that the historian has not taken, since it arrived, s."""
    dropped: int
    """Samples lost because spool or memory was full, or the spool too old."""
    damaged: int
    """Samples lost because the spool's files were damaged: those that are known to be missing."""
    torn: int
    """Ends of files cut off because a crash had left them half written; they were never safe."""
    refused: int
    """Samples set aside because the historian refuses them."""
    error: str | None
    """Why the historian does not take samples, as a sentence."""
    spool_error: str | None
    """Why the spool does not take samples, as a sentence."""

    @property
    def fill(self) -> float:
        """How full the spool is, 0 to 1."""
        return self.spool_bytes / self.spool_limit if self.spool_limit else 0.0


@dataclass(frozen=True, slots=True)
class _Part:
    batch: SampleBatch
    events: tuple[Event, ...]
    safe: Safe | None
    arrived: float


class Store:
    """Makes samples safe and delivers them to the historian; the line is never kept waiting.

    What arrives is on disk in the spool within `COMMIT` seconds and the time of a write. From
    there the historian gets it, in order, as fast as it takes it. Only where there is no spool, or
    its disk does not take anything, samples go to the historian from memory, or wait there.

    Historian, spool and ledger have a thread each, so that a historian that hangs holds up nothing
    else: a setpoint is not written before the audit trail knows of it.
    Memory is bounded by `capacity` samples: then the oldest batches are dropped and counted, but
    for those that their source keeps until they are safe, of which it sends a limited number.

    Args:
        historian: the time-series store; all its methods run on a thread of its own.
        measured: tags below this index come from the line, those above are derived by the twin.
        spool: where samples wait on disk; None: they wait in memory only.
        capacity: most samples that may wait in memory.
        pause: between attempts to write what could not be written, s.
    """

    def __init__(
        self,
        historian: OpenHistorian,
        measured: int,
        spool: Spool | None = None,
        capacity: int = 2_000_000,
        pause: float = 1.0,
    ) -> None:
        self._historian = historian
        self._measured = measured
        self._spool = spool
        self._capacity = capacity
        self._pause = pause
        self._waiting: deque[_Part] = deque()
        self._samples = 0
        self._arrived = asyncio.Event()
        self._taken = asyncio.Event()
        self._spooled = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, "store")
        self._disk = ThreadPoolExecutor(1, "spool")
        self._books = ThreadPoolExecutor(1, "ledger")
        self._telling = Telling()
        self._attempts = 0
        self._dropped = 0
        self._refused = 0
        self.stored = 0
        """Samples of the line that the historian has taken."""
        self.error: str | None = None
        """Why the historian does not take samples, as a sentence."""
        self.spool_error: str | None = None
        """Why the spool does not take samples, as a sentence."""

    @property
    def historian(self) -> Historian:
        """The time-series store, for work on its thread: see `call`."""
        return self._historian

    @property
    def waiting(self) -> int:
        """Samples that the historian has not taken: in memory and, events included, on disk."""
        return self._samples + (0 if self._spool is None else self._spool.undelivered)

    @property
    def dropped(self) -> int:
        """Samples lost because memory or spool was full."""
        return self._dropped + (0 if self._spool is None else self._spool.dropped)

    @property
    def state(self) -> StoreState:
        """What operation looks at."""
        spool = self._spool
        age = time.monotonic() - self._waiting[0].arrived if self._waiting else 0.0
        return StoreState(
            stored=self.stored,
            waiting=self._samples,
            spooled=0 if spool is None else spool.undelivered,
            spool_bytes=0 if spool is None else spool.bytes,
            spool_limit=0 if spool is None else spool.limit,
            oldest=age if spool is None else max(age, spool.oldest),
            dropped=self.dropped,
            damaged=0 if spool is None else spool.damaged,
            torn=0 if spool is None else spool.torn,
            refused=self._refused if spool is None else spool.refused,
            error=self.error,
            spool_error=self.spool_error,
        )

    def put(
        self, batch: SampleBatch, events: Sequence[Event] = (), safe: Safe | None = None
    ) -> None:
        """Queue a batch and events; never blocks.

        Args:
            safe: called once when they will outlast a crash; where it is given they are not
                dropped, as their source keeps them until then. Calls come in the order of `put`.
        """
        if not rows(batch, events) and safe is None:
            return
        self._waiting.append(_Part(batch, tuple(events), safe, time.monotonic()))
        self._samples += len(batch)
        if self._samples > self._capacity:
            self._drop()
        self._arrived.set()

    async def room(self, most: int) -> None:
        """Come back when no more than `most` samples wait in memory: for those who can wait."""
        while self._samples > most:
            self._taken.clear()
            await self._taken.wait()

    async def kept(self) -> None:
        """Come back when everything that was put until now will outlast a crash."""
        safe = asyncio.Event()
        self.put(SampleBatch.of([], [], []), safe=safe.set)
        await safe.wait()

    async def call(self, work: Callable[[], Result]) -> Result:
        """Run something on the historian's thread, such as a read."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    async def on_ledger(self, work: Callable[[], Result]) -> Result:
        """Run something on the ledger's thread, which waits for no historian."""
        return await asyncio.get_running_loop().run_in_executor(self._books, work)

    async def run(self) -> None:
        """Keep and deliver what comes, until cancelled; then keep the rest."""
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._keep_on(), name="keep")
                if self._spool is not None:
                    tasks.create_task(self._deliver_on(self._spool), name="deliver")
        finally:
            await self._finish()

    async def retain(self, since: int) -> None:
        """Delete what is older than `since`, ns."""
        await self.call(lambda: self._historian.retain(since))

    def close(self) -> None:
        """Close historian and spool, and wait for their threads to finish."""
        self._thread.submit(self._historian.close)
        self._thread.shutdown(wait=True)
        if self._spool is not None:
            self._disk.submit(self._spool.close)
        self._disk.shutdown(wait=True)
        self._books.shutdown(wait=True)

    async def _on_disk(self, work: Callable[[], Result]) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._disk, work)

    async def _keep_on(self) -> None:
        pace = 0.0 if self._spool is None else COMMIT
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            while self._waiting:
                kept = await _to_its_end(self._keep())
                await asyncio.sleep(pace if kept else self._pause)

    async def _keep(self) -> bool:
        """Make what waits safe; whether that succeeded."""
        parts: list[_Part] = []
        count = 0
        # taken from the queue before the write, and put back in front of it where the write fails
        while self._waiting and count < AT_ONCE:
            parts.append(self._waiting.popleft())
            count += len(parts[-1].batch)
        batch = SampleBatch.concatenate([part.batch for part in parts])
        events = tuple(event for part in parts for event in part.events)
        if not await self._secure(batch, events):
            self._waiting.extendleft(reversed(parts))
            return False
        self._samples -= count
        for part in parts:
            if part.safe is not None:
                part.safe()
        self._taken.set()
        return True

    async def _secure(self, batch: SampleBatch, events: tuple[Event, ...]) -> bool:
        spool = self._spool
        if spool is not None:
            try:
                await self._on_disk(lambda: spool.append(batch, events))
            except Exception as error:  # disks fail in many ways; the line goes on
                self._note_spool(error)
                if spool.undelivered or self._historian.settles:
                    return False
            else:
                self._note_spool(None)
                self._spooled.set()
                return True
        return await self._deliver(batch, events)

    async def _deliver_on(self, spool: Spool) -> None:
        while True:
            count = await _to_its_end(self._forward(spool))
            if count is None:
                await asyncio.sleep(self._pause)
            elif not count:
                await self._spooled.wait()
                self._spooled.clear()
            elif count < MOST:
                await asyncio.sleep(DELIVER)

    async def _forward(self, spool: Spool) -> int | None:
        """Deliver what comes next in the spool: how many rows, None where it failed."""
        try:
            chunk = await self._on_disk(spool.read)
            if chunk is None:
                return 0
            if not await self._deliver(chunk.batch, chunk.events):
                await self._go_back(spool)
                return None
            await self._on_disk(lambda: spool.delivered(chunk.end))
        except Exception as error:  # disks fail in many ways; the line goes on
            self._note_spool(error)
            await self._go_back(spool)
            return None
        return rows(chunk.batch, chunk.events)

    async def _go_back(self, spool: Spool) -> None:
        try:
            await self._on_disk(spool.rewind)
        except OSError as error:  # it has gone back, and could not look how old that is
            self._note_spool(error)

    async def _deliver(self, batch: SampleBatch, events: tuple[Event, ...]) -> bool:
        """Give the historian samples, and set aside what it refuses; whether that succeeded."""
        try:
            self._attempts = 0
            await self._append(batch, events)
        except Exception as error:  # a store's driver may raise anything; the line goes on
            if self.error is None:
                log.error("historian", problem=str(error))
            self.error = str(error)
            return False
        self.error = None
        return True

    async def _append(self, batch: SampleBatch, events: tuple[Event, ...]) -> None:
        """Append, and set aside what is refused; in halves where it is not known what that is."""
        self._attempts += 1
        try:
            await self.call(lambda: self._historian.append(batch, events))
        except Refused as refusal:
            found = refusal.batch
            if found is not None:
                await self._set_aside(found, refusal.events, str(refusal))
                self.stored += self._of_line(batch) - self._of_line(found)
                return
            halves = _halves(batch, events) if self._attempts < ATTEMPTS else ()
            for half in halves:
                await self._append(*half)
            if not halves:
                await self._set_aside(batch, events, str(refusal))
        else:
            self.stored += self._of_line(batch)

    def _of_line(self, batch: SampleBatch) -> int:
        return int((batch.tag < self._measured).sum())

    async def _set_aside(self, batch: SampleBatch, events: tuple[Event, ...], reason: str) -> None:
        spool = self._spool
        if spool is not None:
            await self._on_disk(lambda: spool.set_aside(batch, events, reason))
        else:
            self._refused += rows(batch, events)
            self._telling.error("samples are lost: refused", reason=reason, so_far=self._refused)

    async def _finish(self) -> None:
        while self._waiting:
            if not await self._keep():
                lost = sum(len(part.batch) for part in self._waiting if part.safe is None)
                log.error("samples are lost at the end", count=lost)
                return
        spool = self._spool
        if spool is not None:
            began = time.monotonic()
            while time.monotonic() - began < FAREWELL and await self._forward(spool):
                pass

    def _drop(self) -> None:
        """Drop the oldest that no source keeps, until the rest may wait."""
        kept: list[_Part] = []
        before = self._dropped
        while self._samples > self._capacity and len(self._waiting) > 1:
            part = self._waiting.popleft()
            if part.safe is None:
                self._samples -= len(part.batch)
                self._dropped += len(part.batch)
            else:
                kept.append(part)
        self._waiting.extendleft(reversed(kept))
        if self._dropped > before:
            self._telling.error(
                "samples are lost: neither spool nor historian takes them", so_far=self._dropped
            )

    def _note_spool(self, error: Exception | None) -> None:
        if error is not None and self.spool_error is None:
            log.error("spool", problem=str(error))
        self.spool_error = None if error is None else str(error)


def _halves(
    batch: SampleBatch, events: tuple[Event, ...]
) -> tuple[tuple[SampleBatch, tuple[Event, ...]], ...]:
    """Two halves of samples and events, sorted by tag; none of what is only one."""
    none = SampleBatch.of([], [], [])
    size, offline = len(batch), batch.offline
    if events and (size or offline):
        return (batch, ()), (none, events)
    if events:
        middle = len(events) // 2
        return ((none, events[:middle]), (none, events[middle:])) if middle else ()
    if offline and size:
        return (batch.between(0, size), ()), (replace(none, offline=offline), ())
    if offline:
        middle = len(offline) // 2
        halves = offline[:middle], offline[middle:]
        return tuple((replace(none, offline=half), ()) for half in halves) if middle else ()
    if size < 2:
        return ()
    # what is refused is often all of one tag: together it is found sooner
    order = np.argsort(batch.tag, kind="stable")
    batch = SampleBatch(
        batch.tag[order], batch.time[order], batch.value[order], batch.quality[order]
    )
    return (batch.between(0, size // 2), ()), (batch.between(size // 2, size), ())


async def _to_its_end(work: Coroutine[Any, Any, Result]) -> Result:
    """Run to the end even where the caller is cancelled: no sample is in nobody's hands."""
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        raise
