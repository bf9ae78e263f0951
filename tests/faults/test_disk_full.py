"""The disk of the twin is full, and is freed again."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.scene import Gauges, Twin, line, reckon, wait_for
from tests.servers import Broker, broker

__all__ = ["broker"]

RATE = 400
"""Messages per second, of five samples each."""
SIZE = 24
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
