"""What the desk answers where it cannot do what it is asked."""

from __future__ import annotations


class UnknownError(LookupError):
    """There is no such step, series, recommendation, roll, alarm, entry or recording."""


class BusyError(RuntimeError):
    """Others ask the same; try again in a moment."""
