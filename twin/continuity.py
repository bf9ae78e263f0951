"""Continuity: what a service keeps for its next start, and what that start makes of it."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Mapping
from typing import Final

import structlog

from twin.challenger import Challengers
from twin.checkpoint import Checkpoints, Memory
from twin.clock import Clock
from twin.configuration.models import LineConfiguration
from twin.core import Core
from twin.intervention import Intervention
from twin.ledger import Ledger
from twin.logged import entry_of
from twin.metrics import Metrics
from twin.ports import Surrogate
from twin.resuming import NOTHING_MISSED, Missed, missed, restored
from twin.snapshot import SnapshotError
from twin.store import Store

PATIENCE: Final = 3.0
"""Seconds for which a checkpoint waits for a disk, and a start for the historian."""
log = structlog.get_logger()


class Continuity:
    """Checkpoints, and a journal of what people and machines did since the last of them.

    Args:
        checkpoints: on disk.
        store: historian and ledger on their threads; checkpoints are written after what the ledger
            was told before.
        ledger: keeps the journal.
        clock: line time.
        metrics: is told how long checkpoints take.
    """

    def __init__(
        self,
        checkpoints: Checkpoints,
        store: Store,
        ledger: Ledger,
        clock: Clock,
        metrics: Metrics,
    ) -> None:
        self._checkpoints = checkpoints
        self._store = store
        self._ledger = ledger
        self._clock = clock
        self._metrics = metrics
        self._interventions = 0

    def entry(self, intervention: Intervention, core: Core) -> tuple[int, int, dict[str, object]]:
        """Number, time and document under which the ledger keeps an intervention."""
        self._interventions += 1
        document = entry_of(intervention, [tag.name for tag in core.tags])
        return self._interventions, intervention.time, document

    async def keep(
        self, core: Core, challengers: Challengers | None, models: Mapping[str, str]
    ) -> None:
        """Write a checkpoint of this moment.

        Args:
            core: the line's core.
            challengers: what predicts in its shadow.
            models: version of the model of every step.
        """
        began = time.perf_counter()
        memory = Memory(
            self._clock.now(),
            self._interventions,
            dict(models),
            core.snapshot(),
            None if challengers is None else challengers.snapshot(),
        )
        self._metrics.checkpoint_pause.observe(time.perf_counter() - began)
        # what it knows must not be lost after it
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE):
                await self._store.kept()
        try:
            size = await self._store.on_ledger(lambda: self._write(memory))
        except Exception as error:  # disk and database may fail in any way; the next may succeed
            log.error("checkpoint", problem=str(error))
            self._metrics.checkpoint_failures.inc()
        else:
            self._metrics.checkpointed(size)

    def _write(self, memory: Memory) -> int:
        size = self._checkpoints.write(memory)
        self._ledger.forget_interventions(self._checkpoints.settled)
        return size

    async def recall(
        self, line: LineConfiguration, surrogates: Mapping[str, Surrogate]
    ) -> tuple[Memory, Core] | None:
        """The last checkpoint, and a core that goes on from it; None at the first start.

        Raises:
            SnapshotError: there is one, and it cannot be used.
        """
        self._interventions = await self._store.on_ledger(self._ledger.last_intervention)
        memory = await self._store.on_ledger(self._checkpoints.newest)
        if memory is None:
            return None
        self._interventions = max(self._interventions, memory.interventions)
        try:
            return memory, restored(memory, line, surrogates)
        except ValueError as error:
            raise SnapshotError(str(error)) from error

    async def missed(self, memory: Memory, core: Core) -> Missed:
        """What came after a checkpoint, as far as the historian can tell now."""
        # the historian first gets what the last run left on disk
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE):
                while self._store.waiting and not self._store.error:  # noqa: ASYNC110  # the store tells nobody
                    await asyncio.sleep(0.02)
        now = self._clock.now()
        try:
            journal = await self._store.on_ledger(
                lambda: self._ledger.interventions(memory.interventions)
            )
            historian = self._store.historian
            return await self._store.call(lambda: missed(historian, journal, core, memory, now))
        except Exception as error:  # a store's driver may raise anything; it stays a gap
            log.error("not read back", problem=str(error), since=memory.taken)
            return NOTHING_MISSED

    async def set_aside(self, why: str) -> str:
        """Keep a checkpoint that is of no use where people find it; gives what to tell them."""
        kept = await self._store.on_ledger(self._checkpoints.set_aside)
        return f"begun without what was known before: {why} (it is kept as {kept})"
