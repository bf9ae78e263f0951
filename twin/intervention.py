"""Interventions: what enters the core beside samples, each at its place in the stream.

People decide and see alarms, machines answer writes, the clock ends what nobody decided on, another
model is taken, what is wrong beside the line is reported. A recording keeps them, so that a replay
gives what the live run gave.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from twin.alarms import Acknowledged, Report, Shelved
from twin.configuration.models import Mode
from twin.ports import WriteOutcome
from twin.samples import Ints, SampleBatch


@dataclass(frozen=True, slots=True)
class Decided:
    """A person, or the twin where its mode lets it, accepted or rejected a recommendation."""

    time: int
    """Line time at which it happened, ns."""
    identity: str
    accept: bool
    by: str
    note: str = ""
    setpoints: tuple[tuple[int, float], ...] = ()
    """What the person changed before accepting: tag and value, SI."""


@dataclass(frozen=True, slots=True)
class Wrote:
    """The setpoints of an accepted recommendation were written, or not."""

    time: int
    identity: str
    outcomes: tuple[WriteOutcome, ...]


@dataclass(frozen=True, slots=True)
class ModeSet:
    """A person set what a step may do."""

    time: int
    step: str
    mode: Mode
    by: str


@dataclass(frozen=True, slots=True)
class FellSilent:
    """The line sent nothing for a while: the clock, not the line, ends what waits."""

    time: int


@dataclass(frozen=True, slots=True)
class ModelUsed:
    """Another model predicts a step from now on."""

    time: int
    step: str
    model: str
    """Its version, as its card says."""
    by: str


Intervention = Decided | Wrote | ModeSet | FellSilent | ModelUsed | Report | Acknowledged | Shelved


@dataclass(frozen=True, slots=True)
class Arrivals:
    """A piece of a stream as it arrived: samples, and then what people and machines did."""

    batch: SampleBatch
    """Its laboratory values, with the time at which they became known, came before its rows."""
    arrived: Ints
    """Line time at which each row arrived, ns since the epoch (UTC), never falling."""
    interventions: tuple[Intervention, ...] = ()
    """In order; all after the last row."""

    @staticmethod
    def at(
        now: int, batch: SampleBatch | None = None, interventions: tuple[Intervention, ...] = ()
    ) -> Arrivals:
        """What came at one moment (ns); laboratory values became known then, if not before."""
        if batch is None:
            batch = SampleBatch.of([], [], [])
        if batch.offline:
            known = tuple(replace(each, known=each.known or now) for each in batch.offline)
            batch = replace(batch, offline=known)
        return Arrivals(batch, np.full(len(batch), now, np.int64), interventions)

    def split(self, count: int) -> tuple[Arrivals, Arrivals]:
        """The first rows with the laboratory values, and the rest with the interventions."""
        batch = self.batch
        head = replace(batch.between(0, count), offline=batch.offline)
        return (
            Arrivals(head, self.arrived[:count]),
            Arrivals(batch.between(count, len(batch)), self.arrived[count:], self.interventions),
        )
