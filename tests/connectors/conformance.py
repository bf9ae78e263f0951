"""What every source must do. Give a harness for yours, and run `check` in a test."""

from __future__ import annotations

import asyncio
import math
from typing import Protocol

import numpy as np

from tests.connectors.reading import reading
from tests.servers import until
from twin.ports import Source
from twin.samples import BAD_NO_COMMUNICATION


class Harness(Protocol):
    """A source with a tag of its own, and a peer that the test commands."""

    source: Source
    tag: int
    """Index of a tag whose unit is not SI."""
    scale: float
    """Its unit in SI; without offset."""

    async def emit(self, value: float, time: int) -> None:
        """Let the peer report the value, in the tag's unit, at a source time in whole us."""
        ...

    async def interrupt(self) -> None:
        """Take the peer away."""
        ...

    async def resume(self) -> None:
        """Bring it back."""
        ...


async def check(harness: Harness, size: int) -> None:
    """Run all of it; `size` is the length of the line's tag table."""
    source, tag = harness.source, harness.tag
    assert not source.state.connected
    assert source.state.error
    async with reading(source) as read:
        await read.connected()
        assert source.state.error is None

        start = 1_772_366_400_000_000_000
        for number in range(1, 51):
            await harness.emit(float(number), start + number * 1_000)
        await read.value(tag, 50 * harness.scale)
        rows = [row for row in read.rows(tag) if row[0] > start and row[0] <= start + 50_000]
        assert [row[0] for row in rows] == [start + number * 1_000 for number in range(1, 51)]
        np.testing.assert_allclose(
            [row[1] for row in rows], [number * harness.scale for number in range(1, 51)]
        )
        assert {row[2] for row in rows} == {0}
        assert source.state.received >= 50
        assert source.state.dropped == 0

        await harness.interrupt()
        gap = await read.quality(tag, BAD_NO_COMMUNICATION)
        assert math.isnan(gap[1])
        assert not source.state.connected
        assert source.state.error

        await harness.resume()
        await read.connected()
        await harness.emit(51.0, start + 51_000)
        await read.value(tag, 51 * harness.scale)

        for batch in read.batches:
            assert len(batch.tag) == len(batch.time) == len(batch.value) == len(batch.quality)
            assert (batch.tag.dtype, batch.time.dtype) == (np.int32, np.int64)
            assert (batch.value.dtype, batch.quality.dtype) == (np.float64, np.uint32)
            assert ((batch.tag >= -1) & (batch.tag < size)).all()
            assert (np.isfinite(batch.value) | (batch.quality != 0)).all()

        assert read.task is not None
        read.task.cancel()
        async with asyncio.timeout(2.0):
            await asyncio.gather(read.task, return_exceptions=True)
        await until(lambda: read.task is not None and read.task.done())
