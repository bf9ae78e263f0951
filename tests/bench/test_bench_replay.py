"""A day of a line, recorded, replayed as fast as it can, beside reading the same Parquet alone."""

from __future__ import annotations

import asyncio
import math
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from connectors.recorder import RecordingWriter
from connectors.recording import Recording
from tests.bench.test_bench_core import busy_line
from tests.in_process import EPOCH, ROOT, LineInProcess
from twin.app.line import recorded_surrogates
from twin.app.replay import build_replay
from twin.cli.replaying import ReplayScreen
from twin.configuration.models import LineConfiguration
from twin.historian import DuckDBHistorian
from twin.intervention import Arrivals
from twin.samples import SampleBatch
from twin.store import Store

SECONDS = 86_400
S = 1_000_000_000


@pytest.fixture(scope="module")
def day(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """100 tags at 1 Hz for a day: the virtual line's course, played over and over."""
    line = busy_line()
    folder = tmp_path_factory.mktemp("day") / "recording"
    course = _course(line)
    length = len(course)
    tags = np.tile(np.arange(len(line.tags), dtype=np.int32), 60)
    counters = [
        index for index, name in enumerate(line.tags) if name.endswith(("web_length", ".run"))
    ]
    names = list(line.tags)
    with RecordingWriter(folder, line, "bench") as writer:
        for start in range(0, SECONDS, 60):
            second = start + np.arange(60)
            values = course[second % length].copy()
            for index in counters:
                # a new pass over the course is a new run of the machines: counters begin again
                if names[index].endswith(".run"):
                    values[:, index] += second // length
            moment = np.repeat(EPOCH + second.astype(np.int64) * S, len(line.tags))
            batch = SampleBatch(tags, moment, values.ravel(), np.zeros(len(tags), np.uint32))
            writer.append(Arrivals(batch, moment))
    return folder


def _course(line: LineConfiguration) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    """(seconds, tags) of two hours of the virtual line at 1 Hz, SI."""
    run = LineInProcess("nominal", metres=300, accept=False)
    stream = SampleBatch.concatenate(run.recorded(10.0))
    count = int((stream.time.max() - EPOCH) // S)
    seconds = EPOCH + np.arange(count, dtype=np.int64) * S
    draw = np.random.default_rng(1)
    columns = []
    for index in range(len(line.tags)):
        mine = np.flatnonzero(stream.tag == index)
        order = mine[np.argsort(stream.time[mine], kind="stable")]
        if len(order) == 0:
            columns.append(300.0 + draw.standard_normal(count))
            continue
        held = np.searchsorted(stream.time[order], seconds, "right") - 1
        columns.append(stream.value[order][np.maximum(held, 0)])
    return np.column_stack(columns)


def _replay(recording: Recording, store: Store | None) -> tuple[float, float, ReplayScreen]:
    """Wall and CPU seconds of a replay at full speed."""

    async def play() -> tuple[float, float, ReplayScreen]:
        screen = ReplayScreen(recording.line, store)
        surrogates = recorded_surrogates(recording, recording.line, ROOT / "config")
        replay = build_replay(recording, surrogates, screen, math.inf, with_decisions=True)
        writing = None if store is None else asyncio.create_task(store.run())
        wall, cpu = time.perf_counter(), time.process_time()
        await replay.run()
        if store is not None and writing is not None:
            await store.room(0)
            writing.cancel()
            await asyncio.wait({writing})
        return time.perf_counter() - wall, time.process_time() - cpu, screen

    return asyncio.run(play())


@pytest.mark.bench
@pytest.mark.parametrize("stored", [False, True], ids=["without historian", "with historian"])
def test_a_day_of_a_hundred_tags(day: Path, tmp_path: Path, stored: bool) -> None:
    recording = Recording.open(day)
    count = recording.manifest.samples
    began = time.perf_counter()
    for file in recording.manifest.files:
        with pq.ParquetFile(day / file.name) as parquet:
            for group in range(parquet.num_row_groups):
                parquet.read_row_group(group, use_threads=False)
    reading = time.perf_counter() - began
    store = None
    if stored:
        tags = recording.line.tag_table()
        store = Store(DuckDBHistorian(tmp_path / "h.duckdb", tags), len(recording.line.tags))
    wall, cpu, screen = _replay(recording, store)
    if store is not None:
        assert store.stored == count
        store.close()
    judged = sum(each.count for each in screen.status.parameters.values())
    print(  # noqa: T201
        f"\n{count:,} samples, {screen.status.metres:.0f} m, {judged:,} comparisons "
        f"{'with' if stored else 'without'} historian: {wall:.1f} s ({cpu:.1f} s of CPU), "
        f"{count / wall / 1e6:.2f} million samples/s, {wall / reading:.1f} times the time of "
        f"pyarrow alone reading the same Parquet ({reading:.2f} s)"
    )
    assert judged > 10_000
