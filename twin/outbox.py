"""The outbox: publications on their way to a broker, which may be away."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

import structlog

Publish = Callable[[str, bytes], Awaitable[bool]]
"""Publishes a payload under a topic, retained; whether the broker has it. After False it is tried
again; an exception says that the broker will never have it."""
MOST: Final = 1000
"""Publications that may wait; then the oldest go."""
RETRY: Final = 1.0
"""Seconds between attempts to publish."""
log = structlog.get_logger()


class Outbox:
    """Publishes one thing after the other, each until the broker has it or refuses it."""

    def __init__(self) -> None:
        self._queue: asyncio.Queue[tuple[str, bytes]] = asyncio.Queue(MOST)
        self._refused: dict[str, str] = {}
        """By topic why it is refused, which is logged once."""

    @property
    def waiting(self) -> int:
        """Publications that wait for the broker."""
        return self._queue.qsize()

    def put(self, topic: str, payload: bytes) -> None:
        """Publish it, soon."""
        if self._queue.full():
            # retained topics: only the newest state per web matters
            self._queue.get_nowait()
            self._queue.task_done()
        self._queue.put_nowait((topic, payload))

    async def sent(self) -> None:
        """Return when nothing waits."""
        await self._queue.join()

    async def run(self, publish: Publish) -> None:
        """Publish until cancelled."""
        while True:
            topic, payload = await self._queue.get()
            try:
                while True:
                    if await publish(topic, payload):
                        break
                    await asyncio.sleep(RETRY)
                self._refused.pop(topic, None)
            except Exception as error:  # whatever a publisher raises, the others are published
                if self._refused.get(topic) != str(error):
                    self._refused[topic] = str(error)
                    log.error("not published", topic=topic, problem=str(error))
            self._queue.task_done()
