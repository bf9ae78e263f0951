"""The disk of the twin is full, and is freed again."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.faults.scene import Gauges, Twin, line, reckon, wait_for
from tests.servers import Broker, broker
from twin.historian import DuckDBHistorian
from twin.ports import HistorianError
from twin.samples import SampleBatch
from twin.tags import Tag, TagTable

__all__ = ["broker"]

RATE = 400
"""Messages per second, of five samples each."""
SIZE = 100
"""MB"""


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of its own, in memory."""
    if os.geteuid() != 0:
        pytest.skip("only root may mount a small disk")
    folder = tmp_path / "disk"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SIZE}m", "tmpfs", folder], check=True)
    yield folder
    subprocess.run(["umount", folder], check=True)


def fill(disk: Path) -> Path:
    """Leave no byte free."""
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file:
        for size in (65_536, 1):
            try:
                while True:
                    file.write(b"x" * size)
            except OSError:
                pass
    return ballast


@pytest.mark.parametrize("seconds", [3.0, pytest.param(20.0, marks=pytest.mark.faults)])
def test_a_full_disk_loses_nothing(broker: Broker, small_disk: Path, seconds: float) -> None:
    folder = small_disk / "twin"
    with Twin(line(broker.port), folder, small_disk.parent / "line.json") as twin:
        twin.start()
        gauges = Gauges(broker.port, RATE)
        wait_for(lambda: twin.figures()["stored"] > 1_000)
        ballast = fill(small_disk)
        wait_for(lambda: twin.figures()["spool_error"] is not None)
        time.sleep(seconds)
        full = twin.figures()
        assert full["error"] is not None
        ballast.unlink()
        wait_for(lambda: twin.figures()["spool_error"] is None)
        sent = gauges.stop()
        twin.quiet()
        figures = twin.stop()
        assert (figures["error"], figures["spool_error"]) == (None, None)
        reckoning = reckon(folder / "historian.duckdb", gauges.start, sent)
    reckoning.more = {"waited in memory": full["waiting"]}
    reckoning.show(f"disk full for {seconds:.0f} s")
    assert full["waiting"] > 0
    assert reckoning.lost == 0
    assert reckoning.duplicated == 0
    assert figures["dropped"] == 0


def test_duckdb_that_gave_up_is_opened_anew(small_disk: Path) -> None:
    tags = TagTable([Tag("a", "m", "MP", "actual")])
    rng = np.random.default_rng(1)

    def piece(number: int) -> SampleBatch:
        times = np.arange(number * 5_000, (number + 1) * 5_000)
        zeros = np.zeros(5_000)
        values = rng.normal(size=5_000)
        return SampleBatch(zeros.astype(np.int32), times, values, zeros.astype(np.uint32))

    with DuckDBHistorian(small_disk / "historian.duckdb", tags) as historian:
        for number in range(20):
            historian.append(piece(number))
        ballast = fill(small_disk)
        with pytest.raises(HistorianError, match="FATAL"):
            historian.retain(0)  # writes the file anew
        with pytest.raises(HistorianError):
            historian.append(piece(20))
        ballast.unlink()
        historian.append(piece(20))
        historian.append(piece(20))
        assert len(historian.read([0], 0, 2**62)) == 21 * 5_000
