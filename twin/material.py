"""Material: batches, rolls, web segments, and the table of what happened to each segment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from twin.samples import Bools, Floats, Ints
from twin.snapshot import Snapshot, SnapshotError

BLOCK: Final = 512
"""Segments that are copied together for a snapshot."""


@dataclass(slots=True)
class Roll:
    """A piece of coated web, wound on a core: the last metre coated is its outside."""

    web: str
    number: int
    start: float
    """Web position of its inner end where it was coated, m."""
    end: float = float("nan")
    """Web position of its outer end, m; NaN while it is wound."""
    wound: int = 0
    """When it was full, ns."""
    outer: float = float("nan")
    """Web position of the outer end of what is left of it, m; NaN until it is first unwound."""


@dataclass(slots=True)
class Batch:
    """A slurry batch, and what is known of it: by recipe, model or laboratory, latest last."""

    number: int
    released: int
    inputs: Floats
    """What the mixer did, in the order of the mixing step's inputs, SI."""


class MaterialTable:
    """One row per web segment, one column per quantity: a ring of the last `capacity` segments.

    Values are NaN and times 0 where nothing is known.
    """

    def __init__(self, columns: Sequence[str], capacity: int = 16_384) -> None:
        self._index = {name: index for index, name in enumerate(columns)}
        self._segment = np.full(capacity, -1, np.int64)
        self._value = np.full((len(columns), capacity), np.nan)
        # the memory of months is taken at once, so that it never grows
        self._time = np.full((len(columns), capacity), 0, np.int64)
        self._changed = np.ones(-(-capacity // BLOCK), np.bool_)
        self._copies: dict[int, Snapshot] = {}

    def open(self, segments: Ints) -> None:
        """Make rows for these segments, over the oldest ones."""
        slots = segments % len(self._segment)
        new = self._segment[slots] != segments
        if new.any():
            fresh = slots[new]
            self._segment[fresh] = segments[new]
            self._changed[fresh // BLOCK] = True
            self._value[:, fresh] = np.nan
            self._time[:, fresh] = 0

    def has(self, segments: Ints) -> Bools:
        """Which of the segments have a row."""
        here: Bools = self._segment[segments % len(self._segment)] == segments
        return here & (segments >= 0)

    def put(self, column: str, segments: Ints, value: Floats, time: Ints) -> None:
        """Set values of segments that have a row; others are passed over."""
        here = self.has(segments)
        index, slots = self._index[column], segments[here] % len(self._segment)
        self._changed[slots // BLOCK] = True
        self._value[index, slots] = value[here]
        self._time[index, slots] = time[here]

    def value(self, column: str, segments: Ints) -> Floats:
        """Values, SI; NaN where unknown."""
        found = self._value[self._index[column], segments % len(self._segment)]
        return np.where(self.has(segments), found, np.nan)

    def time(self, column: str, segments: Ints) -> Ints:
        """When the values became known, ns; 0 where unknown."""
        found = self._time[self._index[column], segments % len(self._segment)]
        return np.where(self.has(segments), found, 0)

    def snapshot(self) -> Snapshot:
        """All rows and columns; only what has changed since the last one is copied."""
        for block in np.flatnonzero(self._changed).tolist():
            rows = slice(block * BLOCK, (block + 1) * BLOCK)
            self._copies[block] = {
                "start": rows.start,
                "segment": self._segment[rows].copy(),
                "value": self._value[:, rows].copy(),
                "time": self._time[:, rows].copy(),
            }
        self._changed[:] = False
        return {
            "capacity": len(self._segment),
            "columns": list(self._index),
            "blocks": [each for each in self._copies.values() if (each["segment"] >= 0).any()],
        }

    def restore(self, state: Snapshot) -> None:
        """Take what a table of the same capacity gave; columns that it did not have stay unknown.

        Raises:
            SnapshotError: it had another capacity.
        """
        held, mine = state["capacity"], len(self._segment)
        if held != mine:
            raise SnapshotError(f"the snapshot has room for {held} segments, this program {mine}")
        here = [row for row, name in enumerate(state["columns"]) if name in self._index]
        columns = [self._index[state["columns"][row]] for row in here]
        for block in state["blocks"]:
            rows = slice(block["start"], block["start"] + len(block["segment"]))
            self._segment[rows] = block["segment"]
            self._value[columns, rows] = block["value"][here]
            self._time[columns, rows] = block["time"][here]
            self._changed[rows.start // BLOCK] = True
