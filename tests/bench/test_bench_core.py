"""Recorded batches through ingest, tracker, predictor and comparator, on one core."""

from __future__ import annotations

import time

import numpy as np
import pytest
import yaml

from tests.in_process import ROOT, LineInProcess, make_core
from twin.comparison import Comparison
from twin.configuration.models import LineConfiguration
from twin.prediction import Prediction
from twin.samples import SampleBatch

TAGS = 100
RATE = 10
"""Samples per tag and second."""
MINUTES = 40


def busy_line() -> LineConfiguration:
    """The bundled line with further tags, as a line has them that no step asks for."""
    content = yaml.safe_load((ROOT / "config" / "line.yaml").read_text())
    for number in range(TAGS - len(content["tags"])):
        content["tags"][f"coater.other_{number}"] = {
            "unit": "degC",
            "class": "MP",
            "role": "actual",
            "connector": "coater",
            "address": {"node": f"nsu=urn:linetwin:virtual-line;s=Other{number}"},
            "limits": [-50, 300],
        }
    return LineConfiguration.model_validate(content)


def recording(line: LineConfiguration) -> list[SampleBatch]:
    """The virtual line's recording at 10 Hz for every tag, in batches of one minute."""
    run = LineInProcess("nominal", metres=100, accept=False)
    stream = SampleBatch.concatenate(run.recorded(10.0))
    start = int(stream.time.min())
    count = MINUTES * 60 * RATE
    times = start + np.arange(count, dtype=np.int64) * (1_000_000_000 // RATE)
    columns = []
    draw = np.random.default_rng(1)
    names = list(line.tags)
    for index in range(TAGS):
        mine = np.flatnonzero(stream.tag == index)
        order = mine[np.argsort(stream.time[mine], kind="stable")]
        if len(order) < 2:
            values = 23.0 + 273.15 + draw.standard_normal(count)
            if len(order):
                values = np.full(count, stream.value[order[0]])
        elif names[index].endswith("web_length"):
            values = np.interp(times, stream.time[order], stream.value[order])
        else:
            held = np.maximum(np.searchsorted(stream.time[order], times, "right") - 1, 0)
            values = stream.value[order][held]
        columns.append(values)
    table = np.column_stack(columns)
    per = 60 * RATE
    tags = np.tile(np.arange(TAGS, dtype=np.int32), per)
    return [
        SampleBatch(
            tags,
            np.repeat(times[row : row + per], TAGS),
            table[row : row + per].ravel(),
            np.zeros(per * TAGS, np.uint32),
        )
        for row in range(0, count, per)
    ]


@pytest.mark.bench
def test_recorded_batches_through_the_core() -> None:
    line = busy_line()
    batches = recording(line)
    samples = sum(map(len, batches))
    core = make_core(line)
    predicted = compared = 0
    began = time.process_time()
    for batch in batches:
        for event in core.feed(batch, int(batch.time[-1])):
            predicted += len(event.segments) if isinstance(event, Prediction) else 0
            compared += len(event.segments) if isinstance(event, Comparison) else 0
    took = time.process_time() - began
    began = time.process_time()
    for batch in batches:
        order = np.argsort(batch.tag, kind="stable")
        _ = batch.time[order], batch.value[order], batch.quality[order]
    sorting = time.process_time() - began
    print(  # noqa: T201
        f"\n{samples:,} samples, {predicted} predictions, {compared} comparisons: "
        f"{samples / took / 1e6:.2f} million samples/s of one core, "
        f"{took / sorting:.1f} times the CPU of numpy sorting the same batches by tag"
    )
    assert predicted > 300
    assert compared > 300
