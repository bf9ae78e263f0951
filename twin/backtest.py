"""The backtest: champion and challengers follow the same stream, and what each said is kept.

Every candidate is a core of its own, fed the same arrivals without the decisions of people, so that
all advise alike. Nothing here waits, reads or writes.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

import numpy as np

from twin.comparison import Comparison
from twin.configuration.models import LineConfiguration
from twin.core import CoreEvent
from twin.genealogy import Milestone
from twin.ingest import NANOSECONDS
from twin.intervention import Arrivals
from twin.prediction import Prediction
from twin.recommendation import Recommendation
from twin.replay import Follower
from twin.samples import Bools, Floats, Ints
from twin.tags import TagTable
from twin.units import to_si
from twin.verdict import Advice


@dataclass(frozen=True, slots=True)
class Track:
    """One structure parameter along the web: a row per segment that was predicted and measured.

    Rows in order of recording and segment; SI.
    """

    run: Ints
    """Which recording, from 0."""
    segment: Ints
    left: Ints
    """When the material left the step, ns."""
    read: Ints
    """When it had passed the gauge, ns."""
    measured: Floats
    alone: Floats
    """As the model alone says."""
    corrected: Floats
    """As the model says with what was known when the material left the step."""
    sigma: Floats
    """Of a measurement against `corrected`; NaN where unknown."""
    in_domain: Bools

    def __len__(self) -> int:
        return len(self.segment)

    def where(self, rows: Bools | Ints) -> Track:
        """Some of the rows."""
        return Track(*(getattr(self, field.name)[rows] for field in fields(self)))

    def common(self, other: Track) -> tuple[Track, Track]:
        """The rows of the same material, of both."""
        width = 1 + max((int(t.segment.max()) for t in (self, other) if len(t)), default=0)
        one, two = (t.run * width + t.segment for t in (self, other))
        _, mine, its = np.intersect1d(one, two, assume_unique=True, return_indices=True)
        return self.where(mine), other.where(its)

    def persistence(self) -> Floats:
        """The last value measured when the material left the step; NaN where there was none."""
        found = np.full(len(self), np.nan)
        for run in np.unique(self.run).tolist():
            here = np.flatnonzero(self.run == run)
            order = here[np.argsort(self.read[here], kind="stable")]
            # a gauge at the step's exit reads at the same moment: that is not known before
            before = np.searchsorted(self.read[order], self.left[here], "left") - 1
            found[here] = np.where(before >= 0, self.measured[order[before]], np.nan)
        return found


@dataclass(frozen=True, slots=True)
class Proposal:
    """Setpoints that a candidate would have proposed."""

    run: int
    web: str
    time: int
    """ns"""
    setpoints: Mapping[int, tuple[float, float]]
    """Before and after by tag, SI."""


@dataclass(frozen=True, slots=True)
class RollStart:
    """Where on the coated web a roll begins, m."""

    run: int
    position: float
    number: int


@dataclass(frozen=True, slots=True)
class Material:
    """The material of a backtest, and what every candidate said of it."""

    line: LineConfiguration
    tracks: Mapping[str, Mapping[str, Track]]
    """By candidate, the champion first, and by `step.output`."""
    rolls: Sequence[RollStart]

    def place(self, track: Track) -> tuple[Ints, Floats]:
        """Of every row the index in `rolls`, -1 where unknown, and the metre from its inner end."""
        position = (track.segment + 0.5) * self.line.segment
        roll, metre = np.full(len(track), -1), np.full(len(track), np.nan)
        for index, start in enumerate(self.rolls):
            on = (track.run == start.run) & (position >= start.position)
            roll[on], metre[on] = index, position[on] - start.position
        return roll, metre


class Notes:
    """What one candidate said of the material, from the events of its cores.

    Args:
        outputs: of the models, by step.
    """

    def __init__(self, outputs: Mapping[str, Sequence[str]]) -> None:
        self._outputs = outputs
        self._run = -1
        self._predictions: dict[str, list[tuple[int, Prediction]]] = defaultdict(list)
        self._comparisons: dict[str, list[tuple[int, Comparison]]] = defaultdict(list)
        self.proposals: list[Proposal] = []
        self.rolls: list[RollStart] = []

    def open(self) -> None:
        """Another recording begins."""
        self._run += 1

    def take(self, events: list[CoreEvent], since: int) -> None:
        """Keep what is scored later; material measured, and advice given, before `since` is not."""
        for event in events:
            match event:
                case Prediction():
                    self._predictions[event.step].append((self._run, event))
                case Comparison():
                    if int(event.time[-1]) >= since:
                        name = f"{event.step}.{event.output}"
                        self._comparisons[name].append((self._run, event))
                case Recommendation(state="proposed") if event.time >= since:
                    setpoints = {c.tag: (c.before, c.after) for c in event.changes}
                    self.proposals.append(Proposal(self._run, event.web, event.time, setpoints))
                case Milestone(kind="roll started"):
                    self.rolls.append(RollStart(self._run, event.position, event.number))
                case _:
                    pass

    def tracks(self, since: int) -> dict[str, Track]:
        """By `step.output` the material that was predicted, and measured from `since` on, ns.

        Of several measurements of a segment, by a gauge and a laboratory, the first counts. Splices
        do not, nor do segments with a missing input.
        """
        found: dict[str, Track] = {}
        for step, outputs in self._outputs.items():
            said = self._predictions.get(step)
            if not said:
                continue
            run = np.concatenate([np.full(len(p.segments), of) for of, p in said])
            segment = np.concatenate([p.segments for _, p in said])
            width = int(segment.max()) + 1
            keys = run * width + segment
            order = np.argsort(keys, kind="stable")
            keys = keys[order]
            for column, output in enumerate(outputs):
                read = self._comparisons.get(f"{step}.{output}")
                if not read:
                    continue
                measured = np.concatenate([c.measured for _, c in read])
                usable = np.isfinite(np.concatenate([c.residual for _, c in read]))
                moment = np.concatenate([c.time for _, c in read])
                usable &= moment >= since
                key = np.concatenate([of * width + c.segments for of, c in read])
                usable &= np.isin(key, keys)
                key, first = np.unique(key[usable], return_index=True)
                rows = order[np.searchsorted(keys, key)]
                track = Track(
                    run[rows],
                    segment[rows],
                    np.concatenate([p.time for _, p in said])[rows],
                    moment[usable][first],
                    measured[usable][first],
                    np.concatenate([p.mean[:, column] for _, p in said])[rows],
                    np.concatenate([p.corrected[:, column] for _, p in said])[rows],
                    np.concatenate([p.sigma[:, column] for _, p in said])[rows],
                    np.concatenate([p.in_domain for _, p in said])[rows],
                )
                found[f"{step}.{output}"] = track.where(
                    np.isfinite(track.alone) & np.isfinite(track.corrected)
                )
        return found


class Backtest:
    """Champion and challengers beside each other.

    Args:
        labels: of the candidates, the champion first.
        outputs: of the models, by step; the same for all.
    """

    def __init__(self, labels: Sequence[str], outputs: Mapping[str, Sequence[str]]) -> None:
        self.notes = {label: Notes(outputs) for label in labels}
        self._followers: Mapping[str, Follower] = {}

    def open(self, followers: Mapping[str, Follower]) -> None:
        """Another recording begins: every candidate with a fresh core."""
        self._followers = followers
        for notes in self.notes.values():
            notes.open()

    def feed(self, arrivals: Arrivals, since: int) -> None:
        """Let all candidates follow what arrived; `since` (ns) as for `Notes`."""
        for label, notes in self.notes.items():
            notes.take(self._followers[label].feed(arrivals), since)


def compare_advice(
    champion: Notes, challenger: Notes, line: LineConfiguration, tags: TagTable
) -> Advice:
    """Proposals of both, each matched with the nearest one in time on the same web, within a pause.

    A setpoint that a proposal leaves alone stays what it was.
    """
    deadband = {
        tags.index(setpoint.tag): setpoint.deadband * to_si(tags[tags.index(setpoint.tag)].unit)[0]
        for step in line.steps.values()
        for setpoint in step.setpoints.values()
    }
    pause = {
        web: int(NANOSECONDS * max(s.advise_every for s in line.steps.values() if s.runs_on == web))
        for web in {step.runs_on for step in line.steps.values()}
    }
    free = set(range(len(challenger.proposals)))
    times: dict[tuple[int, str], list[tuple[int, int]]] = defaultdict(list)
    for j, its in enumerate(challenger.proposals):
        times[its.run, its.web].append((its.time, j))
    pairs: list[tuple[int, int, int]] = []
    for i, mine in enumerate(champion.proposals):
        there = times[mine.run, mine.web]
        first = bisect_left(there, (mine.time - pause[mine.web], 0))
        for time, j in there[first:]:
            if time > mine.time + pause[mine.web]:
                break
            pairs.append((abs(time - mine.time), i, j))
    alike = different = 0
    left = set(range(len(champion.proposals)))
    for _, i, j in sorted(pairs):
        if i in left and j in free:
            left.remove(i)
            free.remove(j)
            if _alike(champion.proposals[i], challenger.proposals[j], deadband):
                alike += 1
            else:
                different += 1
    every = alike + different + len(left) + len(free)
    return Advice(
        proposals=len(challenger.proposals),
        alike=alike,
        different=different,
        only_champion=len(left),
        only_candidate=len(free),
        would_differ=1 - alike / every if every else None,
    )


def _alike(one: Proposal, two: Proposal, deadband: Mapping[int, float]) -> bool:
    return all(
        abs(_after(one, two, tag) - _after(two, one, tag)) <= deadband.get(tag, 0.0)
        for tag in {*one.setpoints, *two.setpoints}
    )


def _after(proposal: Proposal, other: Proposal, tag: int) -> float:
    """The value of a setpoint after a proposal; what it was, where only the other moves it."""
    if tag in proposal.setpoints:
        return proposal.setpoints[tag][1]
    return other.setpoints[tag][0]
