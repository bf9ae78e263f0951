"""The data of a step: rows of one recording, with and without a model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from connectors.recorder import RecordingWriter
from connectors.recording import Recording
from surrogates.composition import export_calibrated
from surrogates.onnx_model import OnnxSurrogate
from tests.in_process import ROOT
from tests.plants import worn_pump
from twin.cli.calibrating import champion_file, fit, step_data, wanted_card
from twin.dataset import NO_ROLL, StepData


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Recording:
    return Recording.open(worn_pump(tmp_path_factory.mktemp("plant") / "day", 1, metres=70))


def without_models(recording: Recording, folder: Path) -> Recording:
    """The same samples of a line that has no model of its coating step yet."""
    steps = {**recording.line.steps}
    steps["coating"] = steps["coating"].model_copy(update={"model": "plant/coating.onnx"})
    line = recording.line.model_copy(update={"steps": steps})
    with RecordingWriter(folder, line, "test") as recorder:
        for arrivals in recording.stream():
            recorder.append(arrivals)
    return Recording.open(folder)


def test_rows_hold_what_the_machine_did_and_what_was_measured_on_it(recording: Recording) -> None:
    champion = champion_file("coating", [recording], ROOT)
    data = step_data("coating", recording, champion, ROOT)
    assert len(data) > 120
    assert (np.diff(data.position) > 0).all()
    loading = data.outputs.index("mass_loading")
    known = np.isfinite(data.measured[:, loading])
    assert known.mean() > 0.8
    # the pump slips by some 5 %, and the very same segments follow its changes
    ratio = data.measured[known, loading] / data.said[known, loading]
    assert 0.93 < ratio.mean() < 0.97
    assert ratio.std() < 0.01
    rolls, counts = np.unique(data.roll[data.roll != NO_ROLL], return_counts=True)
    assert len(rolls) >= 3
    assert counts.max() == 40
    both = StepData.join([data, data])
    assert len(np.unique(both.roll)) == 2 * len(np.unique(data.roll))


@pytest.mark.long
def test_without_a_model_the_plants_data_make_one(recording: Recording, tmp_path: Path) -> None:
    bare = without_models(recording, tmp_path / "bare")
    assert champion_file("coating", [bare], ROOT) is None
    data = step_data("coating", bare, None, ROOT)
    with_model = step_data("coating", recording, champion_file("coating", [recording], ROOT), ROOT)
    np.testing.assert_array_equal(data.taken, with_model.taken)
    np.testing.assert_array_equal(data.measured, with_model.measured)
    assert np.isnan(data.said).all()
    card = wanted_card("coating", bare.line)
    assert {q.name: q.unit for q in card.inputs}["solids_content"] == "dimensionless"
    # nothing measures the margin: a model of it cannot come from here
    found = fit("coating", bare.line, data, None, "retrain", 1)
    assert "no model of coating_window_margin" in found.objection
    outputs = {**bare.line.steps["coating"].outputs}
    del outputs["coating_window_margin"]
    step = bare.line.steps["coating"].model_copy(update={"outputs": outputs})
    line = bare.line.model_copy(update={"steps": {**bare.line.steps, "coating": step}})
    data = step_data("coating", bare.for_line(line), None, ROOT)
    found = fit("coating", line, data, None, "retrain", 1)
    assert not found.objection
    model = OnnxSurrogate.load(export_calibrated(found, None, (), tmp_path))
    known = np.isfinite(data.measured).all(axis=1)
    missed = np.abs(model.predict(data.taken[known]).mean - data.measured[known]).mean(axis=0)
    assert missed[1] < 3e-3
    assert model.card.lineage is not None
    assert model.card.lineage.parent is None
