"""The change feed: what happened, to any number of listeners, none of whom can hold it up."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Final, Literal

from twin.desk.views import LineView, View

EVERY: Final = 1.0
"""Seconds between snapshots."""
MOST_WAITING: Final = 16
"""Changes that wait for one listener; the oldest goes when there is no room."""
MOST_POINTS: Final = 2_000
"""New points of all series between two snapshots; what is more shows in the next look back."""

Kind = Literal["snapshot", "recommendation", "judgement", "mode", "alarm", "material", "laboratory"]


class Points(View):
    """New points of a derived series, in its unit."""

    time: tuple[int, ...]
    """ms since the epoch (UTC)."""
    position: tuple[float | None, ...]
    """m along the coated web, where it has one."""
    value: tuple[float, ...]


class Snapshot(View):
    """The whole state, with what came since the snapshot before."""

    line: LineView
    points: Mapping[str, Points]


class Happening(View):
    """Something that happened."""

    subject: str
    text: str
    by: str = ""


@dataclass(frozen=True)
class Change:
    """A snapshot or a happening; made once for all listeners."""

    number: int
    """Counts up by one from change to change."""
    kind: Kind
    content: Snapshot | Happening
    missed: int = 0
    """Changes that this listener lost just before this one, as it was too slow."""

    @cached_property
    def json(self) -> bytes:
        """The content as JSON."""
        return self.content.model_dump_json().encode()


class Subscription:
    """A listener's bounded queue: the newest stay, what is dropped is counted."""

    def __init__(self) -> None:
        self._waiting: deque[Change] = deque()
        self._arrived = asyncio.Event()
        self._missed = 0
        self._closed = False
        self.dropped = 0
        """Changes lost so far."""

    def put(self, change: Change) -> None:
        """Never blocks."""
        if len(self._waiting) >= MOST_WAITING:
            self._waiting.popleft()
            self._missed += 1
            self.dropped += 1
        self._waiting.append(change)
        self._arrived.set()

    def close(self) -> None:
        """Nothing more will come."""
        self._closed = True
        self._arrived.set()

    async def next(self) -> Change | None:
        """The next change; None where nothing more will come."""
        while not self._waiting:
            if self._closed:
                return None
            self._arrived.clear()
            await self._arrived.wait()
        change = self._waiting.popleft()
        if self._missed:
            missed, self._missed = self._missed, 0
            return replace(change, missed=missed)
        return change


class Feed:
    """Broadcasts changes. While nobody listens, nothing is made.

    Args:
        snapshot: makes a snapshot on the loop; with True what is new since the last such call is
            handed out with it.
        every: seconds between snapshots.
    """

    def __init__(self, snapshot: Callable[[bool], Snapshot], every: float = EVERY) -> None:
        self._snapshot = snapshot
        self._every = every
        self._listeners: set[Subscription] = set()
        self._number = 0
        self._somebody = asyncio.Event()
        self.dropped = 0
        """Changes lost by listeners that have gone."""

    @property
    def listeners(self) -> int:
        """How many listen now."""
        return len(self._listeners)

    @property
    def lost(self) -> int:
        """Changes lost by all listeners so far."""
        return self.dropped + sum(each.dropped for each in self._listeners)

    def tell(self, kind: Kind, content: Snapshot | Happening) -> None:
        """Hand something to all who listen."""
        if not self._listeners:
            return
        self._number += 1
        change = Change(self._number, kind, content)
        for listener in self._listeners:
            listener.put(change)

    async def run(self) -> None:
        """Make a snapshot every second while somebody listens; when cancelled, send all away."""
        loop = asyncio.get_running_loop()
        try:
            while True:
                await self._somebody.wait()
                began = loop.time()
                self.tell("snapshot", self._snapshot(True))
                await asyncio.sleep(max(self._every - (loop.time() - began), 0.1))
        finally:
            for listener in self._listeners:
                listener.close()

    async def changes(self) -> AsyncGenerator[Change]:
        """What happens from now on, a snapshot first; close it when it is no longer wanted."""
        mine = Subscription()
        self._listeners.add(mine)
        self._somebody.set()
        try:
            self._number += 1
            mine.put(Change(self._number, "snapshot", self._snapshot(False)))
            while (change := await mine.next()) is not None:
                yield change
        finally:
            self._listeners.discard(mine)
            self.dropped += mine.dropped
            if not self._listeners:
                self._somebody.clear()
