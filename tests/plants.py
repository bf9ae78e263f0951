"""Recordings of plants that differ from the data sheet, made without a twin."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from connectors.recorder import RecordingWriter
from simulators.scenario import parse_scenario
from tests.in_process import ROOT, LineInProcess, line_configuration
from twin.app.line import load_surrogates
from twin.intervention import Arrivals
from twin.samples import SampleBatch

WORN = """
name: a worn pump that slips, and rolls that are each made in another way
metres: {metres}
plant:
  coater: {{roll_length_m: 20}}
  laboratory: {{delay_min: 2}}
  deviations: {{pump_slip: 0.06, pump_error: [0.0, 0.004], coefficient_spread: 0.01}}
actions:
  - {{at: {{metre: 12}}, do: set, signal: Coater.PumpFlow.Setpoint, value: 85}}
  - {{at: {{metre: 24}}, do: set, signal: Coater.LineSpeed.Setpoint, value: 4.0}}
  - {{at: {{metre: 36}}, do: set, signal: Coater.PumpFlow.Setpoint, value: 110}}
  - {{at: {{metre: 48}}, do: set, signal: Coater.LineSpeed.Setpoint, value: 3.0}}
  - {{at: {{metre: 60}}, do: set, signal: Coater.PumpFlow.Setpoint, value: 90}}
  - {{at: {{metre: 72}}, do: set, signal: Coater.LineSpeed.Setpoint, value: 3.5}}
  - {{at: {{metre: 84}}, do: set, signal: Coater.PumpFlow.Setpoint, value: 100}}
"""


def worn_pump(folder: Path, seed: int, metres: float = 105, shuffled: int | None = None) -> Path:
    """A recording of a plant whose pump delivers some 5 % less than it says.

    Args:
        folder: of the recording; must not be there.
        seed: of the plant and its noise.
        metres: of web.
        shuffled: seed with which the readings of every gauge are dealt out anew.
    """
    line = line_configuration()
    plant = LineInProcess(parse_scenario(WORN.format(metres=metres)), seed, line=line)
    pieces = [(batch, plant.line.now_ns) for batch in plant.recorded()]
    if shuffled is not None:
        pieces = _shuffled(pieces, np.random.default_rng(shuffled))
    models = {
        step: (surrogate.version, surrogate.file)
        for step, surrogate in load_surrogates(line, ROOT).items()
    }
    with RecordingWriter(folder, line, "test", models) as recorder:
        for batch, now in pieces:
            recorder.append(Arrivals.at(now, batch))
    return folder


def _shuffled(
    pieces: list[tuple[SampleBatch, int]], draw: np.random.Generator
) -> list[tuple[SampleBatch, int]]:
    """Every gauge reads what it read at another time."""
    lengths = [len(batch) for batch, _ in pieces]
    whole = SampleBatch.concatenate([batch for batch, _ in pieces])
    value = whole.value.copy()
    gauges = [
        index
        for index, (name, tag) in enumerate(line_configuration().tags.items())
        if tag.role == "measurement" or name == "calender.line_load"
    ]
    for tag in gauges:
        rows = np.flatnonzero(whole.tag == tag)
        value[rows] = value[draw.permutation(rows)]
    parts = np.split(value, np.cumsum(lengths)[:-1])
    return [
        (SampleBatch(batch.tag, batch.time, part, batch.quality, batch.offline), now)
        for (batch, now), part in zip(pieces, parts, strict=True)
    ]
