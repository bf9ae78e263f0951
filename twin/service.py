"""The service: the async shell that feeds the core and carries out what it returns."""

from __future__ import annotations

import asyncio
import contextlib
import gc
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import numpy as np
import orjson
import structlog

from twin.challenger import Challengers
from twin.chronicle import Chronicle
from twin.clock import Clock
from twin.configuration.models import Mode
from twin.core import Core, CoreEvent
from twin.genealogy import BatchReleased, Milestone
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
from twin.ledger import Ledger
from twin.ports import Sink, Source, Surrogate, Write, WriteOutcome
from twin.recommendation import Change, Recommendation
from twin.registry import Registry
from twin.samples import SampleBatch
from twin.status import LineStatus
from twin.store import Store
from twin.trust import ModeChange
from twin.units import to_si

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
MODELS = 2.0
"""Seconds between looks whether another model was promoted."""
RETRY = 1.0
"""Seconds between attempts to publish."""
CLEAN = 3600.0
"""Seconds between deletions of what is older than the store keeps."""


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
    ) -> None:
        self.core = core
        self.sources = sources
        self.store = store
        self.status = LineStatus(core.line)
        if challengers is not None:
            self.status.challenger = challengers.status
        self.clock = clock
        self._outputs = {step: surrogate.outputs for step, surrogate in surrogates.items()}
        self._sinks = sinks
        self._publish = publish
        self._ledger = ledger
        self._auto_accept = auto_accept
        self._registry = registry
        self._challengers = challengers
        self._tasks: asyncio.TaskGroup | None = None
        self.entries = 0
        """Entries that wait for the ledger."""
        self._versions = {step: surrogate.version for step, surrogate in surrogates.items()}
        self._stop = asyncio.Event()
        self._chronicle = Chronicle(core.line, core.tags, surrogates)
        self._recorder: Recorder | None = None
        self._attendants: dict[str, Callable[[], Coroutine[None, None, None]]] = {}
        self.listeners: list[Listener] = []
        """Hear at once what the core says; they neither wait nor raise."""
        self._away: dict[str, int] = {}
        self._units = {
            f"{step}.{output}": (*to_si(config.unit), config.unit)
            for step, configuration in core.line.steps.items()
            for output, config in configuration.outputs.items()
        }
        self._writes: set[asyncio.Task[None]] = set()
        self._outbox: asyncio.Queue[tuple[str, bytes]] = asyncio.Queue(1000)

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
        self._note(self._ledger.audit, self.clock.now(), who, what, details)

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
                    self._note(self._ledger.use_model, self.clock.now(), step, model, version)
                workers = [
                    tasks.create_task(self._watch(), name="silence"),
                    tasks.create_task(self._clean(), name="retention"),
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
                if self._registry is not None:
                    following = self._follow_models(self._registry)
                    workers.append(tasks.create_task(following, name="models"))
                if self._publish is not None:
                    workers.append(tasks.create_task(self._send(self._publish), name="publisher"))
                await self._stop.wait()
                # what has arrived still waits for others to make a batch: it counts as received
                await asyncio.sleep(LINGER)
                # no machine is left with half a set, and what became of it is told
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(FAREWELL):
                        if self._writes:
                            await asyncio.wait(self._writes)
                        await self._outbox.join()
                for worker in workers:
                    worker.cancel()
        finally:
            self._tasks = None
            store.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await store
            await self.store.call(self._ledger.close)

    async def _watch(self) -> None:
        while True:
            heard = self.core.received
            await asyncio.sleep(SILENCE)
            now = self.clock.now()
            if self.core.received == heard:
                self._intervene(FellSilent(now))
            self._mark_gaps(now)
            if self._recorder is not None:
                self._recorder.tick(now)

    def _mark_gaps(self, now: int) -> None:
        """Tell the recorder for how long a connector was away."""
        for source in self.sources:
            name, connected = source.state.name, source.state.connected
            since = self._away.pop(name, None)
            if not connected:
                self._away[name] = now if since is None else since
            elif since is not None and self._recorder is not None:
                self._recorder.gap(since, now, f"{name} was not connected")

    async def _clean(self) -> None:
        kept = int(self.core.line.store.retention * NANOSECONDS)
        while True:
            await self.store.retain(self.clock.now() - kept)
            await asyncio.sleep(CLEAN)

    async def _follow_models(self, registry: Registry) -> None:
        while True:
            await asyncio.sleep(MODELS)
            try:
                changed = await self.store.call(registry.changes)
            except Exception as error:  # database and files may fail in any way; the model stays
                log.error("models", problem=str(error))
                continue
            for each in changed:
                try:
                    self.use_model(each.step, each.surrogate, each.file, each.by)
                except ValueError as error:
                    log.error("models", problem=str(error))

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
        self._note(self._ledger.use_model, now, step, str(file), version)
        self._note(self._ledger.audit, now, by, "use model", {"step": step, "version": version})
        log.info("model", step=step, version=version, by=by)

    async def _follow(self, source: Source) -> None:
        async for batch in source.batches():
            self.feed(batch)

    def feed(self, batch: SampleBatch) -> None:
        """Take a batch as if a connector had delivered it."""
        now = self.clock.now()
        arrivals = Arrivals.at(now, batch)
        batch = arrivals.batch
        if self._recorder is not None:
            self._recorder.append(arrivals)
        try:
            events = self.core.feed(batch, now)
        finally:
            # what the line said is stored even where the core cannot follow
            self.store.put(self.core.kept)
        self._carry_out(events)
        if self._challengers is not None:
            self.store.put(self._challengers.feed(batch, now))

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
        """A person sets what a step may do."""
        now = self.clock.now()
        self._intervene(ModeSet(now, step, mode, by))
        self._note(self._ledger.audit, now, by, "set mode", {"step": step, "mode": mode})

    def _decide(
        self,
        identity: str,
        accept: bool,
        by: str,
        note: str,
        setpoints: tuple[tuple[int, float], ...] = (),
    ) -> None:
        now = self.clock.now()
        self._intervene(Decided(now, identity, accept, by, note, setpoints))
        what = "accept" if accept else "reject"
        details: dict[str, object] = {"recommendation": identity, "note": note}
        if setpoints:
            named = {
                each.name: each.from_si(value)
                for tag, value in setpoints
                for each in (self.core.tags[tag],)
            }
            details["edited"] = named
        self._note(self._ledger.audit, now, by, what, details)

    def _intervene(self, intervention: Intervention) -> None:
        events = self.core.intervene(intervention)
        for listener in self.listeners:
            listener.intervened(intervention)
        # silence that ended nothing is no news
        if events or not isinstance(intervention, FellSilent):
            self._record(intervention)
        self._carry_out(events)

    def _record(self, intervention: Intervention) -> None:
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
                    self._note(self._ledger.recommend, self.document(event), self.clock.now())
                    self._act(event)
                case ModeChange():
                    self._note(
                        self._ledger.change_mode, event.time, event.step, event.mode, event.reason
                    )
                    if event.mode == "shadow":
                        self._note(self._ledger.raise_alarm, event.time, event.step, event.reason)
                    else:
                        self._note(self._ledger.clear_alarms, event.time, event.step)
                    log.info("mode", step=event.step, mode=event.mode, reason=event.reason)
                case Milestone():
                    self._note(_remember, self._ledger, event)
                case BatchReleased():
                    self._note(
                        self._ledger.release_batch, event.batches, event.number, event.time, {}
                    )
                case _:
                    pass

    def _act(self, event: Recommendation) -> None:
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
        outcomes: list[WriteOutcome] = []
        for change in recommendation.changes:
            outcome = await self._write_one(change, change.after)
            outcomes.append(outcome)
            if outcome.status != "applied":
                break
        if outcomes[-1].status != "applied":
            # never leave a machine with half a set; only a denied write surely changed nothing
            tried = len(outcomes) - (outcomes[-1].status == "denied")
            for change in recommendation.changes[:tried]:
                undone = await self._write_one(change, change.before)
                if undone.status != "applied":
                    name = self.core.tags[change.tag].name
                    log.error("not taken back", setpoint=name, problem=undone.reason)
                    outcomes.append(replace(undone, reason=f"not taken back: {undone.reason}"))
        self._intervene(Wrote(self.clock.now(), recommendation.id, tuple(outcomes)))

    async def _write_one(self, change: Change, value: float) -> WriteOutcome:
        write = Write(change.tag, value)
        sink = self._sinks.get(change.tag)
        if sink is None:
            return WriteOutcome(write, "denied", float("nan"), "its connector cannot write")
        try:
            return await sink.write(write)
        except Exception as error:  # whatever a sink raises, the set must be taken back
            log.exception("write", setpoint=self.core.tags[change.tag].name)
            return WriteOutcome(write, "failed", float("nan"), str(error) or type(error).__name__)

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
        if self.entries >= MOST_ENTRIES:
            log.error("ledger", problem="it does not keep up; an entry is lost")
            return
        self.entries += 1
        self._tasks.create_task(self._enter(entry, *arguments), name="ledger")

    async def _enter(self, entry: Callable[..., None], *arguments: object) -> None:
        try:
            await self.store.call(lambda: entry(*arguments))
        except Exception as error:  # a database may fail in any way; advice goes on
            log.error("ledger", problem=str(error))
        finally:
            self.entries -= 1


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    """What is loaded by now stays: to look through it for garbage holds advice up by 100 ms."""
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


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
