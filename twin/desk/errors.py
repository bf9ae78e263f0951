"""What the desk answers where it cannot do what it is asked."""

from __future__ import annotations


class UnknownError(LookupError):
    """There is no such step, series, recommendation, roll, alarm, entry or recording."""


class ElsewhereError(UnknownError):
    """A name that would lead out of the folder of the recordings."""


class BusyError(RuntimeError):
    """Others ask the same; try again in a moment."""
