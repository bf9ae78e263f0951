"""Ten minutes of line time at 5 000 samples a second without a historian; and one that crashes."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path

import duckdb
import numpy as np
import pytest

from connectors.victoria_metrics import VictoriaMetricsHistorian
from tests.faults.scene import MILLISECOND, Reckoning, reckon
from tests.faults.test_disk_full import fill, small_disk
from tests.servers import until
from tests.stores import VictoriaMetrics
from twin import store as store_module
from twin.configuration.historians import VictoriaHistorianConfiguration
from twin.historian import DuckDBHistorian
from twin.samples import SampleBatch
from twin.spool import Spool
from twin.store import OpenHistorian, Store
from twin.tags import Tag, TagTable

__all__ = ["small_disk"]

TAGS = TagTable([Tag(f"tag{number}", "m", "MP", "actual") for number in range(50)])
RATE = 5_000
"""Samples per second of line time."""
SECOND = RATE // len(TAGS)
"""Rows of every tag in a second, a millisecond apart."""
LONG = [30, pytest.param(600, marks=pytest.mark.faults)]
"""Seconds of line time."""


def second(start: int, number: int) -> SampleBatch:
    """All samples of a second of the line, `value` being the row's number."""
    row = np.repeat(np.arange(number * SECOND, (number + 1) * SECOND), len(TAGS))
    return SampleBatch(
        np.tile(np.arange(len(TAGS), dtype=np.int32), SECOND),
        start + row * MILLISECOND,
        row.astype(np.float64),
        np.zeros(len(row), np.uint32),
    )


@contextlib.asynccontextmanager
async def storing(historian: OpenHistorian, folder: Path) -> AsyncIterator[Store]:
    spool = Spool(folder, [tag.name for tag in TAGS], historian.settles)
    store = Store(historian, len(TAGS), spool, pause=0.1)
    task = asyncio.create_task(store.run())
    try:
        yield store
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        store.close()


async def give(store: Store, start: int, seconds: range) -> None:
    """Ten batches of a second each, faster than life, as the spool takes them."""
    for number in seconds:
        whole = second(start, number)
        for part in range(0, len(whole), RATE // 10):
            store.put(whole.between(part, part + RATE // 10))
        await store.room(4 * RATE)


@pytest.mark.parametrize("seconds", LONG)
async def test_duckdb_that_cannot_write(tmp_path: Path, small_disk: Path, seconds: int) -> None:
    start = time.time_ns() // MILLISECOND * MILLISECOND
    file = small_disk / "historian.duckdb"
    sent = seconds * RATE
    async with storing(DuckDBHistorian(file, TAGS), tmp_path / "spool") as store:
        await give(store, start, range(2))
        await until(lambda: store.waiting == 0)
        ballast = fill(small_disk)
        await give(store, start, range(2, seconds))
        await until(lambda: store.error is not None)
        assert store.state.spooled > sent * 0.8
        spooled = store.state.spool_bytes
        os.remove(ballast)
        began = time.monotonic()
        await until(lambda: store.waiting == 0, 300)
        took = time.monotonic() - began
        assert store.dropped == 0
    reckoning = reckon(file, start, sent, len(TAGS))
    reckoning.more = {"spool MB": spooled // 10**6, "caught up in s": round(took, 1)}
    reckoning.show(f"DuckDB away for {seconds} s of line time")
    assert (reckoning.lost, reckoning.duplicated) == (0, 0)


@pytest.mark.parametrize("seconds", LONG)
async def test_victoria_metrics_that_is_killed_and_away(tmp_path: Path, seconds: int) -> None:
    # it keeps nothing older than its retention, nor much newer than now
    start = (time.time_ns() // MILLISECOND - 1000 * seconds) * MILLISECOND
    sent = seconds * RATE
    with VictoriaMetrics(tmp_path / "victoria") as server:
        address = VictoriaHistorianConfiguration(kind="victoria_metrics", url=server.url)
        historian = VictoriaMetricsHistorian(address, "line", TAGS)
        async with storing(historian, tmp_path / "spool") as store:
            await give(store, start, range(5))
            await until(lambda: store.waiting == 0, 60)
            server.kill()  # and loses what it took in the last seconds
            await give(store, start, range(5, seconds))
            await until(lambda: store.error is not None, 60)
            server.start()
            await until(lambda: store.waiting == 0, 300)
            server.kill()
            server.start()
            await give(store, start, range(seconds, seconds + 1))
            await until(lambda: store.waiting == 0, 300)
            assert store.dropped == 0
            reader = VictoriaMetricsHistorian(address, "line", TAGS)
            stored = duplicated = 0
            for first in range(0, seconds + 1, 20):
                end = min(first + 20, seconds + 1)
                span = (start + first * SECOND * MILLISECOND, start + end * SECOND * MILLISECOND)
                read = await asyncio.to_thread(reader.read, range(len(TAGS)), *span)
                right = read.value == (read.time - start) // MILLISECOND
                keys = np.unique(read.tag.astype(np.int64) * 10**8 + read.value.astype(np.int64))
                stored += len(keys)
                duplicated += int(right.sum()) - len(keys)
            reader.close()
    reckoning = Reckoning(sent + RATE, stored, duplicated, {"kills": 2})
    reckoning.show(f"VictoriaMetrics killed, and away for {seconds} s of line time")
    assert (reckoning.lost, reckoning.duplicated) == (0, 0)


async def test_what_was_spooled_is_replayed_while_new_samples_come(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_module, "DELIVER", 0.0)
    start = time.time_ns() // MILLISECOND * MILLISECOND
    with Spool(tmp_path / "spool", [tag.name for tag in TAGS]) as spool:
        for number in range(20):
            spool.append(second(start, number))
    file = tmp_path / "historian.duckdb"
    async with storing(DuckDBHistorian(file, TAGS), tmp_path / "spool") as store:
        await give(store, start, range(20, 40))
        await until(lambda: store.waiting == 0, 60)
    with duckdb.connect(str(file), read_only=True) as database:
        order = database.execute("SELECT time FROM samples WHERE tag = 0 ORDER BY rowid").fetchall()
    assert order == sorted(order)
    reckoning = reckon(file, start, 40 * RATE, len(TAGS))
    reckoning.show("replayed while new samples come")
    assert (reckoning.lost, reckoning.duplicated) == (0, 0)
