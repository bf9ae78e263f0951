"""The service: the async shell that feeds the core and carries out what it returns."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import time
from collections import Counter
from collections.abc import (
    Awaitable,
    Callable,
    Coroutine,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import orjson
import structlog

from twin.alarms import Acknowledged, Alarm, Report, Shelved
from twin.challenger import Challengers
from twin.checkpoint import Checkpoints
from twin.chronicle import Chronicle
from twin.clock import Clock
from twin.configuration.models import LineConfiguration, Mode
from twin.continuity import Continuity
from twin.core import Core, CoreEvent
from twin.genealogy import BatchReleased, Milestone
from twin.heartbeat import Heartbeat
from twin.ingest import NANOSECONDS
from twin.intervention import (
    Arrivals,
    Decided,
    FellSilent,
    Intervention,
    ModelUsed,
    ModeSet,
    Wrote,
)
from twin.jobs import Job, Jobs, JobState
from twin.ledger import MODE_SET, TWIN, Ledger
from twin.metrics import Metrics
from twin.ports import Event, Sink, Source, Surrogate, Write, WriteOutcome
from twin.promise import Judgement
from twin.recommendation import Change, Recommendation
from twin.registry import Registry
from twin.reloading import ReloadError, changes
from twin.resuming import End, nothing_known, stands
from twin.samples import SampleBatch
from twin.snapshot import SnapshotError
from twin.status import LineStatus
from twin.store import Safe, Store
from twin.store_watch import StoreWatch
from twin.trust import ModeChange
from twin.units import to_si
from twin.writing import SetWriter, half_written, interruption

log = structlog.get_logger()
Publish = Callable[[str, bytes], Awaitable[bool]]
MOST_ENTRIES = 10_000
"""Entries that may wait for the ledger; what comes on top is lost and logged."""
LINGER = 0.1
"""Seconds from the wish to stop to the end of the connectors: what came before is taken."""
FAREWELL = 0.4
"""Seconds more that writes under way and their publication may then take."""
SILENCE = 1.0
"""Seconds without a sample after which the clock, not the line, ends what waits for a decision."""
SETTLE = 30.0
"""Seconds in which machines must say how far an interrupted write got."""
RETRY = 1.0
"""Seconds between attempts to publish."""
PATIENCE = 5.0
"""Seconds that the ledger may take to note what is going to be written."""
AWAY = 5.0
"""Seconds without a connection that are an alarm."""


class Connector(Source, Protocol):
    """A source with a name."""

    name: str


class Listener(Protocol):
    """Hears what the core says and what people and machines did."""

    def told(self, samples: SampleBatch, events: Sequence[CoreEvent]) -> None:
        """These events, and what of them goes to the historian."""
        ...

    def intervened(self, intervention: Intervention) -> None: ...


class Recorder(Protocol):
    """Takes what arrives, at once; says itself, once, what it could not keep."""

    def append(self, arrivals: Arrivals) -> None: ...

    def tick(self, now: int) -> None:
        """What time it is on the line, ns."""
        ...

    def gap(self, since: int, until: int, what: str) -> None:
        """Samples are missing between these line times, ns."""
        ...

    def use_model(self, step: str, its_version: str, file: Path) -> None:
        """A model that predicts from now on."""
        ...


class Service:
    """Runs until `stop`: connectors, store and core, each supervised, none waiting for another.

    Args:
        core: the line's core.
        surrogates: the model of every step.
        sources: the connectors.
        sinks: which of them writes a tag, by tag index.
        publish: publishes a payload under a topic, retained; None where nobody listens.
        store: historian on its thread.
        ledger: recommendations, decisions and material.
        clock: line time.
        auto_accept: accept every recommendation in the name of this person.
        registry: is asked which models people want.
        challengers: models that predict in the shadow of those in use.
        checkpoints: where it goes on from, and keeps what the next start goes on from.
        upkeep: gives its jobs.
    """

    def __init__(
        self,
        core: Core,
        surrogates: Mapping[str, Surrogate],
        sources: Sequence[Connector],
        sinks: Mapping[int, Sink],
        publish: Publish | None,
        store: Store,
        ledger: Ledger,
        clock: Clock,
        auto_accept: str | None = None,
        registry: Registry | None = None,
        challengers: Challengers | None = None,
        checkpoints: Checkpoints | None = None,
        upkeep: Callable[[Service], Iterable[Job]] = lambda _: (),
    ) -> None:
        self.core = core
        self.sources = sources
        self.store = store
        self.status = LineStatus(core.line)
        if challengers is not None:
            self.status.challenger = challengers.status
        self.clock = clock
        self._outputs = {step: surrogate.outputs for step, surrogate in surrogates.items()}
        self._writer = SetWriter(
            core.tags,
            sinks,
            lambda change: self.core.open_interlocks(change, self.clock.now()),
            self._note_now,
        )
        self._incidents: Counter[str] = Counter()
        """Number of the last incident of a connector that is in the audit trail."""
        self._publish = publish
        self.ledger = ledger
        self._auto_accept = auto_accept
        self._registry = registry
        self._challengers = challengers
        self._resuming = False
        self._running = False
        self._forgotten: str | None = None
        self._settling: set[tuple[str, int]] = set()
        """Recommendations, by id and time, that the end of the last run interrupted."""
        self._tasks: asyncio.TaskGroup | None = None
        self._entries = 0
        self._versions = {step: surrogate.version for step, surrogate in surrogates.items()}
        self._stop = asyncio.Event()
        self._chronicle = Chronicle(core.line, core.tags, surrogates)
        self._recorder: Recorder | None = None
        self._attendants: dict[str, Callable[[], Coroutine[None, None, None]]] = {}
        self.listeners: list[Listener] = []
        """Hear at once what the core says; they neither wait nor raise."""
        self._gaps: Counter[str] = Counter()
        """Number of the last gap of a connector that was told."""
        self._reported: dict[str, bool] = {}
        self._store_watch = StoreWatch()
        self._units = {
            f"{step}.{output}": (*to_si(config.unit), config.unit)
            for step, configuration in core.line.steps.items()
            for output, config in configuration.outputs.items()
        }
        self._writes: set[asyncio.Task[None]] = set()
        self._outbox: asyncio.Queue[tuple[str, bytes]] = asyncio.Queue(1000)
        self.jobs = Jobs(upkeep(self))
        self.metrics = Metrics(self)
        self._continuity = (
            None
            if checkpoints is None
            else Continuity(checkpoints, store, ledger, clock, self.metrics)
        )
        self.heartbeat = Heartbeat(
            self.metrics.loop_lag.observe, lambda: self.store.call(lambda: None)
        )

    @property
    def running(self) -> bool:
        """Whether it is between its start and its end."""
        return self._running

    @property
    def entries_waiting(self) -> int:
        """Entries that wait for the ledger."""
        return self._entries

    @property
    def outbox_waiting(self) -> int:
        """Publications that wait for the broker."""
        return self._outbox.qsize()

    @property
    def rejected(self) -> Counter[str]:
        """What was lost or could not be used, each once, by reason."""
        counted = self.core.refused()
        for source in self.sources:
            state = source.state
            counted.update(state.refused)
            counted["bad quality"] -= state.marked
            counted["queue full"] += state.dropped
        return +counted

    def attend(self, name: str, work: Callable[[], Coroutine[None, None, None]]) -> None:
        """Have something run for as long as the service does; it ends when cancelled."""
        self._attendants[name] = work

    @property
    def challengers(self) -> Mapping[str, Surrogate]:
        """Models that predict in the shadow of those in use, by step."""
        return {} if self._challengers is None else self._challengers.models

    def audit(self, who: str, what: str, details: Mapping[str, object]) -> None:
        """Have the ledger record what somebody did, now."""
        self._note(self.ledger.audit, self.clock.now(), who, what, details)

    def stop(self) -> None:
        """Ask the service to end."""
        self._stop.set()

    async def run(self) -> None:
        """Run until stopped.

        Raises:
            ExceptionGroup: a connector found that its peer contradicts the configuration, or a task
                failed in a way that it must not.
        """
        with _undisturbed():
            await self._run()

    async def _run(self) -> None:
        store = asyncio.create_task(self.store.run(), name="store")
        try:
            async with asyncio.TaskGroup() as tasks:
                self._tasks = tasks
                for step, version in self._versions.items():
                    model = self.core.line.steps[step].model
                    self._note(self.ledger.use_model, self.clock.now(), step, model, version)
                if self._continuity is None or not await self._resume(self._continuity):
                    await self._recall_alarms()
                await self._recall_interrupted()
                self._reported = self.core.alarms.causes()
                self.report(_memory_lost(self._forgotten, self.clock.now()))
                workers = [
                    tasks.create_task(self._watch(), name="silence"),
                    tasks.create_task(self.jobs.run(), name="jobs"),
                    tasks.create_task(self.heartbeat.run(), name="heartbeat"),
                    tasks.create_task(_fail_with(store), name="store's end"),
                ]
                workers += [
                    tasks.create_task(worker, name=name)
                    for source in self.sources
                    for worker, name in (
                        (source.run(), f"{source.name} connection"),
                        (self._follow(source), f"{source.name} samples"),
                    )
                ]
                workers += [
                    tasks.create_task(work(), name=name) for name, work in self._attendants.items()
                ]
                if self._publish is not None:
                    workers.append(tasks.create_task(self._send(self._publish), name="publisher"))
                self._running = True
                await self._stop.wait()
                # what has arrived still waits for others to make a batch: it counts as received
                await asyncio.sleep(LINGER)
                # no machine is left with half a set, and what became of it is told
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(FAREWELL):
                        if self._writes:
                            await asyncio.wait(self._writes)
                        await self._outbox.join()
                self._note_incidents()
                for worker in workers:
                    worker.cancel()
            await self.checkpoint()
        finally:
            self._tasks, self._running = None, False
            store.cancel()
            await asyncio.wait([store])
            await self.store.on_ledger(self.ledger.close)

    async def checkpoint(self) -> None:
        """Keep what must be remembered, so that the next start goes on from here."""
        if self._continuity is not None:
            await self._continuity.keep(self.core, self._challengers, self._versions)

    async def _resume(self, continuity: Continuity) -> bool:
        """Go on from the last checkpoint, through what was stored since; whether there was one."""
        self._resuming = True
        try:
            recalled = await continuity.recall(self.core.line, self.core.surrogates)
            if recalled is None:
                return False
            memory, self.core = recalled
            if self._challengers is not None and memory.challengers is not None:
                self._challengers.restore(memory.challengers)
            missed = await continuity.missed(memory, self.core)
            for piece in missed.pieces():
                self._repeat(piece)
                await asyncio.sleep(0)
        except Exception as error:  # what is remembered may break anything; the line goes on
            if not isinstance(error, SnapshotError):
                log.exception("checkpoint")
            text = await continuity.set_aside(str(error) or repr(error))
            log.error("checkpoint", problem=text)
            self.core = Core(self.core.line, self.core.surrogates)
            self._forgotten = text
        else:
            self._mark_absence()
            return True
        finally:
            self._resuming = False
        return False

    def _mark_absence(self) -> None:
        """Say from when on nothing is known, and see what became of what was open then."""
        core, now = self.core, self.clock.now()
        heard = int(core.latest_time.max(initial=0))
        gone = max(0, now - heard)
        unknown = nothing_known(core)
        self._carry_out(core.feed(unknown, int(unknown.time[0])))
        # nobody sent these
        core.received -= len(unknown)
        core.rejected -= Counter({"bad quality": len(unknown)})
        text = f"the twin was not running for {gone / NANOSECONDS:.1f} s"
        self.store.put(core.kept, [Event(heard, "gap", "twin", text)])
        log.info("resumed", heard=heard, gone=f"{gone / NANOSECONDS:.1f} s")
        self._carry_out(core.expire(now))
        for standing in core.open.values():
            self.status.recommendations[standing.web] = standing
            if standing.state == "accepted" and self._tasks is not None:
                self._settling.add((standing.id, standing.time))
                settling = self._settle(standing, heard, gone)
                write = self._tasks.create_task(settling, name=f"settle {standing.id}")
                self._writes.add(write)
                write.add_done_callback(self._writes.discard)

    def _repeat(self, piece: Arrivals) -> None:
        """Feed what came before the end; what followed from it then is recorded once."""
        batch = piece.batch
        if len(batch) or batch.offline:
            now = piece.arrived if len(batch) else batch.offline[0].known
            self._carry_out(self.core.feed(batch, now))
            if self._challengers is not None:
                self.store.put(self._challengers.feed(batch, now))
        for intervention in piece.interventions:
            if isinstance(intervention, ModelUsed):
                continue  # the models of today are in use already
            try:
                self._carry_out(self.core.intervene(intervention))
            except (KeyError, ValueError) as error:
                # the cut may have closed it, or moved the guard, a moment earlier or later
                log.warning("not repeated", intervention=repr(error))

    async def _settle(self, recommendation: Recommendation, heard: int, gone: int) -> None:
        """Find out how far the writes got that the end of the service interrupted."""
        core, changes = self.core, recommendation.changes

        def known(change: Change) -> bool:
            return bool(core.latest_time[change.tag] > heard + 1) and bool(
                np.isfinite(core.latest[change.tag])
            )

        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(SETTLE):
                while not all(map(known, changes)):  # noqa: ASYNC110  # the core waits for nobody
                    await asyncio.sleep(0.1)
        ends: list[End | None] = [
            stands(change, float(core.latest[change.tag])) if known(change) else None
            for change in changes
        ]
        said = await self._writer.settle(
            recommendation, ends, gone <= core.line.stale_after * NANOSECONDS
        )
        self._intervene(Wrote(self.clock.now(), recommendation.id, said))
        self._settling.discard((recommendation.id, recommendation.time))
        # where a machine may still have half of it, people are told
        await self._recall_interrupted()

    async def _recall_alarms(self) -> None:
        """Those that were open when the service ended."""
        try:
            known = await self.store.on_ledger(self.ledger.open_alarms)
        except Exception as error:  # a database may fail in any way; the line goes on
            log.error("ledger", problem=str(error))
            return
        self._carry_out(self.core.alarms.recall(known, self.clock.now()))

    async def _recall_interrupted(self) -> None:
        """Sets that were being written when the service ended: a machine may have half of one."""
        try:
            found = await self.store.on_ledger(self.ledger.interrupted_writes)
        except Exception as error:  # a database may fail in any way; the line goes on
            log.error("ledger", problem=str(error))
            return
        for each in found:
            if (each["recommendation"], each["made"]) in self._writer.begun | self._settling:
                continue
            said = interruption(each)
            now = self.clock.now()
            log.error("a set may be half written", recommendation=each["recommendation"], said=said)
            self._note(self.ledger.audit, now, TWIN, "found interrupted", dict(each))
            for standing in list(self.core.open.values()):
                if standing.id == each["recommendation"] and standing.state == "accepted":
                    first = standing.changes[0]
                    unknown = Write(first.tag, first.after)
                    failed = WriteOutcome(unknown, "failed", float("nan"), said)
                    self._intervene(Wrote(now, standing.id, (failed,)))
            for step in each["steps"]:
                if step in self.core.line.steps:
                    self._intervene(ModeSet(now, step, "shadow", f"the twin: {said}"))
                    self.report(half_written(step, said, now))

    async def _watch(self) -> None:
        while True:
            heard = self.core.received
            await asyncio.sleep(SILENCE)
            now = self.clock.now()
            if self.core.received == heard:
                self._intervene(FellSilent(now))
            self._mark_gaps(now)
            self._note_incidents()
            for report in self._store_watch.look(self.store.state, now):
                self.report(report)
            for name, state in self.jobs.states.items():
                self.report(_not_done(name, state, now))
            if self._recorder is not None:
                self._recorder.tick(now)

    def _note_incidents(self) -> None:
        """Add to the audit trail that a connector and its peer refused each other."""
        for source in self.sources:
            for incident in source.state.incidents:
                if incident.number > self._incidents[source.name]:
                    self._incidents[source.name] = incident.number
                    details = {"connector": source.name, "said": incident.said}
                    self._note(self.ledger.audit, incident.time, TWIN, incident.what, details)

    def _mark_gaps(self, now: int) -> None:
        """Tell historian and recorder for how long a connector was away."""
        for source in self.sources:
            state = source.state
            self.report(_away(state.name, state.connected, now))
            for gap in state.gaps:
                if gap.number <= self._gaps[state.name]:
                    continue
                self._gaps[state.name] = gap.number
                seconds = (gap.until - gap.since) / NANOSECONDS
                text = f"not connected for {seconds:.1f} s"
                if gap.recovered:
                    text += f"; {gap.recovered} values were read from its history"
                self.store.put(
                    SampleBatch.of([], [], []), [Event(gap.since, "gap", state.name, text)]
                )
                if self._recorder is not None:
                    self._recorder.gap(gap.since, gap.until, f"{state.name} was {text}")

    def reload(self, line: LineConfiguration, by: str) -> list[str]:
        """Follow the line by a changed configuration from now on; gives where it differs.

        Raises:
            ReloadError: something of it cannot change while the twin runs; nothing has changed.
        """
        changed = changes(self.core.line, line)
        if not changed:
            return []
        if self._recorder is not None:
            raise ReloadError(["a recording holds one configuration: end it first"])
        before, core = self.core, Core(line, self.core.surrogates)
        core.restore(before.snapshot())
        self.core = core
        self._chronicle = Chronicle(line, core.tags, core.surrogates)
        self.status.reload(line)
        if self._challengers is not None:
            self._challengers.reload(line)
        for step, config in line.steps.items():
            if config.mode != before.line.steps[step].mode:
                self.set_mode(step, config.mode, by)
        self._note(self.ledger.audit, self.clock.now(), by, "reload", {"changed": changed})
        log.info("reload", by=by, changed=changed)
        return changed

    async def follow_models(self) -> None:
        """Take the models that people promoted since, or rolled back to.

        Raises:
            ValueError: one takes or gives something else than the model before.
        """
        if self._registry is None:
            return
        for each in await self.store.on_ledger(self._registry.changes):
            self.use_model(each.step, each.surrogate, each.file, each.by)

    def use_model(self, step: str, surrogate: Surrogate, file: Path, by: str) -> None:
        """Predict a step with another model from now on.

        Raises:
            ValueError: it takes or gives something else than the model before.
        """
        self.core.use_model(step, surrogate)
        if self._challengers is not None:
            self._challengers.use_model(step, surrogate)
        now, version = self.clock.now(), surrogate.version
        if self._recorder is not None:
            self._recorder.use_model(step, version, file)
            self._record(ModelUsed(now, step, version, by))
        self._versions[step] = version
        self._note(self.ledger.use_model, now, step, str(file), version)
        self._note(self.ledger.audit, now, by, "use model", {"step": step, "version": version})
        log.info("model", step=step, version=version, by=by)

    async def _follow(self, source: Source) -> None:
        async for batch in source.batches():
            self.feed(batch, source.safe)

    def feed(self, batch: SampleBatch, safe: Safe | None = None) -> None:
        """Take a batch as if a connector had delivered it; `safe` as in `Store.put`."""
        began, now = time.perf_counter(), self.clock.now()
        if len(batch):
            self.metrics.arrival.observe((now - int(batch.time.max())) / NANOSECONDS)
        arrivals = Arrivals.at(now, batch)
        batch = arrivals.batch
        if self._recorder is not None:
            self._recorder.append(arrivals)
        try:
            events = self.core.feed(batch, now)
        finally:
            # what the line said is stored even where the core cannot follow
            self.store.put(self.core.kept, safe=safe)
        self._carry_out(events)
        if self._challengers is not None:
            self.store.put(self._challengers.feed(batch, now))
        self.metrics.feed.observe(time.perf_counter() - began)

    def record(self, recorder: Recorder | None) -> Recorder | None:
        """Record from now on, or no longer; gives the recorder that was at work, still open.

        What a server sent once, when it was asked, would be missing from a recording that begins
        later: the last value of every tag and the modes come first.
        """
        before, self._recorder = self._recorder, recorder
        core, now = self.core, self.clock.now()
        if recorder is not None and core.received:
            known = np.flatnonzero(core.latest_time)
            known = known[np.argsort(core.latest_time[known], kind="stable")]
            last = SampleBatch.of(known, core.latest_time[known], core.latest[known])
            modes = tuple(
                ModeSet(now, step, core.trust.wanted(step), "before the recording")
                for step, config in core.line.steps.items()
                if core.trust.wanted(step) != config.mode
            )
            recorder.append(Arrivals.at(now, last, modes))
        return before

    @property
    def recording(self) -> Recorder | None:
        """What records now."""
        return self._recorder

    def accept(self, identity: str, by: str, setpoints: Sequence[tuple[int, float]] = ()) -> None:
        """A person accepts a recommendation: it is checked once more, written and read back.

        Args:
            identity: of the recommendation.
            by: who accepts.
            setpoints: tags and values, SI, that the person changed before.

        Raises:
            KeyError: no such recommendation waits for a decision.
            EditRefusedError: the guard refuses the changed setpoints.
        """
        self._decide(identity, True, by, "", tuple(setpoints))

    def reject(self, identity: str, by: str, reason: str) -> None:
        """A person rejects a recommendation.

        Raises:
            KeyError: no such recommendation waits for a decision.
        """
        self._decide(identity, False, by, reason)

    def set_mode(self, step: str, mode: Mode, by: str) -> None:
        """A person sets what a step may do.

        Raises:
            KeyError: no such step.
        """
        now = self.clock.now()
        self._do(ModeSet(now, step, mode, by), by, MODE_SET, {"step": step, "mode": mode})
        if self._reported.get((whole := half_written(step, "", now, active=False)).key):
            self.report(whole)

    def report(self, report: Report) -> None:
        """Somebody beside the line says that something is wrong, or not; repeating is no news."""
        if self._reported.get(report.key, False) != report.active:
            self._reported[report.key] = report.active
            self._intervene(report)

    def acknowledge(self, alarm: str, by: str) -> None:
        """A person has seen an alarm.

        Raises:
            KeyError: no such alarm.
        """
        now = self.clock.now()
        self._do(Acknowledged(now, alarm, by), by, "acknowledge", {"alarm": alarm})

    def shelve(self, alarm: str, seconds: float, by: str) -> None:
        """A person does not want to be told of an alarm for a while; 0 s ends that.

        Raises:
            KeyError: no such alarm.
            ValueError: longer than an alarm may be shelved.
        """
        now = self.clock.now()
        until = now + int(seconds * NANOSECONDS)
        details = {"alarm": alarm, "seconds": seconds}
        self._do(Shelved(now, alarm, until, by), by, "shelve", details)

    def _decide(
        self,
        identity: str,
        accept: bool,
        by: str,
        note: str,
        setpoints: tuple[tuple[int, float], ...] = (),
    ) -> None:
        decided = Decided(self.clock.now(), identity, accept, by, note, setpoints)
        details: dict[str, object] = {"recommendation": identity, "note": note}
        if setpoints:
            changed = [(self.core.tags[tag], value) for tag, value in setpoints]
            details["edited"] = {tag.name: tag.from_si(value) for tag, value in changed}
        self._do(decided, by, "accept" if accept else "reject", details)

    def _do(
        self, intervention: Intervention, by: str, what: str, details: Mapping[str, Any]
    ) -> None:
        """Carry out what a person wants; audited, also where it is refused.

        Raises:
            KeyError, ValueError: it is refused.
        """
        try:
            events = self.core.intervene(intervention)
        except (KeyError, ValueError) as error:
            because = (
                "there is no such thing, or it is over"
                if isinstance(error, KeyError)
                else str(error)
            )
            details = {**details, "because": because}
            self._note(self.ledger.audit, intervention.time, by, f"refused: {what}", details)
            raise
        became = [event for event in events if isinstance(event, Recommendation)]
        if became:
            details = {**details, "became": became[-1].state, "because": became[-1].note}
        self._note(self.ledger.audit, intervention.time, by, what, details)
        self._record(intervention)
        self._carry_out(events)

    def _intervene(self, intervention: Intervention) -> None:
        events = self.core.intervene(intervention)
        # silence that ended nothing is no news
        if events or not isinstance(intervention, FellSilent):
            self._record(intervention)
        self._carry_out(events)

    def _record(self, intervention: Intervention) -> None:
        for listener in self.listeners:
            listener.intervened(intervention)
        if self._continuity is not None:
            self._note(self.ledger.intervene, *self._continuity.entry(intervention, self.core))
        if self._recorder is not None:
            self._recorder.append(Arrivals.at(intervention.time, interventions=(intervention,)))

    def _carry_out(self, events: Sequence[CoreEvent]) -> None:
        samples, happened = self._chronicle.of(events)
        self.store.put(samples, happened)
        for event in events:
            self.status.follow(event, self._outputs)
        for listener in self.listeners:
            listener.told(samples, events)
        for event in events:
            match event:
                case Recommendation():
                    self._announce(event)
                    self._note(self.ledger.recommend, self.document(event), self.clock.now())
                    self._act(event)
                case Judgement():
                    self._note(self.ledger.judge, event)
                case ModeChange():
                    self._note(
                        self.ledger.change_mode, event.time, event.step, event.mode, event.reason
                    )
                    log.info("mode", step=event.step, mode=event.mode, reason=event.reason)
                case Alarm():
                    self._note(self.ledger.put_alarm, event)
                    log.warning(
                        "alarm",
                        subject=event.subject,
                        kind=event.kind,
                        state=event.state,
                        evidence="; ".join(event.evidence),
                    )
                case Milestone():
                    self._note(_remember, self.ledger, event)
                case BatchReleased():
                    self._note(
                        self.ledger.release_batch, event.batches, event.number, event.time, {}
                    )
                case _:
                    pass

    def _act(self, event: Recommendation) -> None:
        if self._resuming:
            return
        if event.state == "proposed":
            by = "twin" if self.core.may_write(event) else self._auto_accept
            # later events of the same batch may already have closed it
            if by is not None and self.core.open.get(event.web) is event:
                self.accept(event.id, by)
        elif event.state == "accepted" and self._tasks is not None:
            write = self._tasks.create_task(self._write(event), name=f"write {event.id}")
            self._writes.add(write)
            write.add_done_callback(self._writes.discard)
        elif event.state in ("failed", "expired"):
            log.warning("recommendation", id=event.id, state=event.state, note=event.note)

    async def _write(self, recommendation: Recommendation) -> None:
        began = time.perf_counter()
        outcomes = await self._writer.write(recommendation)
        self.metrics.write.observe(time.perf_counter() - began)
        self._intervene(Wrote(self.clock.now(), recommendation.id, outcomes))

    async def _note_now(self, who: str, what: str, details: Mapping[str, Any]) -> None:
        """Add to the audit trail; durable when it returns.

        Raises:
            TimeoutError: the ledger does not answer.
            sqlalchemy.exc.SQLAlchemyError: the database refuses.
        """
        now = self.clock.now()
        async with asyncio.timeout(PATIENCE):
            await self.store.on_ledger(lambda: self.ledger.audit(now, who, what, details))

    def document(self, recommendation: Recommendation) -> dict[str, object]:
        """A recommendation as it is published, in customary units."""
        return recommendation.document(self.core.tags, self._units)

    def _announce(self, recommendation: Recommendation) -> None:
        payload = orjson.dumps(self.document(recommendation))
        if self._outbox.full():
            # retained topics: only the newest state per web matters
            self._outbox.get_nowait()
            self._outbox.task_done()
        self._outbox.put_nowait((f"recommendations/{recommendation.web}", payload))

    async def _send(self, publish: Publish) -> None:
        while True:
            topic, payload = await self._outbox.get()
            try:
                while True:
                    if await publish(topic, payload):
                        break
                    await asyncio.sleep(RETRY)
            except Exception as error:  # whatever a publisher raises, the line goes on
                log.error("not published", topic=topic, problem=str(error))
            self._outbox.task_done()

    def _note(self, entry: Callable[..., None], *arguments: object) -> None:
        if self._tasks is None:
            return
        if self._entries >= MOST_ENTRIES:
            log.error("ledger", problem="it does not keep up; an entry is lost")
            return
        self._entries += 1
        self._tasks.create_task(self._enter(entry, *arguments), name="ledger")

    async def _enter(self, entry: Callable[..., None], *arguments: object) -> None:
        try:
            await self.store.on_ledger(lambda: entry(*arguments))
        except Exception as error:  # a database may fail in any way; advice goes on
            log.error("ledger", problem=str(error))
        finally:
            self._entries -= 1


async def _fail_with(task: asyncio.Task[None]) -> None:
    """End as a task does that must not end: nothing would be stored any more."""
    await asyncio.wait([task])
    await task


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    """What is loaded by now stays: to look through it for garbage holds advice up by 100 ms."""
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def _away(name: str, connected: bool, now: int) -> Report:
    lasting = int(AWAY * NANOSECONDS)
    evidence = (f"{name} is not connected; its values are missing",)
    return Report(
        now, "connector", "away", name, not connected, "high", "", evidence, lasting=lasting
    )


def _memory_lost(why: str | None, now: int) -> Report:
    evidence = () if why is None else (why,)
    return Report(now, "job", "memory lost", "twin", why is not None, "high", "", evidence)


def _not_done(name: str, state: JobState, now: int) -> Report:
    evidence = () if state.error is None else (state.error,)
    return Report(now, "job", "failed", name, state.error is not None, "medium", "", evidence)


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
