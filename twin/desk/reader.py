"""What can be read of a line, live or replayed: the numbers behind every screen."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Final, Literal, TypeVar

import numpy as np

from twin.alarms import Alarm
from twin.chain import standing
from twin.configuration.models import LineConfiguration
from twin.core import CoreEvent
from twin.desk import asking, overview
from twin.desk.advice import AdviceBook
from twin.desk.asking import Question, Wish
from twin.desk.errors import BusyError, UnknownError
from twin.desk.feed import MOST_POINTS, Change, Feed, Happening, Points, Snapshot
from twin.desk.overview import Shown
from twin.desk.rolls import roll_map, roll_view
from twin.desk.trends import MOST_POINTS as MOST_BUCKETS
from twin.desk.trends import Along, Trend, along_time, along_web, chosen, nothing
from twin.desk.views import (
    Advice,
    CardView,
    DesignView,
    LineView,
    ModelUse,
    Preview,
    RollMap,
    RollView,
    StepView,
    Value,
    WhatIf,
    moment,
)
from twin.editing import edited
from twin.genealogy import BatchReleased, Milestone
from twin.ingest import NANOSECONDS
from twin.intervention import Intervention, Wrote
from twin.ports import Historian, Surrogate
from twin.promise import Judgement
from twin.recommendation import Recommendation
from twin.samples import SampleBatch
from twin.tags import TagTable
from twin.trust import ModeChange

Result = TypeVar("Result")
PIECE: Final = 3600 * NANOSECONDS
"""Stored time that is read at once, ns."""
WIDEST: Final = 24 * PIECE
"""As much at once where nothing was stored before, ns: what then comes still fits into memory."""
MOST_QUESTIONS: Final = 8
"""Questions to the models that may wait for their thread."""
Which = Literal["open", "history", "decided"]
Describe = Callable[[Surrogate], CardView | None]


class Reader:
    """Reads a line. All views are made on the loop in a moment; what takes longer, on threads.

    Args:
        shown: a service, or a replay.
        now: line time, ns.
        acceleration: seconds of line time per second.
        live: False for what is not happening now.
        describe: the card of a model, where it has one.
    """

    def __init__(
        self,
        shown: Shown,
        now: Callable[[], int],
        acceleration: Callable[[], float],
        live: bool,
        describe: Describe,
    ) -> None:
        self._shown = shown
        self._now = now
        self._acceleration = acceleration
        self._live = live
        self._describe = describe
        self._new: deque[SampleBatch] = deque()
        self._waiting = 0
        # one thread: questions to the models take turns, and leave the other core to the line
        self._thinking = ThreadPoolExecutor(1, "questions")
        self.book = AdviceBook(lambda: shown.core)
        self.feed = Feed(self._snapshot)

    @property
    def configuration(self) -> LineConfiguration:
        """Of the line."""
        return self._shown.core.line

    def close(self) -> None:
        """Let go of the thread for questions."""
        self._thinking.shutdown(wait=False, cancel_futures=True)

    # what the service tells

    def told(self, samples: SampleBatch, events: Sequence[CoreEvent]) -> None:
        """The core said these; see `twin.listening.Listener`."""
        if len(samples) and self.feed.listeners:
            self._new.append(samples)
            while sum(map(len, self._new)) > MOST_POINTS and len(self._new) > 1:
                self._new.popleft()
        for event in events:
            match event:
                case Recommendation():
                    self.book.became(event, self._now())
                    text = f"{event.state}: {event.note or event.reason}"
                    happening = Happening(subject=event.id, text=text, by=event.by)
                    self.feed.tell("recommendation", happening)
                case Judgement():
                    self.book.judged(event)
                    text = "kept" if event.kept else "missed"
                    happening = Happening(subject=event.recommendation, text=text)
                    self.feed.tell("judgement", happening)
                case ModeChange():
                    text = f"{event.mode}: {event.reason}"
                    self.feed.tell("mode", Happening(subject=event.step, text=text))
                case Alarm():
                    text = f"{event.state}: {'; '.join(event.evidence) or event.kind}"
                    happening = Happening(subject=event.subject, text=text, by=event.by)
                    self.feed.tell("alarm", happening)
                case Milestone():
                    text = f"{event.kind} {event.number}"
                    self.feed.tell("material", Happening(subject=event.web, text=text))
                case BatchReleased():
                    text = f"batch {event.number} released"
                    self.feed.tell("material", Happening(subject=event.batches, text=text))
                case _:
                    pass

    def intervened(self, intervention: Intervention) -> None:
        """A person or a machine did this; see `twin.listening.Listener`."""
        if isinstance(intervention, Wrote):
            self.book.wrote(intervention)

    # reads

    async def line(self) -> LineView:
        """The line as it runs."""
        return self._line()

    def _line(self) -> LineView:
        shown, core, now = self._shown, self._shown.core, self._now()
        steps = overview.steps(core, shown.status, now)
        connections, kept = overview.connectors(shown), overview.store(shown)
        waiting = self._open()
        alarms = overview.alarms(core)
        time = moment(now)
        assert time is not None
        return LineView(
            name=core.line.name,
            live=self._live,
            time=time,
            acceleration=self._acceleration(),
            metres=shown.status.metres,
            steps=steps,
            webs=overview.webs(core),
            connectors=connections,
            alarms=alarms,
            todo=overview.todo(kept, connections, alarms, steps, waiting, self._live),
            store=kept,
            received=core.received,
            rejected=dict(shown.rejected),
            recommendations=waiting,
        )

    async def values(self) -> tuple[Value, ...]:
        """The last value of every tag."""
        return overview.values(self._shown, self._now())

    @property
    def tags(self) -> TagTable:
        """All tags of the line."""
        return self._shown.core.tags

    def series(self) -> dict[str, str]:
        """Unit of every series that `trend` may be asked for, by name."""
        return {tag.name: tag.unit for tag in self._shown.core.tags}

    async def step(self, name: str) -> StepView:
        """All there is to know of a step.

        Raises:
            UnknownError: no such step.
        """
        core, now = self._shown.core, self._now()
        if name not in core.line.steps:
            raise UnknownError(f"there is no step {name}")
        steps = overview.steps(core, self._shown.status, now)
        surrogate = core.surrogates[name]
        return StepView(
            overview=next(each for each in steps if each.name == name),
            inputs=overview.inputs(core, name),
            estimates=overview.estimates(core, name),
            model=ModelUse(
                step=name,
                version=surrogate.version,
                since=None,
                by="",
                card=self._describe(surrogate),
            ),
        )

    async def trend(
        self,
        names: Sequence[str],
        start: int,
        end: int,
        points: int = 1000,
        along: Along = "time",
    ) -> Trend:
        """Series from the historian.

        Args:
            names: of tags, derived ones included, e.g. `coating.mass_loading.predicted`.
            start: ns.
            end: ns; excluded.
            points: most per series.
            along: time, or the coated web (derived series only).

        Raises:
            UnknownError: no such series.
            ValueError: no points, too many, or too many series.
            HistorianError: the store refuses.
        """
        tags = self._shown.core.tags
        wanted = chosen(tags, names, along)
        if not self._live:
            # what was played before somebody went back is not yet to come
            end = min(end, self._now() + 1)
        if not 1 <= points <= MOST_BUCKETS:
            raise ValueError(f"ask for 1 to {MOST_BUCKETS} points, not {points}")
        if not 0 <= start < end < 2**63:
            return nothing(tags, wanted, start, end, along)
        draw = along_time if along == "time" else along_web
        return await self._read(lambda historian: draw(historian, tags, wanted, start, end, points))

    async def samples(
        self, names: Sequence[str], start: int, end: int
    ) -> AsyncIterator[SampleBatch]:
        """Stored samples as they came, SI, in pieces of an hour, or of up to a day after a gap.

        Args:
            names: of tags.
            start: ns.
            end: ns; excluded.

        Raises:
            UnknownError: no such series.
            ValueError: none, or too many.
        """
        tags, now = self._shown.core.tags, self._now()
        wanted = chosen(tags, names, "time")
        kept = int(self._shown.core.line.store.retention * NANOSECONDS)
        start, end = max(start, now - kept, 0), min(end, now + kept)
        width = PIECE
        while start < end:
            until = min(start + width, end)
            piece = await self._read(partial(_stored, wanted, start, until))
            yield piece
            # the store is asked a few times for long stretches without anything
            width = PIECE if len(piece) else min(2 * width, WIDEST)
            start = until

    async def rolls(self) -> tuple[RollView, ...]:
        """All rolls, newest first."""
        tracker = self._shown.core.tracker
        return tuple(roll_view(roll, tracker) for roll in reversed(tracker.rolls()))

    async def roll_map(self, number: int, web: str | None = None) -> RollMap:
        """Structure parameters along a roll, and the stretches that are out of specification.

        Raises:
            UnknownError: no such roll.
            HistorianError: the store refuses.
        """
        core, now = self._shown.core, self._now()
        rolls = [each for each in await self.rolls() if web in (None, each.web)]
        roll = next((each for each in rolls if each.number == number), None)
        if roll is None:
            raise UnknownError(f"there is no roll {number}")
        return await self._read(
            lambda historian: roll_map(historian, core.line, core.tags, roll, 0, now)
        )

    async def _read(self, work: Callable[[Historian], Result]) -> Result:
        """Read from the historian on the store's thread.

        Raises:
            ValueError: there is none.
        """
        store = self._shown.store
        if store is None:
            raise ValueError("nothing is stored of this line")
        return await store.call(lambda: work(store.historian))

    async def recommendations(self, which: Which = "open", limit: int = 100) -> tuple[Advice, ...]:
        """Those that wait or are being written, or the latest ones with or without those that
        newer advice overtook; newest first."""
        if which == "open":
            return self._open()
        latest = list(self._shown.status.recommendations.values())
        if which == "decided":
            latest = [each for each in latest if each.state != "superseded"]
        newest = sorted(latest, key=lambda each: -each.time)[:limit]
        return tuple(self.book.view(self.book.document(each)) for each in newest)

    def _open(self) -> tuple[Advice, ...]:
        waiting = sorted(self._shown.core.open.values(), key=lambda each: -each.time)
        return tuple(self.book.view(self.book.document(each)) for each in waiting)

    def _proposed(self, identity: str) -> Recommendation | None:
        for each in self._shown.core.open.values():
            if each.id == identity and each.state == "proposed":
                return each
        return None

    def _setpoints(self, setpoints: Mapping[str, float]) -> tuple[tuple[int, float], ...]:
        """Tags and SI values of setpoints in their units.

        Raises:
            ValueError: no such setpoint.
        """
        core = self._shown.core
        found = []
        for name, value in setpoints.items():
            if name not in core.tags or core.tags.named(name).role != "setpoint":
                raise ValueError(f"there is no setpoint {name}")
            index = core.tags.index(name)
            found.append((index, core.tags[index].to_si(value)))
        return tuple(found)

    async def preview(self, identity: str, setpoints: Mapping[str, float] | None = None) -> Preview:
        """A recommendation as it would be accepted, perhaps with other setpoints in their units.

        Raises:
            UnknownError: no such recommendation waits for a decision.
            ValueError: no such setpoint.
        """
        core, standing_ = self._shown.core, self._proposed(identity)
        if standing_ is None:
            raise UnknownError(f"no recommendation {identity} waits for a decision")
        if setpoints:
            standing_ = edited(core, standing_, self._setpoints(setpoints))
        return Preview(
            advice=self.book.view(self.book.document(standing_)),
            objections=tuple(core.objections(standing_, self._now())),
        )

    async def what_if(self, values: Mapping[str, float]) -> WhatIf:
        """What the chain of steps makes of machine parameters; the rest stands as on the line.

        Raises:
            ValueError: a name means no machine parameter, or several.
            BusyError: too many questions wait.
        """
        question = self._question()
        return await self._think(lambda: asking.what_if(question, values))

    async def design(
        self,
        targets: Mapping[str, Wish],
        values: Mapping[str, float] | None = None,
        vary: Mapping[str, tuple[float, float]] | None = None,
        limits: Mapping[str, tuple[float, float]] | None = None,
    ) -> DesignView:
        """Machine parameters for wanted structure parameters; takes seconds.

        Raises:
            ValueError: a name means nothing, or several; nothing may move; a range is empty.
            BusyError: too many questions wait.
        """
        question = self._question()
        return await self._think(
            lambda: asking.design(question, targets, values or {}, vary or {}, limits or {})
        )

    def _question(self) -> Question:
        core = self._shown.core
        return Question(core.line, dict(core.surrogates), standing(core))

    async def _think(self, work: Callable[[], Result]) -> Result:
        if self._waiting >= MOST_QUESTIONS:
            raise BusyError("others ask the models already; try again in a few seconds")
        self._waiting += 1
        loop = asyncio.get_running_loop()
        future = self._thinking.submit(work)
        # whoever asked may leave before the thread is done
        future.add_done_callback(lambda _: loop.call_soon_threadsafe(self._thought))
        return await asyncio.wrap_future(future)

    def _thought(self) -> None:
        self._waiting -= 1

    # the feed

    def changes(self) -> AsyncGenerator[Change]:
        """What happens from now on: a snapshot, then one a second, and events at once.

        Close it (`contextlib.aclosing`) when it is no longer wanted.
        """
        return self.feed.changes()

    def _snapshot(self, new: bool) -> Snapshot:
        points: dict[str, Points] = {}
        if new:
            points = self._points(SampleBatch.concatenate(self._new))
            self._new.clear()
        return Snapshot(line=self._line(), points=points)

    def _points(self, batch: SampleBatch) -> dict[str, Points]:
        tags = self._shown.core.tags
        found: dict[str, Points] = {}
        for index in np.unique(batch.tag).tolist():
            tag = tags[index]
            parameter, _, kind = tag.name.rpartition(".")
            if kind == "position":
                continue
            rows = batch.tag == index
            time, value = batch.time[rows], tag.in_unit(batch.value[rows])
            there = batch.tag == tags.index(f"{parameter}.position")
            where = dict(zip(batch.time[there].tolist(), batch.value[there].tolist(), strict=True))
            found[tag.name] = Points(
                time=tuple((time // 1_000_000).tolist()),
                position=tuple(where.get(each) for each in time.tolist()),
                value=tuple(value.tolist()),
            )
        return found


def _stored(tags: Sequence[int], start: int, end: int, historian: Historian) -> SampleBatch:
    return historian.read(tags, start, end)
