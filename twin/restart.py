"""Restart: a service goes on from where the run before it ended, and ends what that left open."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Coroutine, Sequence
from typing import Final, Protocol

import numpy as np
import structlog

from twin.alarms import Report
from twin.challenger import Challengers
from twin.clock import Clock
from twin.continuity import Continuity
from twin.core import Core, CoreEvent
from twin.entries import Entries
from twin.ingest import NANOSECONDS
from twin.intervention import Arrivals, Intervention, ModelUsed, ModeSet, Wrote
from twin.ledger import TWIN, Ledger
from twin.ports import Event, Write, WriteOutcome
from twin.recommendation import Change, Recommendation
from twin.resuming import End, nothing_known, stands
from twin.snapshot import SnapshotError
from twin.store import Store
from twin.writing import SetWriter, half_written, interruption

SETTLE: Final = 30.0
"""Seconds in which machines must say how far an interrupted write got."""
log = structlog.get_logger()


class Restarted(Protocol):
    """The service, as far as its restart needs it."""

    core: Core
    """Is replaced by the one that is remembered."""

    def carry_out(self, events: Sequence[CoreEvent]) -> None:
        """Store, tell and enter what the core said."""
        ...

    def intervene(self, intervention: Intervention) -> None:
        """Tell the core what a machine did, and carry out what follows."""
        ...

    def report(self, report: Report) -> None:
        """Say that something is wrong."""
        ...

    def write_under_way(self, write: Coroutine[None, None, None], name: str) -> None:
        """Let something run that machines are in the middle of."""
        ...


class Restart:
    """One start of a service.

    Args:
        service: that starts.
        continuity: what was kept for it; None where nothing is.
        challengers: models in the shadow of those in use.
        store: takes what is repeated.
        ledger: has the open alarms and the interrupted writes.
        entries: of the ledger.
        writer: writes sets of setpoints.
        clock: line time.
    """

    def __init__(
        self,
        service: Restarted,
        continuity: Continuity | None,
        challengers: Challengers | None,
        store: Store,
        ledger: Ledger,
        entries: Entries,
        writer: SetWriter,
        clock: Clock,
    ) -> None:
        self._service = service
        self._continuity = continuity
        self._challengers = challengers
        self._store = store
        self._ledger = ledger
        self._entries = entries
        self._writer = writer
        self._clock = clock
        self.repeating = False
        """What is carried out now happened before the end: nothing is written for it."""
        self._settling: set[tuple[str, int]] = set()
        """Recommendations, by id and time, that the end of the last run interrupted."""

    async def run(self) -> str | None:
        """Go on from there; gives why what was known before is lost, where it is."""
        resumed, forgotten = False, None
        if self._continuity is not None:
            resumed, forgotten = await self._resume(self._continuity)
        if not resumed:
            await self._recall_alarms()
        await self._recall_interrupted()
        return forgotten

    async def _resume(self, continuity: Continuity) -> tuple[bool, str | None]:
        """Go on from the last checkpoint, through what was stored since.

        Whether there was one, and why it is of no use.
        """
        service = self._service
        line, surrogates = service.core.line, service.core.surrogates
        self.repeating = True
        try:
            recalled = await continuity.recall(line, surrogates)
            if recalled is None:
                return False, None
            memory, service.core = recalled
            if self._challengers is not None and memory.challengers is not None:
                self._challengers.restore(memory.challengers)
            missed = await continuity.missed(memory, service.core)
            for piece in missed.pieces():
                self._repeat(piece)
                await asyncio.sleep(0)
        except Exception as error:  # what is remembered may break anything; the line goes on
            if not isinstance(error, SnapshotError):
                log.exception("checkpoint")
            text = await continuity.set_aside(str(error) or repr(error))
            log.error("checkpoint", problem=text)
            service.core = Core(service.core.line, service.core.surrogates)
            return False, text
        else:
            self._mark_absence()
            return True, None
        finally:
            self.repeating = False

    def _repeat(self, piece: Arrivals) -> None:
        """Feed what came before the end; what followed from it then is recorded once."""
        service, batch = self._service, piece.batch
        if len(batch) or batch.offline:
            now = piece.arrived if len(batch) else batch.offline[0].known
            service.carry_out(service.core.feed(batch, now))
            if self._challengers is not None:
                self._store.put(self._challengers.feed(batch, now))
        for intervention in piece.interventions:
            if isinstance(intervention, ModelUsed):
                continue  # the models of today are in use already
            try:
                service.carry_out(service.core.intervene(intervention))
            except (KeyError, ValueError) as error:
                # the cut may have closed it, or moved the guard, a moment earlier or later
                log.warning("not repeated", intervention=repr(error))

    def _mark_absence(self) -> None:
        """Say from when on nothing is known, and see what became of what was open then."""
        service, now = self._service, self._clock.now()
        core = service.core
        heard = int(core.latest_time.max(initial=0))
        if not heard:
            return  # the line has never spoken
        gone = max(0, now - heard)
        unknown = nothing_known(core)
        service.carry_out(core.feed(unknown, int(unknown.time[0])))
        # nobody sent these
        core.received -= len(unknown)
        core.rejected -= Counter({"bad quality": len(unknown)})
        text = f"the twin was not running for {gone / NANOSECONDS:.1f} s"
        self._store.put(core.kept, [Event(heard, "gap", "twin", text)])
        log.info("resumed", heard=heard, gone=f"{gone / NANOSECONDS:.1f} s")
        service.carry_out(core.expire(now))
        for standing in core.open.values():
            if standing.state == "accepted":
                self._settling.add((standing.id, standing.time))
                settling = self._settle(standing, heard, gone)
                service.write_under_way(settling, f"settle {standing.id}")

    async def _settle(self, recommendation: Recommendation, heard: int, gone: int) -> None:
        """Find out how far the writes got that the end of the service interrupted."""
        service, changes = self._service, recommendation.changes

        def known(change: Change) -> bool:
            core = service.core  # another one once somebody reloads
            return bool(core.latest_time[change.tag] > heard + 1) and bool(
                np.isfinite(core.latest[change.tag])
            )

        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(SETTLE):
                while not all(map(known, changes)):  # noqa: ASYNC110  # the core waits for nobody
                    await asyncio.sleep(0.1)
        ends: list[End | None] = [
            stands(change, float(service.core.latest[change.tag])) if known(change) else None
            for change in changes
        ]
        said = await self._writer.settle(
            recommendation, ends, gone <= service.core.line.stale_after * NANOSECONDS
        )
        service.intervene(Wrote(self._clock.now(), recommendation.id, said))
        self._settling.discard((recommendation.id, recommendation.time))
        # where a machine may still have half of it, people are told
        await self._recall_interrupted()

    async def _recall_alarms(self) -> None:
        """Those that were open when the service ended."""
        try:
            known = await self._store.on_ledger(self._ledger.open_alarms)
        except Exception as error:  # a database may fail in any way; the line goes on
            log.error("ledger", problem=str(error))
            return
        alarms = self._service.core.alarms
        self._service.carry_out(alarms.recall(known, self._clock.now()))

    async def _recall_interrupted(self) -> None:
        """Sets that were being written when the service ended: a machine may have half of one."""
        try:
            found = await self._store.on_ledger(self._ledger.interrupted_writes)
        except Exception as error:  # a database may fail in any way; the line goes on
            log.error("ledger", problem=str(error))
            return
        service = self._service
        for each in found:
            if (each["recommendation"], each["made"]) in self._writer.begun | self._settling:
                continue
            said = interruption(each)
            now = self._clock.now()
            log.error("a set may be half written", recommendation=each["recommendation"], said=said)
            self._entries.audit(now, TWIN, "found interrupted", dict(each))
            for standing in list(service.core.open.values()):
                if standing.id == each["recommendation"] and standing.state == "accepted":
                    first = standing.changes[0]
                    unknown = Write(first.tag, first.after)
                    failed = WriteOutcome(unknown, "failed", float("nan"), said)
                    service.intervene(Wrote(now, standing.id, (failed,)))
            for step in each["steps"]:
                if step in service.core.line.steps:
                    service.intervene(ModeSet(now, step, "shadow", f"the twin: {said}"))
                    service.report(half_written(step, said, now))
