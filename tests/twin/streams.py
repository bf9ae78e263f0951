"""Recorded streams of the virtual line, cut and shuffled, and what a core makes of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache
from itertools import pairwise

import numpy as np

from simulators.scenario import Scenario, parse_scenario
from tests.in_process import LineInProcess, line_configuration, make_core
from twin.alarms import Alarm
from twin.comparison import Comparison
from twin.configuration.models import LineConfiguration
from twin.core import Core, CoreEvent
from twin.genealogy import Milestone
from twin.prediction import Prediction
from twin.recommendation import Recommendation
from twin.samples import Floats, Ints, OfflineMeasurement, SampleBatch
from twin.tracking import Tracked
from twin.trust import ModeChange

BUSY = """
name: busy
metres: 24
plant:
  coater: {roll_length_m: 8}
  laboratory: {delay_min: 3}
actions:
  - {at: {metre: 6}, do: slurry_batch, solids: 0.63, reported_solids: 0.66}
  - {at: {metre: 8}, do: set, signal: Coater.LineSpeed.Setpoint, value: 5.0}
  - {at: {metre: 12}, do: stop, machine: coater, duration: 20 s}
  - {at: {metre: 16}, do: splice}
  - {at: {time: 7 min}, do: cut_out, metres: 1}
  - {at: {metre: 18}, do: gauge, gauge: mass_loading, fault: dropout}
  - {at: {metre: 22}, do: gauge, gauge: mass_loading, fault: none}
"""


def busy_scenario() -> Scenario:
    """Short, with everything in it that makes alignment hard."""
    return parse_scenario(BUSY)


def joined(batches: Iterable[SampleBatch]) -> SampleBatch:
    """One stream in order of source time."""
    whole = SampleBatch.concatenate(batches)
    order = np.argsort(whole.time, kind="stable")
    return SampleBatch(
        whole.tag[order], whole.time[order], whole.value[order], whole.quality[order], whole.offline
    )


@cache
def busy_stream() -> SampleBatch:
    """The recorded stream of the busy scenario."""
    return joined(LineInProcess(busy_scenario(), accept=False).recorded())


def end_of(stream: SampleBatch) -> SampleBatch:
    """A sample far after the end, so that everything before it becomes certain."""
    return SampleBatch.of([0], [int(stream.time.max()) + 40_000_000_000], [np.nan])


def cut(stream: SampleBatch, at: Sequence[int]) -> list[SampleBatch]:
    """The stream in pieces; a laboratory value comes with the piece in which it became known."""
    edges = [0, *sorted({edge for edge in at if 0 < edge < len(stream)}), len(stream)]
    pieces = []
    waiting = sorted(stream.offline, key=lambda entry: entry.known)
    latest = 0
    for low, high in pairwise(edges):
        rows = slice(low, high)
        latest = max(latest, int(stream.time[rows].max()))
        told: list[OfflineMeasurement] = []
        while waiting and (waiting[0].known <= latest or high == len(stream)):
            told.append(waiting.pop(0))
        pieces.append(
            SampleBatch(
                stream.tag[rows],
                stream.time[rows],
                stream.value[rows],
                stream.quality[rows],
                tuple(told),
            )
        )
    return pieces


def shuffled(stream: SampleBatch, delay: Ints) -> SampleBatch:
    """In the order of arrival when every sample is under way for its own time (ns)."""
    order = np.argsort(stream.time + delay, kind="stable")
    return SampleBatch(
        stream.tag[order],
        stream.time[order],
        stream.value[order],
        stream.quality[order],
        stream.offline,
    )


class Heard:
    """What a core said, by kind, however the stream was cut."""

    def __init__(self, core: Core) -> None:
        self.core = core
        self.material: dict[str, dict[tuple[int, int], tuple[float, ...]]] = {}
        self.rows: dict[str, dict[tuple[int, int], tuple[float, ...]]] = {}
        self.others: list[str] = []
        self.recommendations: list[Recommendation] = []
        self._listen()

    def _listen(self) -> None:
        advance = self.core.tracker.advance

        def listening(frontier: int) -> Tracked:
            tracked = advance(frontier)
            for passage in tracked.passages:
                columns = np.column_stack([passage.value, passage.spread])
                kind = passage.column.name
                _put(self.material, kind, passage.segments, passage.time, columns)
            return tracked

        self.core.tracker.advance = listening  # type: ignore[method-assign]

    def take(self, event: CoreEvent) -> None:
        if isinstance(event, Prediction):
            columns = np.hstack([event.inputs, event.mean, event.corrected, event.sigma])
            _put(self.rows, f"{event.step} predicted", event.segments, event.time, columns)
        elif isinstance(event, Comparison):
            columns = np.column_stack([event.predicted, event.measured, event.residual])
            name = f"{event.step}.{event.output}"
            _put(self.rows, name, event.segments, event.time, columns)
        elif isinstance(event, Recommendation):
            self.recommendations.append(event)
            numbers = np.array(
                [(change.before, change.after) for change in event.changes]
                + [(effect.before, effect.after) for effect in event.effects]
            )
            columns = numbers.reshape(1, -1)
            self.others.append(f"{event.id} {event.state} {event.note}")
            if event.state == "proposed":
                moment = np.array([event.time])
                _put(self.rows, f"{event.web} advice", moment, moment, columns)
        elif isinstance(event, Milestone | ModeChange | Alarm):
            self.others.append(repr(event))

    def same_as(self, other: Heard) -> None:
        """Fail where material differs at all, or anything made of it by more than rounding.

        A matrix product rounds differently for one row than for many.
        """
        assert sorted(self.others) == sorted(other.others)
        _same(self.material, other.material, 0.0)
        _same(self.rows, other.rows, 1e-9)
        end = np.array([max(self.core.tracker.frontier, other.core.tracker.frontier)])
        assert self.core.estimators.keys() == other.core.estimators.keys()
        for name, mine in self.core.estimators.items():
            yours = other.core.estimators[name]
            assert mine.updates == yours.updates
            np.testing.assert_allclose(
                mine.state(end), yours.state(end), rtol=1e-9, atol=1e-15, err_msg=name
            )


class Followed(Heard):
    """What a new core said of the pieces of a stream."""

    def __init__(
        self, pieces: Iterable[SampleBatch], configuration: LineConfiguration | None = None
    ) -> None:
        super().__init__(make_core(configuration or line_configuration()))
        latest = 0
        for piece in pieces:
            latest = max(latest, int(piece.time.max()))
            for event in self.core.feed(piece, latest):
                self.take(event)


Rows = dict[str, dict[tuple[int, int], tuple[float, ...]]]


def _put(table: Rows, kind: str, segments: Ints, time: Ints, columns: Floats) -> None:
    rows = table.setdefault(kind, {})
    for segment, moment, row in zip(
        segments.tolist(), time.tolist(), columns.tolist(), strict=True
    ):
        assert (segment, moment) not in rows, f"{kind}: segment {segment} twice"
        rows[segment, moment] = tuple(row)


def _same(mine: Rows, yours: Rows, tolerance: float) -> None:
    assert mine.keys() == yours.keys()
    for kind, rows in mine.items():
        assert rows.keys() == yours[kind].keys(), kind
        a, b = (
            np.array([row for key in rows for row in table[key]]) for table in (rows, yours[kind])
        )
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=1e-3 * tolerance, err_msg=kind)
