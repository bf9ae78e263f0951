"""The store: safe on disk first, then delivered, in order; what it refuses is set aside."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import threading
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from tests.servers import until
from twin import store as store_module
from twin.historian import DuckDBHistorian
from twin.ports import Buckets, Event, Refused
from twin.samples import OfflineMeasurement, SampleBatch
from twin.spool import Spool
from twin.store import Store
from twin.tags import Tag, TagTable

NAMES = [f"tag{number}" for number in range(10)]
TAGS = TagTable([Tag(name, "m", "MP", "actual") for name in NAMES])


class Recalcitrant:
    """A historian in memory that is away, hangs or refuses, as a test says."""

    def __init__(self, settles: float = 0.0) -> None:
        self.settles = settles
        self.away = False
        self.hangs = threading.Event()
        self.hangs.set()
        self.names = False
        """Whether it says what it refuses, and has taken the rest."""
        self.poison: set[tuple[int, int]] = set()
        self.bad_events: set[str] = set()
        self.bad_laboratory: set[int] = set()
        self.samples: dict[tuple[int, int], float] = {}
        self.order: list[tuple[int, int]] = []
        self.kept_events: list[Event] = []
        self.laboratory: list[OfflineMeasurement] = []
        self.appends = 0

    def append(self, batch: SampleBatch, events: Sequence[Event] = ()) -> None:
        self.hangs.wait()
        self.appends += 1
        if self.away:
            raise ConnectionError("nobody answers")
        keys = list(zip(batch.tag.tolist(), batch.time.tolist(), strict=True))
        named = self.poison & set(keys)
        if self.names and named:
            bad = np.array([key in named for key in keys])
            self.keep(batch.where(~bad), events)
            raise Refused("field type conflict", batch.where(bad))
        if named or self.bad_events & {event.text for event in events}:
            raise Refused("field type conflict")
        if self.bad_laboratory & {entry.sampled for entry in batch.offline}:
            raise Refused("no such roll")
        self.keep(batch, events)

    def keep(self, batch: SampleBatch, events: Sequence[Event]) -> None:
        keys = list(zip(batch.tag.tolist(), batch.time.tolist(), strict=True))
        self.order += [key for key in keys if key not in self.samples]
        self.samples.update(zip(keys, batch.value.tolist(), strict=True))
        self.kept_events += events
        self.laboratory += batch.offline

    def read(self, tags: Sequence[int], start: int, end: int) -> SampleBatch:
        raise NotImplementedError

    def latest(self, tags: Sequence[int]) -> SampleBatch:
        raise NotImplementedError

    def buckets(self, tags: Sequence[int], start: int, end: int, count: int) -> dict[int, Buckets]:
        raise NotImplementedError

    def events(self, start: int, end: int) -> list[Event]:
        raise NotImplementedError

    def retain(self, since: int) -> int:
        raise NotImplementedError

    def close(self) -> None:
        """Nothing to let go of."""


def at(time: int, count: int = 10) -> SampleBatch:
    """One sample of each of the first tags."""
    return SampleBatch.of(range(count), [time] * count, [float(time)] * count)


@contextlib.asynccontextmanager
async def storing(
    historian: Recalcitrant | DuckDBHistorian, folder: Path, **more: int
) -> AsyncIterator[Store]:
    spool = Spool(folder, NAMES, historian.settles)
    store = Store(historian, len(NAMES), spool, pause=0.01, **more)
    task = asyncio.create_task(store.run())
    await asyncio.sleep(0)
    try:
        yield store
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        store.close()


@pytest.fixture(autouse=True)
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "COMMIT", 0.001)
    monkeypatch.setattr(store_module, "DELIVER", 0.001)


async def test_what_is_safe_is_told_in_order_whether_or_not_the_historian_answers(
    tmp_path: Path,
) -> None:
    historian = Recalcitrant()
    historian.hangs.clear()
    safe: list[int] = []
    async with storing(historian, tmp_path) as store:
        for time in range(20):
            store.put(at(time), safe=lambda time=time: safe.append(time))
            await asyncio.sleep(0)
        store.put(SampleBatch.of([], [], []), safe=lambda: safe.append(20))
        await until(lambda: len(safe) == 21)
        assert safe == list(range(21))
        assert store.state.spooled == 200
        assert store.state.waiting == 0
        assert store.state.fill > 0
        assert store.stored == 0
        historian.hangs.set()
        await until(lambda: store.waiting == 0)
        assert store.stored == 200
        assert store.state.oldest == 0.0
    assert list(historian.samples) == [(tag, time) for time in range(20) for tag in range(10)]


async def test_a_historian_that_is_away_gets_everything_in_order_later(tmp_path: Path) -> None:
    historian = Recalcitrant()
    historian.away = True
    async with storing(historian, tmp_path) as store:
        for time in range(300):
            store.put(at(time), [Event(time, "splice", "coater", str(time))])
            await asyncio.sleep(0)
        await until(lambda: store.error is not None and store.state.waiting == 0)
        assert store.error == "nobody answers"
        assert store.state.spooled == 300 * 11
        historian.away = False
        await until(lambda: store.waiting == 0)
        assert store.error is None
    assert historian.order == [(tag, time) for time in range(300) for tag in range(10)]
    assert [event.time for event in historian.kept_events] == list(range(300))


async def test_what_an_ended_twin_left_is_delivered_by_the_next(tmp_path: Path) -> None:
    historian = Recalcitrant()
    historian.away = True
    async with storing(historian, tmp_path) as store:
        store.put(at(1))
    assert historian.samples == {}
    historian.away = False
    async with storing(historian, tmp_path) as store:
        store.put(at(2))
        await until(lambda: len(historian.samples) == 20)
    assert historian.order == [(tag, time) for time in (1, 2) for tag in range(10)]
    assert not [name for name in os.listdir(tmp_path) if name.endswith(".spool")]


async def test_what_is_refused_is_set_aside_and_the_rest_goes_on(tmp_path: Path) -> None:
    historian = Recalcitrant()
    historian.poison = {(3, time) for time in range(0, 100, 7)} | {(5, 50)}
    historian.bad_events = {"bad"}
    historian.bad_laboratory = {2}
    laboratory = tuple(OfflineMeasurement(1, sampled, 1.0, batch=1) for sampled in range(4))
    sent = SampleBatch.concatenate([at(time) for time in range(100)])
    sent = SampleBatch(sent.tag, sent.time, sent.value, sent.quality, laboratory)
    events = [Event(number, "x", "y", text) for number, text in enumerate(["a", "bad", "c", "d"])]
    async with storing(historian, tmp_path) as store:
        store.put(sent, events)
        await until(lambda: store.waiting == 0)
        assert store.error is None
        assert store.stored == 1_000 - len(historian.poison)
        assert store.state.refused == len(historian.poison) + 2
        store.put(at(100))
        await until(lambda: store.waiting == 0)
    assert len(historian.samples) == 1_010 - len(historian.poison)
    assert [event.text for event in historian.kept_events] == ["a", "c", "d"]
    assert [entry.sampled for entry in historian.laboratory] == [0, 1, 3]
    aside = [json.loads(line) for line in (tmp_path / "refused.jsonl").read_text().splitlines()]
    found = {(NAMES.index(name), time) for each in aside for name, time, _, _ in each["samples"]}
    assert found == historian.poison
    assert {each["reason"] for each in aside} == {"field type conflict", "no such roll"}


async def test_what_a_historian_names_is_set_aside_without_looking_for_it(tmp_path: Path) -> None:
    historian = Recalcitrant()
    historian.poison, historian.names = {(3, 7), (4, 8)}, True
    async with storing(historian, tmp_path) as store:
        store.put(SampleBatch.concatenate([at(time) for time in range(10)]))
        await until(lambda: store.waiting == 0)
        assert (store.stored, store.state.refused, historian.appends) == (98, 2, 1)
    assert len(historian.samples) == 98


async def test_looking_for_what_is_refused_has_an_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_module, "ATTEMPTS", 30)
    historian = Recalcitrant()
    historian.poison = {(tag, time) for tag in range(10) for time in range(0, 200, 2)}
    async with storing(historian, tmp_path) as store:
        store.put(SampleBatch.concatenate([at(time) for time in range(200)]))
        await until(lambda: store.waiting == 0)
        assert store.stored + store.state.refused == 2_000
        assert historian.appends < 120


async def test_what_had_not_settled_is_sent_again_after_a_failure(tmp_path: Path) -> None:
    historian = Recalcitrant(settles=30.0)
    async with storing(historian, tmp_path) as store:
        store.put(at(1))
        await until(lambda: len(historian.samples) == 10)
        historian.samples.clear()  # a crash loses what had been acknowledged
        historian.away = True
        store.put(at(2))
        await until(lambda: store.error is not None)
        historian.away = False
        await until(lambda: len(historian.samples) == 20)
    # and what had not settled at the end comes once more at the next start
    historian.samples.clear()
    async with storing(historian, tmp_path) as store:
        await until(lambda: len(historian.samples) == 20)


async def test_a_spool_that_cannot_write_does_not_stop_a_historian_that_can(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    historian = Recalcitrant()

    def full(*_: object) -> None:
        raise OSError("no space left on device")

    async with storing(historian, tmp_path) as store:
        with monkeypatch.context() as patched:
            patched.setattr("os.fdatasync", full)
            store.put(at(1))
            await until(lambda: len(historian.samples) == 10)
            assert store.state.spool_error == "no space left on device"
            assert store.state.error is None
        store.put(at(2))
        await until(lambda: len(historian.samples) == 20)
        assert store.state.spool_error is None


async def test_where_nothing_takes_samples_those_go_that_no_source_keeps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    historian = Recalcitrant()
    historian.away = True
    safe: list[int] = []

    def full(*_: object) -> None:
        raise OSError("no space left on device")

    async with storing(historian, tmp_path, capacity=100) as store:
        with monkeypatch.context() as patched:
            patched.setattr("os.fdatasync", full)
            for time in range(30):
                acknowledged = time % 5 == 0
                store.put(at(time), safe=(lambda: safe.append(1)) if acknowledged else None)
            await until(lambda: store.state.spool_error is not None and store.error is not None)
            assert safe == []
            assert store.state.dropped == 200
            assert store.state.waiting == 100
        historian.away = False
        await until(lambda: store.waiting == 0)
        assert len(safe) == 6
    times = sorted({time for _, time in historian.samples})
    assert times == [0, 5, 10, 15, 20, 25, 26, 27, 28, 29]


async def test_duckdb_keeps_one_row_however_often_a_spool_is_replayed(tmp_path: Path) -> None:
    events = [Event(time, "splice", "coater", "") for time in range(50)]
    for _ in range(3):
        with Spool(tmp_path / "spool", NAMES) as spool:  # as a kill leaves it
            for time in range(50):
                spool.append(at(time), events[time : time + 1])
        historian = DuckDBHistorian(tmp_path / "h.duckdb", TAGS)
        async with storing(historian, tmp_path / "spool") as store:
            await until(lambda: store.waiting == 0)
    with DuckDBHistorian(tmp_path / "h.duckdb", TAGS) as historian:
        assert len(historian.read(range(10), 0, 100)) == 500
        assert historian.events(0, 100) == events
        np.testing.assert_array_equal(historian.latest([0]).value, [49.0])
