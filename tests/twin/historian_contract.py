"""What every historian does: subclass `HistorianContract` and give it an `opened` fixture."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from twin.ports import Event, Historian
from twin.samples import GOOD, OfflineMeasurement, SampleBatch
from twin.tags import Tag, TagTable

TAGS = TagTable(
    [Tag("a", "m", "MP", "actual"), Tag("b", "m", "MP", "actual"), Tag("c", "m", "SP", "actual")]
)
TURNED = TagTable([TAGS[2], TAGS[0], Tag("d", "m", "MP", "actual")])
BAD = 0x80000000
UNCERTAIN = 0x40000000
SECOND = 10**9
START = 1_790_000_000 * SECOND
Open = Callable[[TagTable], Historian]


def rows(batch: SampleBatch) -> list[tuple[int, int, float, int]]:
    """The samples, times in s since START."""
    columns = (batch.tag, (batch.time - START) // SECOND, batch.value, batch.quality)
    return list(zip(*(column.tolist() for column in columns), strict=True))


def batch(*samples: tuple[int, int, float] | tuple[int, int, float, int]) -> SampleBatch:
    """Samples of tag, time in s since START, value and quality."""
    return SampleBatch.of(
        [sample[0] for sample in samples],
        [START + sample[1] * SECOND for sample in samples],
        [sample[2] for sample in samples],
        [sample[3] if len(sample) == 4 else GOOD for sample in samples],
    )


class HistorianContract:
    """`opened(tags)` opens the same store again, after closing it where it was open."""

    @pytest.fixture
    def opened(self) -> Open:
        raise NotImplementedError

    def everything(self, historian: Historian) -> list[tuple[int, int, float, int]]:
        return rows(historian.read([0, 1, 2], START - 100 * SECOND, START + 10_000 * SECOND))

    def test_reads_what_was_appended_by_time_then_tag(self, opened: Open) -> None:
        historian = opened(TAGS)
        historian.append(batch((1, 2, 5.0), (0, 2, 4.0, UNCERTAIN), (1, 1, 3.0)))
        assert self.everything(historian) == [
            (1, 1, 3.0, GOOD),
            (0, 2, 4.0, UNCERTAIN),
            (1, 2, 5.0, GOOD),
        ]

    def test_a_range_includes_its_start_and_not_its_end(self, opened: Open) -> None:
        historian = opened(TAGS)
        historian.append(batch((0, 1, 1.0), (0, 2, 2.0), (0, 3, 3.0), (1, 2, 9.0)))
        assert rows(historian.read([0], START + SECOND, START + 3 * SECOND)) == [
            (0, 1, 1.0, GOOD),
            (0, 2, 2.0, GOOD),
        ]
        assert len(historian.read([], START, START + 9 * SECOND)) == 0
        assert len(historian.read([2], START, START + 9 * SECOND)) == 0

    def test_missing_and_infinite_values_keep_their_status(self, opened: Open) -> None:
        historian = opened(TAGS)
        historian.append(batch((0, 1, math.nan, BAD), (0, 2, math.inf, 0x80340000)))
        read = historian.read([0], START, START + 9 * SECOND)
        assert math.isnan(read.value[0])
        assert read.value[1] == math.inf
        assert read.quality.tolist() == [BAD, 0x80340000]

    def test_appending_again_changes_nothing(self, opened: Open) -> None:
        historian = opened(TAGS)
        again = batch((0, 1, 1.0), (1, 1, 2.0), (0, 2, math.nan, BAD))
        historian.append(again)
        before = len(self.everything(historian))
        historian.append(again)
        historian = opened(TAGS)
        historian.append(again)
        assert len(self.everything(historian)) == before == 3

    def test_the_later_value_wins_within_and_between_batches(self, opened: Open) -> None:
        historian = opened(TAGS)
        historian.append(batch((0, 1, 1.0), (0, 5, 5.0), (0, 1, 2.0)))
        historian.append(batch((0, 5, 6.0), (0, 3, 3.0)))
        assert self.everything(historian) == [(0, 1, 2.0, 0), (0, 3, 3.0, 0), (0, 5, 6.0, 0)]
        assert rows(historian.latest([0])) == [(0, 5, 6.0, 0)]

    def test_signals_without_a_tag_are_not_kept(self, opened: Open) -> None:
        historian = opened(TAGS)
        historian.append(batch((-1, 1, 1.0), (0, 1, 2.0)))
        historian.append(batch((-1, 2, 1.0)))
        assert self.everything(historian) == [(0, 1, 2.0, 0)]

    def test_the_latest_outlives_a_restart(self, opened: Open) -> None:
        historian = opened(TAGS)
        historian.append(batch((0, 1, 1.0), (1, 9_000, 2.0, UNCERTAIN), (0, 0, 0.5)))
        for each in (historian, opened(TAGS)):
            assert sorted(rows(each.latest([0, 1, 2]))) == [
                (0, 1, 1.0, GOOD),
                (1, 9_000, 2.0, UNCERTAIN),
            ]
            assert len(each.latest([])) == 0

    def test_tags_may_be_numbered_otherwise_in_the_next_run(self, opened: Open) -> None:
        opened(TAGS).append(batch((0, 1, 1.0), (1, 1, 2.0), (2, 1, 3.0)))
        turned = opened(TURNED)
        assert self.everything(turned) == [(0, 1, 3.0, 0), (1, 1, 1.0, 0)]
        turned.append(batch((1, 2, 1.5), (2, 2, 4.0)))
        assert self.everything(opened(TAGS)) == [
            (0, 1, 1.0, 0),
            (1, 1, 2.0, 0),
            (2, 1, 3.0, 0),
            (0, 2, 1.5, 0),
        ]

    def test_buckets_hold_minimum_mean_maximum_of_good_values(self, opened: Open) -> None:
        historian = opened(TAGS)
        historian.append(
            batch(
                (0, 0, 1.0),
                (0, 1, 3.0),
                (0, 4, -2.0, BAD),
                (0, 5, math.nan),
                (0, 9, 7.0),
                (1, 0, 100.0),
                (0, 10, 50.0),
            )
        )
        found = historian.buckets([0], START, START + 10 * SECOND, 5)[0]
        assert ((found.time - START) // SECOND).tolist() == [0, 8]
        assert found.minimum.tolist() == [1.0, 7.0]
        assert found.mean.tolist() == [2.0, 7.0]
        assert found.maximum.tolist() == [3.0, 7.0]
        assert found.count.tolist() == [2, 1]
        assert len(historian.buckets([2], START, START + 10 * SECOND, 5)[2].time) == 0

    def test_buckets_over_months_do_not_overflow(self, opened: Open) -> None:
        historian = opened(TAGS)
        historian.append(batch((0, 0, 1.0), (0, 90 * 86_400 - 1, 2.0)))
        found = historian.buckets([0], START, START + 90 * 86_400 * SECOND, 5_000)[0]
        assert found.mean.tolist() == [1.0, 2.0]

    def test_an_event_given_again_is_kept_once(self, opened: Open) -> None:
        historian = opened(TAGS)
        first, second = Event(START, "splice", "coater", "1"), Event(START, "splice", "coater", "2")
        historian.append(batch(), [first, second, first])
        historian.append(batch(), [second])
        assert sorted(historian.events(START, START + 1), key=lambda e: e.text) == [first, second]

    def test_events_are_read_by_time(self, opened: Open) -> None:
        historian = opened(TAGS)
        later = Event(START + 2 * SECOND, "roll wound", "coater", "1 at 12.00 m")
        first = Event(START + SECOND, "gap", "gauges", "5 s without samples")
        historian.append(batch(), [later, first])
        historian.append(batch((0, 1, 1.0)), [Event(START + 3 * SECOND, "gap", "coater", "")])
        assert historian.events(START, START + 3 * SECOND) == [first, later]
        assert opened(TAGS).events(START, START + 3 * SECOND) == [first, later]

    def test_laboratory_values_keep_their_material(self, opened: Open) -> None:
        historian = opened(TAGS)
        of_roll = OfflineMeasurement(2, START + SECOND, 0.4, roll=3, metre=7.5)
        of_batch = OfflineMeasurement(1, START + 2 * SECOND, 5.0, batch=8)
        delivered = SampleBatch(*_columns(batch((0, 1, 1.0))), (of_roll, of_batch))
        historian.append(delivered)
        historian.append(delivered)
        read = historian.read([0, 1, 2], START, START + 9 * SECOND)
        assert read.offline == (of_roll, of_batch)
        assert historian.read([1], START, START + 9 * SECOND).offline == (of_batch,)

    def test_retention_deletes_the_old_and_keeps_the_rest(self, opened: Open) -> None:
        historian = opened(TAGS)
        old, new = Event(START, "gap", "x", ""), Event(START + 5 * SECOND, "gap", "x", "")
        historian.append(batch((0, 1, 1.0), (0, 4, 2.0), (1, 2, 3.0)), [old, new])
        assert historian.retain(START + 3 * SECOND) == 2
        assert self.everything(historian) == [(0, 4, 2.0, 0)]
        assert historian.events(0, 2**62) == [new]
        assert rows(historian.latest([0, 1])) == [(0, 4, 2.0, 0)]
        assert historian.retain(START + 3 * SECOND) == 0
        historian.append(batch((1, 2, 3.0)))
        assert len(self.everything(historian)) == 2

    def test_any_cutting_and_repeating_gives_the_same_rows(self, opened: Open) -> None:
        rng = np.random.default_rng(5)
        historian = opened(TAGS)
        kept: dict[tuple[int, int], float] = {}
        for _ in range(40):
            size = int(rng.integers(1, 60))
            tags, times = rng.integers(-1, 3, size), rng.integers(0, 200, size)
            values = rng.normal(size=size)
            historian.append(
                batch(*zip(tags.tolist(), times.tolist(), values.tolist(), strict=True))
            )
            for tag, time, value in zip(tags, times, values, strict=True):
                if tag >= 0:
                    kept[int(time), int(tag)] = float(value)
        expected = [(tag, time, value, GOOD) for (time, tag), value in sorted(kept.items())]
        assert self.everything(historian) == expected
        newest = {tag: (tag, time, value, GOOD) for tag, time, value, _ in expected}
        assert sorted(rows(historian.latest([0, 1, 2]))) == sorted(newest.values())


def _columns(samples: SampleBatch) -> tuple[np.ndarray, ...]:
    return samples.tag, samples.time, samples.value, samples.quality
