"""The heartbeat: whether the event loop and the store's thread still answer, and how late."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Final

BEAT: Final = 0.5
"""Seconds between beats."""
PROBE: Final = 5.0
"""Seconds between questions to the store's thread."""


class Heartbeat:
    """Measures how late the loop wakes, and how long the store's thread takes to answer.

    Args:
        beaten: told at each beat how late it came, s.
        probe: comes back when the store's thread has taken a turn.
    """

    def __init__(
        self, beaten: Callable[[float], None], probe: Callable[[], Awaitable[object]]
    ) -> None:
        self._beaten = beaten
        self._probe = probe
        self._beat = time.monotonic()
        self._asked: float | None = None
        self.store_delay = 0.0
        """Seconds that the store's thread took to answer last."""

    @property
    def age(self) -> float:
        """Seconds since the loop was last seen at work."""
        return time.monotonic() - self._beat

    @property
    def store_silence(self) -> float:
        """Seconds for which a question to the store's thread has been waiting; 0 if none does."""
        return 0.0 if self._asked is None else time.monotonic() - self._asked

    async def run(self) -> None:
        """Beat until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._watch_loop(), name="heartbeat of the loop")
            tasks.create_task(self._watch_store(), name="heartbeat of the store")

    async def _watch_loop(self) -> None:
        while True:
            self._beat = time.monotonic()
            await asyncio.sleep(BEAT)
            self._beaten(max(0.0, time.monotonic() - self._beat - BEAT))

    async def _watch_store(self) -> None:
        while True:
            self._asked = time.monotonic()
            await self._probe()
            self.store_delay = time.monotonic() - self._asked
            self._asked = None
            await asyncio.sleep(PROBE)
