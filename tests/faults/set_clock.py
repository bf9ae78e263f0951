"""Imported before the twin: from then on the computer's time is what a test sets it to."""

from __future__ import annotations

import time

_real = time.time_ns
_step = 0


def set_forth(nanoseconds: int) -> None:
    """Set the clock so far forth of the true time."""
    global _step
    _step = nanoseconds


def _time_ns() -> int:
    return _real() + _step


time.time_ns = _time_ns
