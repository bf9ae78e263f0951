"""Log lines about what may happen with every sample: one per message and minute."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

import structlog

log = structlog.get_logger()
PAUSE: Final = 60.0
"""Seconds between two lines with the same message."""


class Telling:
    """Logs errors, each message at most once a minute.

    Args:
        steady: time that is never set, s.
    """

    def __init__(self, steady: Callable[[], float] = time.monotonic) -> None:
        self._steady = steady
        self._told: dict[str, float] = {}

    def error(self, message: str, **facts: object) -> None:
        """Log it, unless it was logged a moment ago; `facts` should count from the start."""
        now = self._steady()
        if now - self._told.get(message, -PAUSE) >= PAUSE:
            self._told[message] = now
            log.error(message, **facts)
