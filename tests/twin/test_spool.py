"""The spool: what is on disk comes back, in order; what cannot come back is counted."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twin.ports import Event
from twin.samples import OfflineMeasurement, SampleBatch
from twin.spool import Spool, SpoolError
from twin.spool_record import HEAD, encode, find

TAGS = ("speed", "gap", "loading")
ROOT = Path(__file__).parents[2]


def batch(first: int, count: int, tag: int = 0) -> SampleBatch:
    """Samples whose value and time are their number."""
    numbers = np.arange(first, first + count)
    return SampleBatch(
        np.full(count, tag, np.int32),
        numbers,
        numbers.astype(np.float64),
        np.zeros(count, np.uint32),
    )


def take_all(spool: Spool, delivered: bool = True) -> list[float]:
    """The values of everything that comes, in order."""
    values: list[float] = []
    while (chunk := spool.read()) is not None:
        values += chunk.batch.value.tolist()
        if delivered:
            spool.delivered(chunk.end)
    return values


def files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.spool"))


class Time:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def wall(self) -> int:
        return int(self.now * 1e9)

    def steady(self) -> float:
        return self.now


def test_everything_comes_back_as_it_was(tmp_path: Path) -> None:
    values = [1.0, float("nan"), float("inf"), -0.0]
    sent = SampleBatch.of([0, 1, 2, 0], [1, 2**62, 3, 4], values, [0, 0x80310000, 0x40000000, 0])
    offline = (
        OfflineMeasurement(2, 7, 0.1 + 0.2, roll=3, metre=41.5, known=9),
        OfflineMeasurement(1, 8, float("nan"), batch=7),
    )
    sent = SampleBatch(sent.tag, sent.time, sent.value, sent.quality, offline)
    events = (Event(5, "gap", "coater", "µ \ud800 was away"),)
    with Spool(tmp_path, TAGS) as spool:
        spool.append(sent, events)
    with Spool(tmp_path, TAGS) as spool:
        assert spool.undelivered == 7
        chunk = spool.read()
        assert chunk is not None
        assert spool.read() is None
    for name in ("tag", "time", "value", "quality"):
        found = getattr(chunk.batch, name)
        assert found.tobytes() == getattr(sent, name).tobytes()
    assert chunk.batch.offline[0] == offline[0]
    assert repr(chunk.batch.offline[1]) == repr(offline[1])
    assert chunk.events == events


def test_what_was_delivered_is_gone_and_the_rest_waits(tmp_path: Path) -> None:
    with Spool(tmp_path, TAGS, segment=500) as spool:
        for number in range(5):
            spool.append(batch(number * 40, 40))
        assert len(files(tmp_path)) == 5
        chunk = spool.read()
        assert chunk is not None
        spool.delivered(chunk.end)
        assert spool.undelivered == 160
        assert len(files(tmp_path)) == 4
    with Spool(tmp_path, TAGS, segment=500) as spool:
        assert take_all(spool) == list(range(40, 200))
        spool.append(batch(200, 1))
        assert take_all(spool) == [200.0]
    assert files(tmp_path) == []


def test_a_failed_delivery_is_read_again(tmp_path: Path) -> None:
    with Spool(tmp_path, TAGS) as spool:
        spool.append(batch(0, 3))
        first = spool.read()
        spool.append(batch(3, 3))
        spool.rewind()
        assert first is not None
        assert take_all(spool) == list(range(6))


def test_a_great_batch_is_cut_and_read_in_pieces(tmp_path: Path) -> None:
    with Spool(tmp_path, TAGS, segment=10_000_000) as spool:
        spool.append(batch(0, 120_000), [Event(1, "a", "b", "c")])
        spool.append(batch(120_000, 10))
        chunks = []
        while (chunk := spool.read()) is not None:
            chunks.append(chunk)
            spool.delivered(chunk.end)
        assert [len(chunk.batch) for chunk in chunks] == [50_000, 50_000, 20_010]
        assert np.concatenate([c.batch.value for c in chunks]).tolist() == list(range(120_010))
        assert spool.undelivered == 0


def test_what_has_not_settled_is_kept_and_sent_again_after_a_failure(tmp_path: Path) -> None:
    clock = Time()
    with Spool(tmp_path, TAGS, 30.0, segment=500, wall=clock.wall, steady=clock.steady) as spool:
        for number in range(50):
            spool.append(batch(number, 1))
            assert take_all(spool) == [float(number)]
            clock.now += 1.0
        spool.append(batch(50, 1))
        chunk = spool.read()
        assert chunk is not None
        spool.rewind()
        again = take_all(spool)
        # delivered at 20, the sample of that second may have gone with the crash at 50
        assert again == list(range(20, 51))
        spool.append(batch(51, 1))
    with Spool(tmp_path, TAGS, 30.0, wall=clock.wall, steady=clock.steady) as spool:
        assert set(range(20, 52)) <= set(take_all(spool))


def test_a_full_spool_drops_the_oldest_and_counts_them(tmp_path: Path) -> None:
    with Spool(tmp_path, TAGS, limit=10_000, segment=1_000) as spool:
        for number in range(100):
            spool.append(batch(number * 10, 10))
            assert spool.bytes <= 10_000 + 300
            assert spool.bytes == sum(path.stat().st_size for path in files(tmp_path))
        left = take_all(spool)
        assert left == list(range(1_000 - len(left), 1_000))
        assert spool.dropped == 1_000 - len(left) > 0
        assert spool.undelivered == 0


def test_what_is_being_delivered_is_not_dropped_meanwhile(tmp_path: Path) -> None:
    with Spool(tmp_path, TAGS, limit=10_000, segment=1_000) as spool:
        spool.append(batch(0, 10))
        chunk = spool.read()
        assert chunk is not None
        for number in range(1, 100):
            spool.append(batch(number * 10, 10))
        assert spool.dropped == 0
        spool.delivered(chunk.end)
        left = take_all(spool)
        assert 10 + spool.dropped + len(left) == 1_000


def test_what_is_older_than_the_historian_keeps_is_dropped(tmp_path: Path) -> None:
    clock = Time()
    with Spool(tmp_path, TAGS, age=100.0, segment=100_000, wall=clock.wall) as spool:
        spool.append(batch(0, 5_000))
        clock.now += 60.0
        spool.append(batch(5_000, 5_000))
        assert spool.oldest == pytest.approx(60.0)
        clock.now += 60.0
        spool.append(batch(10_000, 1))
        assert spool.dropped == 5_000
        assert spool.oldest == pytest.approx(60.0)
        assert take_all(spool) == list(range(5_000, 10_001))
        assert spool.oldest == 0.0


@pytest.mark.parametrize("step", [3_600.0, -3_600.0])
def test_a_clock_that_is_set_loses_nothing(tmp_path: Path, step: float) -> None:
    clock = Time()
    clock.now += 10_000.0
    with Spool(tmp_path, TAGS, age=7_200.0, segment=10_000, wall=clock.wall) as spool:
        spool.append(batch(0, 1_500))
        clock.now += step
        spool.append(batch(1_500, 1_500))
        assert spool.oldest == max(step, 0.0)
        assert take_all(spool) == list(range(3_000))
        assert spool.dropped == 0


def test_a_torn_end_is_cut_off_and_counted(tmp_path: Path) -> None:
    with Spool(tmp_path, TAGS) as spool:
        spool.append(batch(0, 10))
        spool.append(batch(10, 10))
    (path,) = files(tmp_path)
    whole = path.stat().st_size
    for cut in (1, 100, whole // 2 - 1):
        os.truncate(path, whole - cut)
        with Spool(tmp_path, TAGS) as spool:
            assert spool.torn == 1
            assert take_all(spool, delivered=False) == list(range(10))
            spool.append(batch(10, 10))
        with Spool(tmp_path, TAGS) as spool:
            assert spool.torn == 0
            assert take_all(spool, delivered=False) == list(range(20))
            assert spool.damaged == 0
        path.write_bytes(path.read_bytes() + files(tmp_path)[-1].read_bytes())
        files(tmp_path)[-1].unlink()


def test_damage_costs_what_it_hit_and_is_counted(tmp_path: Path) -> None:
    with Spool(tmp_path, TAGS, segment=1_000) as spool:
        for number in range(10):
            spool.append(batch(number * 25, 25))
    paths = files(tmp_path)
    data = bytearray(paths[0].read_bytes())
    data[700] ^= 1
    paths[0].write_bytes(data)
    paths[1].unlink()
    with Spool(tmp_path, TAGS, segment=1_000) as spool:
        found = take_all(spool)
        assert len(found) + spool.damaged == 250
        assert found == sorted(set(found))
        # the record that was hit, and the two of the file that is gone
        assert spool.damaged == 75
        assert spool.undelivered == 0


def test_other_numbers_of_tags_are_told_by_name(tmp_path: Path) -> None:
    with Spool(tmp_path, TAGS) as spool:
        spool.append(batch(0, 2, TAGS.index("loading")))
        lost = OfflineMeasurement(TAGS.index("gap"), 5, 1.5, batch=1)
        mixed = batch(2, 2, TAGS.index("gap"))
        spool.append(SampleBatch(mixed.tag, mixed.time, mixed.value, mixed.quality, (lost,)))
    with Spool(tmp_path, ("loading", "speed")) as spool:
        chunk = spool.read()
        assert chunk is not None
        assert chunk.batch.tag.tolist() == [0, 0]
        assert spool.refused == 3
        spool.rewind()
        assert len(take_all(spool)) == 2
        assert spool.refused == 3
    (aside,) = map(json.loads, (tmp_path / "refused.jsonl").read_text().splitlines())
    assert aside["samples"] == [["gap", 2, 2.0, 0], ["gap", 3, 3.0, 0]]
    assert aside["laboratory"][0]["tag"] == "gap"
    assert "no such tag" in aside["reason"]


def test_one_folder_serves_one_twin(tmp_path: Path) -> None:
    with Spool(tmp_path, TAGS), pytest.raises(SpoolError, match="in use by another twin"):
        Spool(tmp_path, TAGS)
    (tmp_path / "file").write_text("")
    with pytest.raises(SpoolError, match="cannot be used"):
        Spool(tmp_path / "file", TAGS)


@pytest.mark.parametrize("fails", ["pwrite", "fdatasync"])
def test_of_a_failed_write_nothing_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: str
) -> None:
    real: dict[str, Callable[..., int]] = {"pwrite": os.pwrite, "fdatasync": os.fdatasync}

    def full(file: int, data: bytes = b"", offset: int = 0) -> int:
        if fails == "pwrite":
            real["pwrite"](file, data[: len(data) // 2], offset)
        raise OSError(errno.ENOSPC, "no space left on device")

    with Spool(tmp_path, TAGS) as spool:
        for first in (0, 10):
            with monkeypatch.context() as patched:
                patched.setattr(os, fails, full)
                with pytest.raises(OSError, match="no space"):
                    spool.append(batch(first + 100, 50))
            spool.append(batch(first, 10))
        assert take_all(spool, delivered=False) == list(range(20))
    with Spool(tmp_path, TAGS) as spool:
        assert take_all(spool) == list(range(20))
        assert (spool.torn, spool.damaged) == (0, 0)


WRITER = """
import sys
from pathlib import Path
from tests.twin.test_spool import TAGS, batch
from twin.spool import Spool
with Spool(Path(sys.argv[1]), TAGS) as spool:
    count = int(sys.argv[2])
    while True:
        spool.append(batch(count, 300))
        count += 300
        print(count, flush=True)
"""


def test_a_kill_loses_nothing_that_was_on_disk(tmp_path: Path) -> None:
    safe = 0
    for trial in range(3):
        process = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path), str(safe)],
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        assert process.stdout is not None
        with process:
            for line in process.stdout:
                safe = int(line) if line.strip().isdigit() else safe
                if safe > (trial + 1) * 60_000:
                    process.kill()
        with Spool(tmp_path, TAGS) as spool:
            found = take_all(spool, delivered=False)
            assert found == list(range(len(found)))
            assert len(found) >= safe
            assert spool.damaged == 0
            safe = len(found)


def records(data: bytes) -> list[int]:
    """How many rows each record has."""
    found, end = [], 0
    while (record := find(data, end)) is not None:
        found.append(record.rows)
        end = record.end
    return found


@st.composite
def damage(draw: st.DrawFn) -> Callable[[bytes], bytes]:
    """Something that happens to a file."""
    at = draw(st.integers(0, 2**16))
    piece = draw(st.binary(max_size=80))
    kind = draw(st.sampled_from(["cut", "overwrite", "insert", "remove", "repeat", "replace"]))

    def do(data: bytes) -> bytes:
        here = at % (len(data) + 1)
        return {
            "cut": data[:here],
            "overwrite": data[:here] + piece + data[here + len(piece) :],
            "insert": data[:here] + piece + data[here:],
            "remove": data[:here] + data[here + len(piece) :],
            "repeat": data + data[here:],
            "replace": piece,
        }[kind]

    return do


@settings(max_examples=60, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 30), min_size=1, max_size=12),
    hits=st.lists(st.tuples(st.integers(0, 20), damage()), min_size=1, max_size=4),
)
def test_whatever_happens_to_the_files_no_row_goes_silently(
    tmp_path_factory: pytest.TempPathFactory,
    sizes: list[int],
    hits: list[tuple[int, Callable[[bytes], bytes]]],
) -> None:
    folder = tmp_path_factory.mktemp("spool")
    with Spool(folder, TAGS, segment=700, age=1e6) as spool:
        sent = 0
        for size in sizes:
            spool.append(batch(sent, size))
            sent += size
        kept = set(range(sent))
    *_, last = files(folder)
    whole = last.read_bytes()
    for number, hit in hits:
        paths = [*files(folder), *folder.glob("tags-*.json")]
        path = paths[number % len(paths)]
        path.write_bytes(hit(path.read_bytes()))
    left = last.read_bytes()
    if left and whole.startswith(left):
        # an end that was cut between two records looks as if it had never been written
        first, end = int(last.stem), 0
        for record in records(whole):
            kept -= set(range(first, first + record)) if end >= len(left) else set()
            first, end = first + record, end + HEAD + 24 * record
    with Spool(folder, TAGS, age=1e6) as spool:
        found = take_all(spool)
        missing = kept - {int(value) for value in found}
        assert set(found) <= kept
        # a hit on the very end looks like a write that was cut short
        assert not missing or spool.torn or spool.damaged >= len(missing)
        assert spool.undelivered == 0
        spool.append(batch(sent, 3))
        assert take_all(spool) == [sent, sent + 1, sent + 2]


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=300))
def test_any_bytes_are_read(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    folder = tmp_path_factory.mktemp("spool")
    whole = b"".join(encode(batch(7, 3), (), 7, 0, 0))
    (folder / f"{0:020}.spool").write_bytes(data + whole + data)
    (folder / "tags-00000000.json").write_bytes(data)
    with Spool(folder, TAGS, age=1e12) as spool:
        take_all(spool)
        assert spool.damaged >= 7 - len(data)
