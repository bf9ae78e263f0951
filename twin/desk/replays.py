"""Replays beside the live line: each on a thread of its own, so that the line never waits."""

from __future__ import annotations

import asyncio
import contextlib
import math
import secrets
import tempfile
import threading
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol, TypeVar

import structlog

from twin.configuration.models import LineConfiguration
from twin.desk.asking import Wish
from twin.desk.errors import BusyError, UnknownError
from twin.desk.feed import Change
from twin.desk.reader import Describe, Reader, Which
from twin.desk.trends import Along, Trend
from twin.desk.views import (
    Advice,
    DesignView,
    LineView,
    Preview,
    RecordingView,
    ReplayView,
    RollMap,
    RollView,
    StepView,
    Value,
    WhatIf,
    moment,
)
from twin.historian import DuckDBHistorian
from twin.replay import Replay, Screen
from twin.replay_screen import FULL, ReplayScreen
from twin.store import Store

Result = TypeVar("Result")
log = structlog.get_logger()
MOST: Final = 2
"""Recordings that are played at once: each may take what the line leaves of a core."""
IDLE: Final = 1800.0
"""Seconds after which a replay that nobody looks at is closed."""
SLOWEST, FASTEST = 0.1, 10_000.0


class Library(Protocol):
    """Where recordings are; knows the connectors, which the core does not."""

    def list(self) -> list[RecordingView]:
        """All recordings, newest first; reads files."""
        ...

    def line(self, name: str) -> LineConfiguration:
        """The line of a recording; checks its files.

        Raises:
            UnknownError: there is no such recording.
            RecordingError: it is damaged.
        """
        ...

    def play(self, name: str, screen: Screen) -> Replay:
        """A replay of a recording.

        Raises:
            RecordingError, ValueError: it cannot be played.
        """
        ...


@dataclass(frozen=True, slots=True)
class _Stage:
    """What a replay's thread works with."""

    loop: asyncio.AbstractEventLoop
    replay: Replay
    reader: Reader
    wanted: asyncio.Event


class Playback:
    """A recording that is played. Reads as a `Reader` does; every read hops to its thread.

    Args:
        library: of recordings.
        name: of the recording.
        by: who opened it.
        describe: the card of a model.
    """

    def __init__(self, library: Library, name: str, by: str, describe: Describe) -> None:
        self.id = secrets.token_urlsafe(9)
        self.name = name
        self.by = by
        self.used = time.monotonic()
        self._library = library
        self._describe = describe
        self._asking = threading.Lock()
        """Nothing is asked of a loop that will not answer any more."""
        self._over = False
        self._why = ""
        """Why it ended by itself; empty where it was closed."""
        self._ready: Future[_Stage] = Future()
        self._stop: Callable[[], object] = lambda: None
        self._thread = threading.Thread(target=self._work, name=f"replay {name}", daemon=True)

    @property
    def configuration(self) -> LineConfiguration:
        """Of the recorded line."""
        return self._ready.result().reader.configuration

    async def start(self) -> None:
        """Open the recording; it stands at its start.

        Raises:
            UnknownError, RecordingError, ValueError: it cannot be played.
        """
        self._thread.start()
        await asyncio.wrap_future(self._ready)

    async def close(self) -> None:
        """End it, and wait for its thread."""
        with contextlib.suppress(RuntimeError):  # it has ended by itself
            self._stop()
        await asyncio.to_thread(self._thread.join)

    def _work(self) -> None:
        try:
            asyncio.run(self._play())
        except Exception as error:  # told to whoever opened it, or logged: the line goes on
            if self._ready.done():
                log.exception("replay", recording=self.name)
            else:
                self._ready.set_exception(error)

    async def _play(self) -> None:
        loop, stop = asyncio.get_running_loop(), asyncio.Event()
        line = self._library.line(self.name)
        with tempfile.TemporaryDirectory(prefix="linetwin-replay-") as folder:
            historian = DuckDBHistorian(Path(folder) / "replay.duckdb", line.tag_table())
            store = Store(historian, len(line.tags), capacity=4 * FULL)
            screen = ReplayScreen(line, store)
            replay = self._library.play(self.name, screen)
            replay.speed = 1.0
            replay.pause()
            reader = Reader(screen, lambda: replay.now, lambda: replay.speed, False, self._describe)
            screen.listener = reader
            stage = _Stage(loop, replay, reader, asyncio.Event())
            workers = [
                loop.create_task(store.run(), name="store"),
                loop.create_task(reader.feed.run(), name="feed"),
                loop.create_task(_play_on(stage), name="replay"),
            ]
            self._stop = lambda: loop.call_soon_threadsafe(stop.set)
            self._ready.set_result(stage)
            stopped = loop.create_task(stop.wait(), name="stop")
            try:
                done, _ = await asyncio.wait({stopped, *workers}, return_when="FIRST_COMPLETED")
                for each in done:
                    each.result()
            except Exception as error:
                self._why = f": {str(error) or type(error).__name__}"
                raise
            finally:
                with self._asking:
                    self._over = True
                for each in (stopped, *workers):
                    each.cancel()
                await asyncio.gather(stopped, *workers, return_exceptions=True)
                reader.close()
                store.close()

    async def _there(self, work: Callable[[_Stage], Awaitable[Result]]) -> Result:
        self.used = time.monotonic()
        stage = self._ready.result()

        async def run() -> Result:
            return await work(stage)

        with self._asking:
            if self._over:
                raise self._ended()
            asked = asyncio.run_coroutine_threadsafe(run(), stage.loop)
        try:
            return await asyncio.wrap_future(asked)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if not self._over or (task is not None and task.cancelling()):
                raise
            raise self._ended() from None

    def _ended(self) -> UnknownError:
        return UnknownError(f"the replay of {self.name} has ended{self._why}")

    async def state(self) -> ReplayView:
        """Where it is."""

        async def look(stage: _Stage) -> ReplayView:
            replay = stage.replay
            first, last, now = map(moment, (replay.span.first, replay.span.last, replay.now))
            assert first is not None
            assert last is not None
            assert now is not None
            return ReplayView(
                id=self.id,
                recording=self.name,
                first=first,
                last=last,
                now=now,
                speed=replay.speed if math.isfinite(replay.speed) else None,
                paused=replay.paused,
                ended=replay.ended,
                opened_by=self.by,
            )

        return await self._there(look)

    async def play(self) -> ReplayView:
        """Go on."""
        return await self._control(lambda replay: replay.resume())

    async def pause(self) -> ReplayView:
        """Stand still."""
        return await self._control(lambda replay: replay.pause())

    async def seek(self, to: int) -> ReplayView:
        """Go to a line time, ns; it plays up to there as fast as it can."""
        return await self._control(lambda replay: replay.seek(to))

    async def set_speed(self, speed: float | None) -> ReplayView:
        """Play at a speed, seconds of line time per second; None is as fast as it can.

        Raises:
            ValueError: slower or faster than it can be paced.
        """
        if speed is not None and not SLOWEST <= speed <= FASTEST:
            raise ValueError(f"a replay runs at {SLOWEST:g} to {FASTEST:g} times the speed of life")

        def change(replay: Replay) -> None:
            replay.speed = math.inf if speed is None else speed

        return await self._control(change)

    async def _control(self, change: Callable[[Replay], None]) -> ReplayView:
        async def do(stage: _Stage) -> None:
            change(stage.replay)
            stage.wanted.set()

        await self._there(do)
        return await self.state()

    # reads: what `Reader` has

    async def line(self) -> LineView:
        return await self._there(lambda stage: stage.reader.line())

    async def values(self) -> tuple[Value, ...]:
        return await self._there(lambda stage: stage.reader.values())

    def series(self) -> dict[str, str]:
        return self._ready.result().reader.series()

    async def step(self, name: str) -> StepView:
        return await self._there(lambda stage: stage.reader.step(name))

    async def trend(
        self,
        names: Sequence[str],
        start: int,
        end: int,
        points: int = 1000,
        along: Along = "time",
    ) -> Trend:
        return await self._there(lambda stage: stage.reader.trend(names, start, end, points, along))

    async def recommendations(self, which: Which = "open", limit: int = 100) -> tuple[Advice, ...]:
        return await self._there(lambda stage: stage.reader.recommendations(which, limit))

    async def preview(self, identity: str, setpoints: Mapping[str, float] | None = None) -> Preview:
        return await self._there(lambda stage: stage.reader.preview(identity, setpoints))

    async def rolls(self) -> tuple[RollView, ...]:
        return await self._there(lambda stage: stage.reader.rolls())

    async def roll_map(self, number: int, web: str | None = None) -> RollMap:
        return await self._there(lambda stage: stage.reader.roll_map(number, web))

    async def what_if(self, values: Mapping[str, float]) -> WhatIf:
        return await self._there(lambda stage: stage.reader.what_if(values))

    async def design(
        self,
        targets: Mapping[str, Wish],
        values: Mapping[str, float] | None = None,
        vary: Mapping[str, tuple[float, float]] | None = None,
        limits: Mapping[str, tuple[float, float]] | None = None,
    ) -> DesignView:
        return await self._there(lambda stage: stage.reader.design(targets, values, vary, limits))

    async def changes(self) -> AsyncGenerator[Change]:
        """As `Reader.changes`; one at a time crosses over, so the bounded queue is over there."""
        stage = self._ready.result()
        there = stage.reader.changes()
        try:
            while self._thread.is_alive():
                change = await self._there(lambda _: anext(there, None))
                if change is None:
                    break
                yield change
        finally:
            if self._thread.is_alive():
                asyncio.run_coroutine_threadsafe(there.aclose(), stage.loop)


async def _play_on(stage: _Stage) -> None:
    """Play, and after the end play again where somebody went back."""
    while True:
        await stage.replay.run()
        stage.wanted.clear()
        await stage.wanted.wait()


class Replays:
    """The recordings that are played.

    Args:
        library: of recordings.
        describe: the card of a model.
    """

    def __init__(self, library: Library, describe: Describe) -> None:
        self._library = library
        self._describe = describe
        self._open: dict[str, Playback] = {}
        self._opening = 0

    async def recordings(self) -> tuple[RecordingView, ...]:
        """All recordings, newest first."""
        return tuple(await asyncio.to_thread(self._library.list))

    def get(self, identity: str) -> Playback:
        """A replay that is open.

        Raises:
            UnknownError: there is none.
        """
        found = self._open.get(identity)
        if found is None:
            raise UnknownError(f"there is no replay {identity}")
        return found

    def __contains__(self, identity: str) -> bool:
        return identity in self._open

    async def states(self) -> tuple[ReplayView, ...]:
        """All replays that are open."""
        found = []
        for each in list(self._open.values()):
            with contextlib.suppress(UnknownError):  # it has ended by itself
                found.append(await each.state())
        return tuple(found)

    async def open(self, name: str, by: str) -> ReplayView:
        """Open a recording; it stands at its start.

        Raises:
            UnknownError: there is no such recording.
            BusyError: as many as may be are open.
            RecordingError, ValueError: it cannot be played.
        """
        for each in list(self._open.values()):
            if time.monotonic() - each.used > IDLE:
                await self.close(each.id)
        if len(self._open) + self._opening >= MOST:
            raise BusyError(f"{MOST} replays are open; close one first")
        playback = Playback(self._library, name, by, self._describe)
        self._opening += 1
        try:
            await playback.start()
        finally:
            self._opening -= 1
        self._open[playback.id] = playback
        return await playback.state()

    async def close(self, identity: str) -> None:
        """End a replay.

        Raises:
            UnknownError: there is none.
        """
        playback = self.get(identity)
        del self._open[identity]
        await playback.close()

    async def close_all(self) -> None:
        """End all replays."""
        for identity in list(self._open):
            await self.close(identity)
