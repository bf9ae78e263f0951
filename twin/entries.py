"""Entries on their way to the ledger: one after the other, bounded; advice waits for none."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, Final

import structlog

from twin.alarms import Alarm
from twin.clock import Clock
from twin.core import CoreEvent
from twin.genealogy import BatchReleased, Milestone
from twin.ledger import Ledger
from twin.promise import Judgement
from twin.store import Store
from twin.trust import ModeChange

MOST: Final = 10_000
"""Entries that may wait; what comes on top is lost and logged."""
PATIENCE: Final = 5.0
"""Seconds that the ledger may take for an entry that somebody waits for."""
log = structlog.get_logger()


class Entries:
    """Hands entries to the ledger's thread; what the ledger refuses is logged.

    Args:
        ledger: takes them.
        store: has the ledger's thread.
        clock: line time.
    """

    def __init__(self, ledger: Ledger, store: Store, clock: Clock) -> None:
        self._ledger = ledger
        self._store = store
        self._clock = clock
        self._tasks: asyncio.TaskGroup | None = None
        self.waiting = 0
        """Entries that the ledger has not taken yet."""

    def open(self, tasks: asyncio.TaskGroup) -> None:
        """Take entries from now on; the group ends after the last of them."""
        self._tasks = tasks

    def close(self) -> None:
        """Take no more: what comes is not kept."""
        self._tasks = None

    def add(self, entry: Callable[..., None], *arguments: object) -> None:
        """Have a method of the ledger called with these arguments, soon."""
        if self._tasks is None:
            return
        if self.waiting >= MOST:
            log.error("ledger", problem="it does not keep up; an entry is lost")
            return
        self.waiting += 1
        self._tasks.create_task(self._enter(entry, *arguments), name="ledger")

    async def _enter(self, entry: Callable[..., None], *arguments: object) -> None:
        try:
            await self._store.on_ledger(lambda: entry(*arguments))
        except Exception as error:  # a database may fail in any way; advice goes on
            log.error("ledger", problem=str(error))
        finally:
            self.waiting -= 1

    def audit(self, time: int, who: str, what: str, details: Mapping[str, object]) -> None:
        """Add to the audit trail, soon; `time` is line time, ns."""
        self.add(self._ledger.audit, time, who, what, details)

    async def audited(self, who: str, what: str, details: Mapping[str, Any]) -> None:
        """Add to the audit trail, now; durable when it returns.

        Raises:
            TimeoutError: the ledger does not answer.
            sqlalchemy.exc.SQLAlchemyError: the database refuses.
        """
        now = self._clock.now()
        async with asyncio.timeout(PATIENCE):
            await self._store.on_ledger(lambda: self._ledger.audit(now, who, what, details))

    def happened(self, event: CoreEvent) -> None:
        """Keep what the core said, where the ledger keeps such; not recommendations."""
        ledger = self._ledger
        match event:
            case Judgement():
                self.add(ledger.judge, event)
            case ModeChange():
                self.add(ledger.change_mode, event.time, event.step, event.mode, event.reason)
            case Alarm():
                self.add(ledger.put_alarm, event)
            case Milestone():
                self.add(_remember, ledger, event)
            case BatchReleased():
                self.add(ledger.release_batch, event.batches, event.number, event.time, {})
            case _:
                pass


def _remember(ledger: Ledger, event: Milestone) -> None:
    match event.kind:
        case "roll started":
            ledger.begin_roll(event.web, event.number, event.position, event.time)
        case "roll wound":
            ledger.wind_roll(event.web, event.number, event.position, event.time)
        case "splice":
            ledger.splice(event.time, event.web, event.position)
        case _:
            pass
