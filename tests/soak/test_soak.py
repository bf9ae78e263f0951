"""A twin beside a line for as long as patience lasts: what grows, and what does not.

The virtual line runs so much faster than life that it sends about 2 000 samples a second over
OPC UA and MQTT; half an hour of it is a day and a half of a line at 3 m/min.
"""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import psutil
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from tests.servers import Broker, broker
from tests.system.test_operation import Plant, plant_on, until, write
from twin.configuration.models import LineConfiguration
from twin.control import ask
from twin.historian import DuckDBHistorian
from twin.samples import SampleBatch

__all__ = ["broker"]

MINUTES = float(os.environ.get("SOAK_MINUTES", "30"))
RATE = 2000.0
PER_LINE_SECOND = 28.0
"""Samples that the virtual line sends per second of its own time."""
WARM = min(14.0, 0.6 * MINUTES)
"""Minutes until what is remembered is full: 16 h of the line, of which signals are kept for 6 h and
what was predicted for 2 km, which take 11 h."""
DAY = 86_400 * 10**9
YESTERDAY = 6_000_000
"""Samples in the historian at the start: reading them fills what DuckDB may keep in memory."""
MB = 1e6


@dataclass(frozen=True, slots=True)
class Look:
    """What was seen at one moment."""

    minute: float
    memory: float
    """Resident, MB."""
    files: int
    threads: int
    tasks: float
    received: float
    stored: float
    waiting: float
    lag: float
    """Mean lateness of the event loop so far, ms."""
    behind: float
    """From the newest sample to now, line s."""


def look(plant: Plant, process: psutil.Process, began: float) -> Look:
    """Look at the process from outside, and at what it says of itself."""
    text = ask(plant.folder, {"do": "metrics"}, 60.0)["text"]
    found = {
        sample.name: sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if not sample.labels
    }
    late = found["linetwin_loop_lag_seconds_sum"] / found["linetwin_loop_lag_seconds_count"]
    return Look(
        (time.monotonic() - began) / 60,
        process.memory_info().rss / MB,
        process.num_fds(),
        process.num_threads(),
        found["linetwin_tasks"],
        found["linetwin_core_samples_total"],
        found["linetwin_stored_samples_total"],
        found["linetwin_store_waiting_samples"],
        1000 * late,
        found["linetwin_newest_sample_age_seconds"],
    )


@pytest.fixture
def plant(broker: Broker, tmp_path: Path) -> Iterator[Plant]:
    with plant_on(broker, tmp_path, RATE / PER_LINE_SECOND, metres=100_000) as running:
        # where the machine does not keep up, what comes an hour of the line late is still used
        content = yaml.safe_load(running.config.read_text())
        write(running.config, {**content, "oldest": "7 day"})
        remember_yesterday(running)
        yield running


def remember_yesterday(plant: Plant) -> None:
    """A day before this one in the historian: a line that is not new."""
    line = LineConfiguration.model_validate(yaml.safe_load(plant.config.read_text()))
    tags, random = line.tag_table(), np.random.default_rng(1)
    parts = np.linspace(plant.epoch - DAY, plant.epoch, 61).astype(np.int64)
    with DuckDBHistorian(plant.folder / "historian.duckdb", tags) as historian:
        for start, end in itertools.pairwise(parts.tolist()):
            size = YESTERDAY // (len(parts) - 1)
            historian.append(
                SampleBatch(
                    random.integers(0, len(line.tags), size).astype(np.int32),
                    np.sort(random.integers(start, end, size)),
                    random.normal(size=size),
                    np.zeros(size, np.uint32),
                )
            )


@pytest.mark.soak
def test_nothing_grows(plant: Plant) -> None:
    names = [field.name for field in fields(Look)]
    looks: list[Look] = []
    say("  ".join(f"{name:>9}" for name in names))
    with plant.twin() as running:
        process = psutil.Process(running.pid)
        until(lambda: plant.metres() > 5, 300.0)
        # a backup reads all that the historian has
        copy = {"do": "backup", "folder": str(plant.folder.parent / "backup")}
        assert ask(plant.folder, copy, 300.0)["ok"]
        began = time.monotonic()
        pause = max(5.0, MINUTES * 60 / 60)
        while time.monotonic() - began < MINUTES * 60:
            looks.append(look(plant, process, began))
            say("  ".join(f"{getattr(looks[-1], name):9.1f}" for name in names))
            time.sleep(pause)
        assert running.poll() is None
    table = np.array([[float(getattr(each, name)) for name in names] for each in looks])
    column = dict(zip(names, table.T, strict=True))
    late = column["minute"] >= WARM
    slope = float(np.polyfit(column["minute"][late], column["memory"][late], 1)[0]) * 60
    rate = (table[-1] - table[0])[names.index("received")] / (60 * np.ptp(column["minute"]))
    spread = {name: np.ptp(column[name][late]) for name in ("files", "threads", "tasks")}
    said = ", ".join(f"{name} within {value:.0f}" for name, value in spread.items())
    say(f"{rate:.0f} samples/s; memory {slope:+.1f} MB/h after {WARM:.0f} min; {said}")
    say(f"in 8 h at this slope: {column['memory'][-1] + 8 * slope:.0f} MB")
    # resident memory is noisy: what a line leaves behind for good shows over half an hour
    assert slope < 60 * 30 / MINUTES
    assert spread["files"] <= 6
    assert spread["threads"] <= 4
    assert spread["tasks"] <= 12
    assert column["waiting"][-1] < 20 * RATE


def say(text: str) -> None:
    print(text, flush=True)  # noqa: T201
