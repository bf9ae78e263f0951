"""What a checkpoint costs after weeks, and how fast what came after it is made up."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest

from tests.in_process import line_configuration, make_core
from tests.twin.streams import busy_stream
from twin import snapshot

ROUNDS = 20


@pytest.mark.bench
def test_a_checkpoint_beside_the_line(tmp_path: Path) -> None:
    line, stream = line_configuration(), busy_stream()
    core = make_core(line)
    half = len(stream) // 2
    core.feed(stream.between(0, half), int(stream.time[half]))
    # the table is full after 8 km
    core.table.open(np.arange(100, 100 + 16_384))
    core.snapshot()
    pauses, feeds, writes = [], [], []
    file = tmp_path / "state.npz"
    size = 0
    for start in range(half, len(stream), (len(stream) - half) // ROUNDS):
        batch = stream.between(start, start + (len(stream) - half) // ROUNDS)
        began = time.thread_time()
        core.feed(batch, int(batch.time.max()))
        feeds.append((time.thread_time() - began) / len(batch))
        began = time.thread_time()
        state = core.snapshot()
        pauses.append(time.thread_time() - began)
        began = time.thread_time()
        size = snapshot.write(file, state)
        writes.append(time.thread_time() - began)
    again = make_core(line)
    began = time.thread_time()
    again.restore(snapshot.read(file))
    restore = time.thread_time() - began
    per_sample = float(np.median(feeds))
    pause = float(np.median(pauses))
    print(  # noqa: T201
        f"\ncheckpoint of {size / 1e6:.1f} MB: the loop is held up by {1e3 * pause:.1f} ms of CPU "
        f"(at worst {1e3 * max(pauses):.1f}), as long as for {pause / per_sample:.0f} samples; "
        f"written in {1e3 * float(np.median(writes)):.0f} ms beside it; "
        f"read and restored in {1e3 * restore:.0f} ms; "
        f"30 s of 2 000 samples/s made up in {60_000 * per_sample:.2f} s"
    )
    assert size > 10e6
