"""A server that has just not answered is not asked again at once."""

from __future__ import annotations

import time
from typing import Final

from twin.ports import HistorianError

SPARED: Final = 5.0
"""Seconds for which questions fail without being asked."""


class Outage:
    """Spares questions, each of which would wait for its time-out in a row with all others.

    What is to be stored is never spared: it is what finds out that the server is back.
    """

    def __init__(self) -> None:
        self._since = -SPARED
        self._why = ""

    def begin(self, why: str) -> None:
        """Nobody answered."""
        self._since, self._why = time.monotonic(), why

    def end(self) -> None:
        """Somebody answered, be it with an error."""
        self._since = -SPARED

    def check(self, store: str) -> None:
        """Before a question.

        Raises:
            HistorianError: nobody has answered a moment ago.
        """
        if time.monotonic() - self._since < SPARED:
            raise HistorianError(store, self._why)
