"""The desk behind every screen: one place to read a line and to decide, for API and dashboard.

`Desk` reads a running service and acts on it; `Reader` alone reads, also of a replay.
"""

from twin.desk.asking import Wish
from twin.desk.desk import DecidedError, Desk
from twin.desk.errors import BusyError, ElsewhereError, UnknownError
from twin.desk.feed import Change, Happening, Points, Snapshot
from twin.desk.laboratory import Entry, ImplausibleError
from twin.desk.reader import Reader
from twin.desk.trends import Series, Trend

__all__ = [
    "BusyError",
    "Change",
    "DecidedError",
    "Desk",
    "ElsewhereError",
    "Entry",
    "Happening",
    "ImplausibleError",
    "Points",
    "Reader",
    "Series",
    "Snapshot",
    "Trend",
    "UnknownError",
    "Wish",
]
