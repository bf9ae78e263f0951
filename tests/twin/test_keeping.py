"""What the embedded historian does over months: means of old samples, and backups while it runs."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest

from twin.historian import DuckDBHistorian
from twin.ports import Event
from twin.samples import BAD_NO_DATA, SampleBatch
from twin.tags import Tag, TagTable

S = 1_000_000_000
MINUTE = 60 * S
HOUR = 60 * MINUTE
START = 500_000 * HOUR
TAGS = TagTable(
    [
        Tag("speed", "m/s", "MP", "actual"),
        Tag("roll", "dimensionless", "MP", "counter"),
        Tag("gauge", "m", "SP", "measurement"),
    ]
)


def batch(tag: int, times: list[int], values: list[float], bad: bool = False) -> SampleBatch:
    quality = [BAD_NO_DATA if bad else 0] * len(times)
    return SampleBatch.of([tag] * len(times), times, values, quality)


def thin(historian: DuckDBHistorian, before: int) -> int:
    turns = 0
    while historian.thin(before):
        turns += 1
    return turns


def test_of_old_samples_a_mean_per_minute_is_kept(tmp_path: Path) -> None:
    with DuckDBHistorian(tmp_path / "h.duckdb", TAGS) as historian:
        historian.append(batch(0, [START + 10 * S, START + 20 * S], [1.0, 3.0]))
        historian.append(batch(0, [START + 30 * S], [np.nan], bad=True))
        historian.append(batch(1, [START + 10 * S, START + 50 * S], [7.0, 8.0]))
        historian.append(batch(2, [START + MINUTE, START + MINUTE + S], [np.nan] * 2, bad=True))
        historian.append(batch(0, [START + 5 * HOUR], [5.0]))
        historian.append(batch(0, [START + 9 * HOUR + n * S for n in range(60)], [1.0] * 60))
        assert thin(historian, START + 9 * HOUR) == 2
        found = historian.read([0, 1, 2], START, START + 6 * HOUR)
        assert found.tag.tolist() == [0, 1, 2, 0]
        assert found.time.tolist() == [START, START, START + MINUTE, START + 5 * HOUR]
        np.testing.assert_array_equal(found.value, [2.0, 8.0, np.nan, 5.0])
        assert found.quality.tolist() == [0, 0, BAD_NO_DATA, 0]
        assert len(historian.read([0], START + 9 * HOUR, START + 10 * HOUR)) == 60
        assert thin(historian, START + 9 * HOUR) == 0
        assert thin(historian, START + 9 * HOUR + MINUTE // 2) == 0
        assert thin(historian, START + 9 * HOUR + 2 * MINUTE) == 1
        assert len(historian.read([0], START + 9 * HOUR, START + 10 * HOUR)) == 1
    with DuckDBHistorian(tmp_path / "h.duckdb", TAGS) as historian:
        assert thin(historian, START + 9 * HOUR + 2 * MINUTE) == 0
        assert historian.latest([0]).value.tolist() == [1.0]


def test_nothing_is_thinned_where_nothing_is_old(tmp_path: Path) -> None:
    with DuckDBHistorian(tmp_path / "h.duckdb", TAGS) as historian:
        assert thin(historian, START) == 0
        historian.append(batch(0, [START + n * S for n in range(10)], [1.0] * 10))
        assert thin(historian, START) == 0
        assert len(historian.read([0], START, START + HOUR)) == 10


def test_a_backup_is_whole_while_samples_come_in(tmp_path: Path) -> None:
    historian = DuckDBHistorian(tmp_path / "h.duckdb", TAGS)
    times = np.arange(200_000) * S // 1000 + START
    historian.append(batch(0, times.tolist(), np.arange(200_000.0).tolist()))
    historian.append(SampleBatch.of([], [], []), [Event(START, "gap", "x", "y")])
    going, stop = threading.Event(), threading.Event()

    def back_up() -> None:
        going.set()
        historian.backup(tmp_path / "copy")
        stop.set()

    (tmp_path / "copy").mkdir()
    thread = threading.Thread(target=back_up)
    thread.start()
    going.wait()
    count = 0
    while not stop.is_set() or count < 3:
        count += 1
        historian.append(batch(1, [START + HOUR + count * S], [float(count)]))
    thread.join()
    historian.close()
    with DuckDBHistorian(tmp_path / "copy" / "h.duckdb", TAGS) as copy:
        assert len(copy.read([0], START, START + HOUR)) == 200_000
        assert copy.events(START, START + 1)
        kept = copy.read([1], START, START + 9 * HOUR).value
        assert kept.tolist() == list(range(1, len(kept) + 1))
    with DuckDBHistorian(tmp_path / "h.duckdb", TAGS) as original:
        assert len(original.read([1], START, START + 9 * HOUR)) == count


def test_a_backup_over_an_existing_file_is_refused(tmp_path: Path) -> None:
    with DuckDBHistorian(tmp_path / "h.duckdb", TAGS) as historian:
        historian.append(batch(0, [START], [1.0]))
        (tmp_path / "copy").mkdir()
        historian.backup(tmp_path / "copy")
        with pytest.raises(Exception, match="already exists"):
            historian.backup(tmp_path / "copy")
