"""Writes a recording of data that can be imported again: in large pieces, not by the minute."""

from __future__ import annotations

from typing import Final

from connectors.recorder import MINUTE, RecordingWriter

_PIECE: Final = 250_000
"""Samples of a file."""


class BulkWriter(RecordingWriter):
    """A recording of the same format, without a file and a manifest for every minute.

    Data of a year, a sample every few minutes, would need half a million of each.
    """

    def _turn(self, now: int) -> None:
        if self.waiting >= _PIECE:
            self.flush()
            self._join()
        self._minute = max(now // MINUTE, self._minute or 0)
