"""Checkpoints: what a service remembers, on disk, so that its next start goes on from there."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import structlog

from twin import snapshot
from twin.snapshot import Snapshot, SnapshotError

NEWEST: Final = "checkpoint.npz"
BEFORE: Final = "checkpoint.before.npz"
REFUSED: Final = "checkpoint.refused.npz"
_STARTS: Final = "checkpoint.starts"
MOST_STARTS: Final = 3
"""Starts from one checkpoint without a later one: what is in it may be what ends the service."""
log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Memory:
    """What a service remembered at a moment."""

    taken: int
    """Line time, ns."""
    interventions: int
    """Number of the last intervention that it knows."""
    models: dict[str, str]
    """Version of the model of every step."""
    core: Snapshot
    challengers: Snapshot | None


class Checkpoints:
    """The last two checkpoints in the folder of a store. Synchronous, for the store's thread."""

    def __init__(self, folder: Path) -> None:
        self._newest, self._before = folder / NEWEST, folder / BEFORE
        self._refused, self._starts = folder / REFUSED, folder / _STARTS
        self._known: list[int] = []

    def write(self, memory: Memory) -> int:
        """Keep this one and the one before; gives its size, bytes."""
        values: Snapshot = {
            "taken": memory.taken,
            "interventions": memory.interventions,
            "models": memory.models,
            "core": memory.core,
            "challengers": memory.challengers,
        }
        beside = self._newest.with_name(f"{NEWEST}.new")
        size = snapshot.write(beside, values)
        if self._newest.exists():
            self._newest.replace(self._before)
        beside.replace(self._newest)
        self._starts.unlink(missing_ok=True)
        self._known = [*self._known[-1:], memory.interventions]
        return size

    @property
    def settled(self) -> int:
        """Every checkpoint that is kept knows the interventions up to this number."""
        return self._known[0] if len(self._known) > 1 else 0

    def newest(self) -> Memory | None:
        """The newest that can be read; None at the first start. Counts as a start from it.

        Raises:
            SnapshotError: there are some, and none can be read, or the service did not last three
                times from the same one.
        """
        written = self._starts.read_text() if self._starts.exists() else ""
        # a crash may have torn it
        starts = 1 + (int(written) if written.isdecimal() else 0)
        self._starts.write_text(str(starts))
        problem: SnapshotError | None = None
        for file in (self._newest, self._before):
            if not file.exists():
                continue
            if starts > MOST_STARTS:
                raise SnapshotError(f"{starts - 1} starts from {file} did not last")
            try:
                memory = _memory(snapshot.read(file), file)
            except SnapshotError as error:
                log.error("checkpoint", problem=str(error))
                problem = problem or error
                continue
            self._known = [memory.interventions]
            return memory
        if problem is not None:
            raise problem
        return None

    def set_aside(self) -> Path:
        """Keep what cannot be used under another name, for people to look at."""
        for file in (self._before, self._newest):
            if file.exists():
                file.replace(self._refused)
        self._starts.unlink(missing_ok=True)
        self._known = []
        return self._refused


def _memory(values: Snapshot, file: Path) -> Memory:
    try:
        return Memory(
            values["taken"],
            values["interventions"],
            values["models"],
            values["core"],
            values["challengers"],
        )
    except KeyError as error:
        raise SnapshotError(f"{file} lacks {error}") from error
