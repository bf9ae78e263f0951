"""Resuming: from the last checkpoint to the end of what is known, and what was open then."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

import numpy as np

from twin.checkpoint import Memory
from twin.configuration.models import LineConfiguration
from twin.core import Core
from twin.ingest import NANOSECONDS
from twin.intervention import Arrivals, Intervention
from twin.ledger import Row
from twin.logged import logged_in
from twin.ports import Historian, Surrogate, Write, WriteOutcome, WriteStatus
from twin.recommendation import Change, Recommendation
from twin.samples import (
    BAD_INVALID_TIMESTAMP,
    BAD_NO_COMMUNICATION,
    OfflineMeasurement,
    SampleBatch,
)

UNDER_WAY: Final = 60 * NANOSECONDS
"""How much older than a checkpoint samples may be that arrived after it, ns."""
LABORATORY: Final = 30 * 86_400 * NANOSECONDS
"""How much older than a checkpoint material may be whose laboratory value came after it, ns."""
PIECE: Final = 20_000
"""Samples that are fed at once."""
CLOSE: Final = 0.01
"""Share of a change within which a setpoint counts as standing at one of its ends."""


def restored(memory: Memory, line: LineConfiguration, surrogates: Mapping[str, Surrogate]) -> Core:
    """A core that goes on where the remembered one was, with the models of today.

    Raises:
        SnapshotError: it does not fit the configuration.
    """
    core = Core(line, surrogates)
    core.restore(memory.core)
    for step, surrogate in surrogates.items():
        if memory.models.get(step) != surrogate.version:
            core.use_model(step, surrogate)
    return core


@dataclass(frozen=True, slots=True)
class Missed:
    """What came after a checkpoint."""

    samples: SampleBatch
    """In order of time, without laboratory values."""
    moments: tuple[OfflineMeasurement | Intervention, ...]
    """In order of time."""

    def pieces(self) -> Iterator[Arrivals]:
        """As a stream: every sample arrived when it was taken, as nobody knows better."""
        start = 0
        for moment in self.moments:
            time = _when(moment)
            end = int(np.searchsorted(self.samples.time, time, "right"))
            yield from self._rows(start, end)
            start = max(start, end)
            if isinstance(moment, OfflineMeasurement):
                nothing = SampleBatch.of([], [], [])
                yield Arrivals.at(time, replace(nothing, offline=(moment,)))
            else:
                yield Arrivals.at(time, interventions=(moment,))
        yield from self._rows(start, len(self.samples))

    def _rows(self, start: int, end: int) -> Iterator[Arrivals]:
        for first in range(start, end, PIECE):
            batch = self.samples.between(first, min(first + PIECE, end))
            yield Arrivals(batch, batch.time)


NOTHING_MISSED: Final = Missed(SampleBatch.of([], [], []), ())


def missed(
    historian: Historian, journal: Sequence[Row], core: Core, memory: Memory, now: int
) -> Missed:
    """Read what came after a checkpoint; for the historian's thread.

    A sample that came after it and is older than one of its tag that came before is not found.

    Args:
        historian: has the samples.
        journal: what people and machines did since, as the ledger has it.
        core: restored from the checkpoint.
        memory: the checkpoint.
        now: line time, ns.
    """
    line = core.line
    measured = range(len(line.tags))
    horizon = now + int(line.clock_tolerance * NANOSECONDS)
    batch = historian.read(measured, memory.taken - UNDER_WAY, horizon)
    new = batch.time > core.latest_time[batch.tag]
    # its time was not believed when it came either
    new &= batch.quality != BAD_INVALID_TIMESTAMP
    laboratory = [tag for tag in measured if core.tags[tag].role == "laboratory"]
    offline = historian.read(laboratory, memory.taken - LABORATORY, horizon).offline
    index = {tag.name: place for place, tag in enumerate(core.tags)}
    moments: list[OfflineMeasurement | Intervention] = [
        value for value in offline if value.known > memory.taken
    ]
    for row in journal:
        logged = logged_in(row["document"], index)
        if logged is not None:
            moments.append(logged)
    moments.sort(key=_when)
    return Missed(replace(batch.where(new), offline=()), tuple(moments))


def _when(moment: OfflineMeasurement | Intervention) -> int:
    return moment.known if isinstance(moment, OfflineMeasurement) else moment.time


def nothing_known(core: Core) -> SampleBatch:
    """What says that from the last sample on nothing is known of the line: while nobody listened.

    It is what a connector says when its machine goes away: held values end there, and so does the
    web's position, until its encoder is heard again.
    """
    tags = [tag for tag in range(len(core.line.tags)) if core.tags[tag].role != "laboratory"]
    time = int(core.latest_time.max(initial=0)) + 1
    count = len(tags)
    return SampleBatch.of(tags, [time] * count, [np.nan] * count, [BAD_NO_COMMUNICATION] * count)


End = Literal["before", "after", "elsewhere"]


def stands(change: Change, value: float) -> End:
    """At which end of a change a setpoint stands."""
    slack = CLOSE * abs(change.after - change.before)
    if abs(value - change.after) <= slack:
        return "after"
    return "before" if abs(value - change.before) <= slack else "elsewhere"


def outcomes(
    recommendation: Recommendation, ends: Sequence[End | None]
) -> tuple[WriteOutcome, ...]:
    """What became of writes that the end of the service interrupted.

    Args:
        recommendation: was being written.
        ends: at which end each setpoint stands now; None where its machine did not say.
    """
    reasons: dict[End | None, str] = {
        None: "the twin was stopped while it was written, and its machine does not answer",
        "before": "the twin was stopped before it was written",
        "elsewhere": "the twin was stopped while it was written, and somebody moved it since",
    }
    found = []
    for change, end in zip(recommendation.changes, ends, strict=True):
        write = Write(change.tag, change.after)
        if end == "after":
            found.append(WriteOutcome(write, "applied", change.after))
        else:
            status: WriteStatus = "timed out" if end is None else "failed"
            found.append(WriteOutcome(write, status, float("nan"), reasons[end]))
    return tuple(found)
