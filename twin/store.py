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
        self._thread = ThreadPoolExecutor(1, "store")
        self.stored = 0
        """Samples of the line that the historian has taken."""
        self.dropped = 0
        """Samples lost because the queue was full."""
        self.error: str | None = None
        """Why the historian does not take samples, as a sentence."""

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
            self.dropped += len(oldest)
        self._arrived.set()

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
            if self._waiting:
                await self._write()

    async def _write(self) -> bool:
        parts = list(self._waiting)
        batch = SampleBatch.concatenate([batch for batch, _ in parts])
        events = [event for _, events in parts for event in events]
        # taken from the queue before the write, and put back in front of it where the write fails
        self._waiting.clear()
        self._samples = 0
        try:
            await self.call(lambda: self._historian.append(batch, events))
        except Exception as error:  # a store's driver may raise anything; the line goes on
            self._waiting.extendleft(reversed(parts))
            self._samples += len(batch)
            if self.error is None:
                log.error("historian", problem=str(error))
            self.error = str(error)
            return False
        self.error = None
        self.stored += int((batch.tag < self._measured).sum())
        return True

    def close(self) -> None:
        """Close the historian and wait for the thread to finish."""
        self._thread.submit(self._historian.close)
        self._thread.shutdown(wait=True)
