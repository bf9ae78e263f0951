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
START = 1_700_000_000 * SECOND
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
    """`opened(tags)` opens the same store again, after closing it where it was open.

    What a store cannot do as well as others it says here, and is tested for what it says.
    """

    resolution = 1
    """ns to which times are kept: rounded to the nearest."""
    precision = 0.0
    """Largest relative error of a value."""
    deletes = True
    """Whether `retain` deletes; else the store itself does, by its own configuration."""

    @pytest.fixture
    def opened(self) -> Open:
        raise NotImplementedError

    def everything(self, historian: Historian) -> list[tuple[int, int, float, int]]:
        return rows(historian.read([0, 1, 2], START - 100 * SECOND, START + 10_000 * SECOND))

    def values(self, found: list[tuple[int, int, float, int]]) -> list[float]:
        return [value for _, _, value, _ in found]

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

    def test_any_number_and_any_status_come_back(self, opened: Open) -> None:
        if self.precision:
            return  # it says that numbers beside each other lose digits: nothing to be exact about
        values = [5e-324, 1.7976931348623157e308, -0.0, 1e22, 1 / 3, -123456789.12345678, 2.0**53]
        codes = [GOOD, UNCERTAIN, BAD, 0x3FFFFFFF, 0x7FFFFFFF, 0xBFFFFFFF, 0xFFFFFFFF]
        historian = opened(TAGS)
        sent = batch(
            *(
                (0, 10 * number + place, value, code)
                for number, value in enumerate(values)
                for place, code in enumerate(codes)
            )
        )
        historian.append(sent)
        read = historian.read([0], START, START + 999 * SECOND)
        assert read.value.tolist() == sent.value.tolist()
        assert read.quality.tolist() == sent.quality.tolist()

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
        for _ in range(2):
            assert sorted(rows(historian.latest([0, 1, 2]))) == [
                (0, 1, 1.0, GOOD),
                (1, 9_000, 2.0, UNCERTAIN),
            ]
            assert len(historian.latest([])) == 0
            historian = opened(TAGS)

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

    def test_tags_that_are_gone_disturb_nobody(self, opened: Open) -> None:
        everything = batch((0, 1, 1.0), (1, 1, 2.0), (2, 1, 3.0))
        laboratory = tuple(OfflineMeasurement(tag, START, 0.5, roll=1) for tag in (0, 1, 2))
        opened(TAGS).append(SampleBatch(*_columns(everything), laboratory))
        fewer = opened(TagTable([TAGS[2]]))
        read = fewer.read([0], START, START + 9 * SECOND)
        assert rows(read) == rows(fewer.latest([0])) == [(0, 1, 3.0, 0)]
        assert [entry.tag for entry in read.offline] == [0]
        found = fewer.buckets([0], START, START + 9 * SECOND, 1)
        assert {tag: each.count.tolist() for tag, each in found.items()} == {0: [1]}
        fewer.append(batch((0, 1, 3.0), (0, 2, 4.0)))
        assert len(self.everything(opened(TAGS))) == 4

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
        if not self.deletes:
            assert historian.retain(START + 3 * SECOND) == 0
            assert len(self.everything(historian)) == 3
            return
        assert historian.retain(START + 3 * SECOND) == 2
        assert self.everything(historian) == [(0, 4, 2.0, 0)]
        assert historian.events(0, 2**62) == [new]
        assert rows(historian.latest([0, 1])) == [(0, 4, 2.0, 0)]
        assert historian.retain(START + 3 * SECOND) == 0
        historian.append(batch((1, 2, 3.0)))
        assert len(self.everything(historian)) == 2

    def test_times_are_kept_as_finely_as_it_says(self, opened: Open) -> None:
        historian = opened(TAGS)
        offsets = [1, 400_000, 1_499_999, 1_500_001, 2_000_000]
        times = [START + offset for offset in offsets]
        historian.append(SampleBatch.of([0] * 5, times, [1.0, 2.0, 3.0, 4.0, 5.0]))
        step = self.resolution
        kept = {(offset + step // 2) // step * step: n + 1 for n, offset in enumerate(offsets)}
        read = historian.read([0], START, START + 2_000_001)
        assert (read.time - START).tolist() == list(kept)
        assert read.value.tolist() == list(kept.values())
        upto = historian.read([0], START, START + 2_000_000)
        assert upto.value.tolist() == [value for time, value in kept.items() if time < 2_000_000]

    def test_a_missing_value_replaces_a_known_one_and_the_other_way(self, opened: Open) -> None:
        historian = opened(TAGS)
        historian.append(batch((0, 1, 5.0), (0, 2, math.nan, BAD), (0, 3, 7.0), (0, 4, 1.0, BAD)))
        historian.append(batch((0, 9, 9.0)))
        historian.append(
            batch((0, 1, math.nan, BAD), (0, 2, 2.0), (0, 3, 8.0, UNCERTAIN), (0, 4, -1.0))
        )
        read = historian.read([0], START, START + 9 * SECOND)
        assert read.quality.tolist() == [BAD, GOOD, UNCERTAIN, GOOD]
        assert np.isnan(read.value).tolist() == [True, False, False, False]
        assert read.value[1:].tolist() == [2.0, 8.0, -1.0]
        found = historian.buckets([0], START, START + 10 * SECOND, 1)[0]
        assert (found.minimum[0], found.maximum[0], found.count[0]) == (-1.0, 9.0, 3)

    def test_infinite_values_are_in_no_bucket(self, opened: Open) -> None:
        historian = opened(TAGS)
        historian.append(batch((0, 1, math.inf), (0, 2, 3.0), (0, 3, -math.inf)))
        found = historian.buckets([0], START, START + 10 * SECOND, 1)[0]
        assert (found.minimum[0], found.maximum[0], found.count[0]) == (3.0, 3.0, 1)

    def test_buckets_begin_where_they_are_asked_for(self, opened: Open) -> None:
        historian = opened(TAGS)
        historian.append(batch(*((0, second, float(second)) for second in range(60))))
        found = historian.buckets([0], START + 7 * SECOND, START + 50 * SECOND, 4)[0]
        assert ((found.time - START) / SECOND).tolist() == [7.0, 17.75, 28.5, 39.25]
        assert found.minimum.tolist() == [7.0, 18.0, 29.0, 40.0]
        assert found.count.tolist() == [11, 11, 11, 10]
        with pytest.raises(ValueError, match="at least one bucket"):
            historian.buckets([0], START, START, 5)

    def test_events_of_one_moment_are_all_kept_and_none_twice(self, opened: Open) -> None:
        historian = opened(TAGS)
        told = [
            Event(START, "mode", "coating", "one 'reason', 100 % \"sure\", a=b"),
            Event(START, "mode", "coating", "another\\ reason"),
            Event(START, "mode", "drying", "line one\nline two"),
            Event(START, "gap", "", ""),
        ]
        historian.append(batch(), told)
        historian.append(batch(), told[1:])
        historian.append(batch(), [Event(START, "mode", "coating", "a third")])
        found = sorted(historian.events(START, START + 1), key=str)
        assert found == sorted([*told, Event(START, "mode", "coating", "a third")], key=str)

    def test_a_corrected_laboratory_value_replaces_the_first(self, opened: Open) -> None:
        historian = opened(TAGS)
        of_roll = OfflineMeasurement(2, START, 0.4, roll=3, metre=7.5, known=START + SECOND)
        other = OfflineMeasurement(2, START, 0.6, roll=3, metre=8.5, known=START + SECOND)
        better = OfflineMeasurement(2, START, 0.3, roll=3, metre=7.5, known=START + 2 * SECOND)
        for each in (of_roll, other, better, better):
            historian.append(SampleBatch(*_columns(batch()), (each,)))
        read = opened(TAGS).read([2], START, START + SECOND).offline
        assert sorted(read, key=str) == sorted([better, other], key=str)

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
        found = self.everything(historian)
        assert [(tag, time, quality) for tag, time, _, quality in found] == [
            (tag, time, quality) for tag, time, _, quality in expected
        ]
        assert self.values(found) == pytest.approx(self.values(expected), rel=self.precision, abs=0)
        newest = {tag: (tag, time, value, GOOD) for tag, time, value, _ in expected}
        latest = sorted(rows(historian.latest([0, 1, 2])))
        assert [row[:2] for row in latest] == [newest[tag][:2] for tag in (0, 1, 2)]
        assert self.values(latest) == pytest.approx(
            [newest[tag][2] for tag in (0, 1, 2)], rel=self.precision, abs=0
        )


def _columns(samples: SampleBatch) -> tuple[np.ndarray, ...]:
    return samples.tag, samples.time, samples.value, samples.quality
