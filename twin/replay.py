"""Replay: the live code with a recording as its source and the recording's clock."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np

from twin.core import Core, CoreEvent
from twin.ingest import NANOSECONDS
from twin.intervention import Arrivals, Decided, ModelUsed, ModeSet, Wrote
from twin.ports import Surrogate
from twin.samples import SampleBatch

TICK: Final = 0.1
"""Seconds between two looks at the clock while a replay is paced."""
BUSY: Final = 0.5
"""Longest time for which a replay at full speed keeps others from their work, s."""

Load = Callable[[str, str], Surrogate]
"""Gives the model of a step by its version."""


class Follower:
    """Feeds what arrived to a core, and repeats what people and machines did then.

    Args:
        core: as it was when the recording began.
        load: gives a model that came into use later.
        with_decisions: repeat them; else the core says what it would have advised.
    """

    def __init__(self, core: Core, load: Load, with_decisions: bool = True) -> None:
        self.core = core
        self._load = load
        self._with_decisions = with_decisions
        self.unmatched = 0
        """Decisions on advice that this core did not give."""

    def feed(self, arrivals: Arrivals) -> list[CoreEvent]:
        """Take what arrived, and say what follows from it."""
        events = self.core.feed(arrivals.batch, arrivals.arrived)
        for intervention in arrivals.interventions:
            if isinstance(intervention, ModelUsed):
                self.core.use_model(
                    intervention.step, self._load(intervention.step, intervention.model)
                )
                continue
            if not self._with_decisions and isinstance(intervention, Decided | Wrote | ModeSet):
                continue
            try:
                events += self.core.intervene(intervention)
            except KeyError:
                self.unmatched += 1
        return events


@dataclass(frozen=True, slots=True)
class Span:
    """The time that a recording covers, by arrival, ns."""

    first: int
    last: int


class Screen(Protocol):
    """Takes what a replay plays."""

    def restarted(self, core: Core) -> None:
        """It begins, or begins anew, with this core."""
        ...

    def fed(self, samples: SampleBatch, events: Sequence[CoreEvent]) -> None:
        """These samples arrived, judged, and this follows from them."""
        ...

    async def room(self) -> None:
        """Comes back when more can be taken."""
        ...


class Replay:
    """Plays a recording at any speed; pauses, steps and seeks on demand.

    What is seen at a time is what was seen live, because everything before it has been fed too: a
    seek plays as fast as it can up to there, from the start where it goes back.

    Args:
        follow: makes a follower with a fresh core.
        stream: opens the recording's stream from its start.
        span: the time that it covers.
        screen: takes what is played.
        speed: seconds of line time per second; infinite is as fast as it can.
    """

    def __init__(
        self,
        follow: Callable[[], Follower],
        stream: Callable[[], Iterator[Arrivals]],
        span: Span,
        screen: Screen,
        speed: float = np.inf,
    ) -> None:
        self._follow = follow
        self._open = stream
        self.span = span
        self._screen = screen
        self._speed = speed
        self._paused = False
        self._step = False
        self._fast_until: int | None = None
        self._changed = asyncio.Event()
        self._restart()

    def _restart(self) -> None:
        self.follower = self._follow()
        self._stream = self._open()
        self._rest: Arrivals | None = None
        self.now = self.span.first
        """Line time up to which has been replayed, ns."""
        self.ended = False
        self._screen.restarted(self.follower.core)

    @property
    def speed(self) -> float:
        """Seconds of line time per second; infinite is as fast as it can."""
        return self._speed

    @speed.setter
    def speed(self, speed: float) -> None:
        if not speed > 0:
            raise ValueError("a replay runs at a speed above 0")
        self._speed = speed
        self._changed.set()

    @property
    def paused(self) -> bool:
        return self._paused

    def pause(self) -> None:
        """Stand still."""
        self._paused = True
        self._changed.set()

    def resume(self) -> None:
        """Go on."""
        self._paused = False
        self._changed.set()

    def step(self) -> None:
        """Stand still again as soon as the core has said something."""
        self._paused, self._step = True, True
        self._changed.set()

    def seek(self, moment: int) -> None:
        """Go to a line time, ns, and stay paused there if paused."""
        moment = min(max(moment, self.span.first), self.span.last)
        if moment < self.now:
            self._restart()
        self._fast_until = moment
        self._changed.set()

    async def run(self, until: int | None = None) -> None:
        """Play to the end, or to a line time `until`, ns; paused there is not ended."""
        last = self.span.last if until is None else min(until, self.span.last)
        while not self.ended:
            self._changed.clear()
            if self._fast_until is not None:
                await self._advance(min(self._fast_until, last), np.inf)
                self._fast_until = None if self.now >= self._fast_until else self._fast_until
            elif self._step:
                await self._advance(last, np.inf, one=True)
                self._step = False
            elif self._paused:
                await self._changed.wait()
            else:
                await self._advance(last, self._speed)
            self.ended = self.now >= last and self._rest_is_after(last)

    def _rest_is_after(self, moment: int) -> bool:
        rest = self._next()
        return rest is None or (len(rest.batch) > 0 and int(rest.arrived[0]) > moment)

    async def _advance(self, until: int, speed: float, one: bool = False) -> None:
        """Feed up to a line time at a speed, until somebody wants something else."""
        began, start = time.monotonic(), self.now
        breath = began
        while not self._changed.is_set():
            target = until
            if np.isfinite(speed):
                passed = (time.monotonic() - began) * speed * NANOSECONDS
                target = min(until, start + int(passed))
            said = self._feed(target)
            if said is None:
                self.now = max(self.now, target)
                if self.now >= until:
                    return
                await self._wait(TICK)
                continue
            if one and said:
                return
            if time.monotonic() - breath > BUSY:
                await asyncio.sleep(0)
                breath = time.monotonic()
            await self._screen.room()

    async def _wait(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._changed.wait()
        except TimeoutError:
            pass

    def _feed(self, until: int) -> bool | None:
        """Feed one piece up to a time; whether the core said something, None where nothing came."""
        piece = self._next()
        if piece is None:
            return None
        count = int(np.searchsorted(piece.arrived, until, "right"))
        if len(piece.batch) and not count:
            return None
        if count < len(piece.batch):
            piece, self._rest = piece.split(count)
        else:
            self._rest = None
        events = self.follower.feed(piece)
        if count:
            self.now = int(piece.arrived[count - 1])
        self._screen.fed(self.follower.core.kept, events)
        return bool(events)

    def _next(self) -> Arrivals | None:
        if self._rest is None:
            self._rest = next(self._stream, None)
        return self._rest
