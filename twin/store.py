"""The store's thread: however long historian and ledger take, the line is never kept waiting."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol, TypeVar

import structlog

from twin.ports import Event, Historian
from twin.samples import SampleBatch

Result = TypeVar("Result")
log = structlog.get_logger()


class OpenHistorian(Historian, Protocol):
    """A historian that the store closes at the end."""

    def close(self) -> None:
        """Let go of the store, so that others may open it."""
        ...


class Store:
    """Hands batches to the historian on a thread of its own.

    The queue is bounded by `capacity` samples: when the historian cannot keep up or fails, the
    oldest batches are dropped and counted.

    Args:
        historian: the time-series store; all its methods run on the store's thread.
        measured: tags below this index come from the line, those above are derived by the twin.
        capacity: most samples that may wait.
        pause: between attempts to write to a historian that fails, s.
    """

    def __init__(
        self,
        historian: OpenHistorian,
        measured: int,
        capacity: int = 2_000_000,
        pause: float = 1.0,
    ) -> None:
        self._historian = historian
        self._measured = measured
        self._capacity = capacity
        self._pause = pause
        self._waiting: deque[tuple[SampleBatch, tuple[Event, ...]]] = deque()
        self._samples = 0
        self._arrived = asyncio.Event()
        self._taken = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, "store")
        self.stored = 0
        """Samples of the line that the historian has taken."""
        self.dropped = 0
        """Samples lost because the queue was full."""
        self.error: str | None = None
        """Why the historian does not take samples, as a sentence."""

    @property
    def historian(self) -> Historian:
        """To be used on the store's thread only, within `call`."""
        return self._historian

    @property
    def waiting(self) -> int:
        """Samples that wait for the historian."""
        return self._samples

    def put(self, batch: SampleBatch, events: Sequence[Event] = ()) -> None:
        """Queue a batch and events; never blocks."""
        if not len(batch) and not batch.offline and not events:
            return
        self._waiting.append((batch, tuple(events)))
        self._samples += len(batch)
        while self._samples > self._capacity and len(self._waiting) > 1:
            oldest, _ = self._waiting.popleft()
            self._samples -= len(oldest)
            if not self.dropped:
                log.error("samples are lost: the historian is behind", problem=self.error)
            self.dropped += len(oldest)
        self._arrived.set()

    async def room(self, most: int) -> None:
        """Come back when no more than `most` samples wait: for those who can wait."""
        while self._samples > most:
            self._taken.clear()
            await self._taken.wait()

    async def call(self, work: Callable[[], Result]) -> Result:
        """Run something on the store's thread, such as a read or an entry in the ledger."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    async def run(self) -> None:
        """Write what waits, in order, until cancelled; then write the rest."""
        writing: asyncio.Task[bool] | None = None
        try:
            while True:
                await self._arrived.wait()
                self._arrived.clear()
                while self._waiting:
                    # a write under way must end, or its samples would be in nobody's hands
                    writing = asyncio.create_task(self._write())
                    if not await asyncio.shield(writing):
                        await asyncio.sleep(self._pause)
        finally:
            if writing is not None:
                await writing
            if self._waiting and not await self._write():
                log.error("samples are lost at the end", count=self._samples)

    async def _write(self) -> bool:
        parts = list(self._waiting)
        held = self._samples
        # taken from the queue before the write, and put back in front of it where the write fails
        self._waiting.clear()
        self._samples = 0
        try:
            stored = await self.call(lambda: self._append(parts))
        except Exception as error:  # a store's driver may raise anything; the line goes on
            self._waiting.extendleft(reversed(parts))
            self._samples += held
            if self.error is None:
                log.error("historian", problem=str(error))
            self.error = str(error)
            return False
        self.error = None
        self.stored += stored
        self._taken.set()
        return True

    def _append(self, parts: Sequence[tuple[SampleBatch, tuple[Event, ...]]]) -> int:
        """On the store's thread: write, and say how many samples were the line's."""
        batch = SampleBatch.concatenate([batch for batch, _ in parts])
        self._historian.append(batch, [event for _, events in parts for event in events])
        return int((batch.tag < self._measured).sum())

    async def retain(self, since: int) -> None:
        """Delete what is older than `since` (ns); tried again at the next call where it fails."""
        try:
            await self.call(lambda: self._historian.retain(since))
        except Exception as error:  # a store's driver may raise anything; the line goes on
            log.error("historian", problem=f"nothing was deleted: {error}")

    def close(self) -> None:
        """Close the historian and wait for the thread to finish."""
        self._thread.submit(self._historian.close)
        self._thread.shutdown(wait=True)
