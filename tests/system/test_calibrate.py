"""Calibrate on a plant that has drifted, try the model on another recording, and promote it."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from connectors.recording import Recording
from surrogates.calibration import calibrate
from surrogates.card import Method
from surrogates.composition import export_calibrated
from surrogates.onnx_model import OnnxSurrogate
from tests.in_process import ROOT
from tests.plants import worn_pump
from tests.system.twin_program import twin, twin_many
from twin.cli.calibrating import champion_file, fit, step_data

MODELS = ROOT / "surrogates" / "models"


@dataclass(frozen=True)
class Plant:
    """Recordings of the same worn pump on two days, and of gauges that read nonsense."""

    monday: Path
    tuesday: Path
    nonsense: Path


@pytest.fixture(scope="module")
def plant(tmp_path_factory: pytest.TempPathFactory) -> Plant:
    folder = tmp_path_factory.mktemp("plant")
    return Plant(
        worn_pump(folder / "monday", seed=1),
        worn_pump(folder / "tuesday", seed=2),
        worn_pump(folder / "nonsense", seed=1, shuffled=2),
    )


def backtested(model: Path, recording: Path, report: Path) -> dict[str, Any]:
    """The challenger's part of the report."""
    done = twin("backtest", recording, "--model", f"coating={model}", "--output", report)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(report.read_text())["challengers"][0]
    return found


def promotion(model: Path, report: Path) -> list[str]:
    return ["promote", "coating", str(model), "--backtest", str(report), "--by", "anna"]


def in_store(store: Path, *commands: Sequence[str]) -> list[subprocess.CompletedProcess[str]]:
    """Run commands on the store of a service, one after the other."""
    return twin_many([[*command, "--data", str(store)] for command in commands], store.parent)


def used(said: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    """By step, what `twin models --json` says."""
    return {entry["step"]: entry for entry in json.loads(said.stdout)}


def test_a_challenger_of_the_drifted_plant_is_promoted_and_taken_back(
    plant: Plant, tmp_path: Path
) -> None:
    output, store, report = tmp_path / "models", tmp_path / "store", tmp_path / "report.json"
    done = twin(
        "calibrate",
        "coating",
        plant.monday,
        "--method=residual",
        "--output",
        output,
        "--json",
    )
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    loading = said["outputs"]["mass_loading"]
    assert loading["unit"] == "g/m^2"
    assert loading["champion"]["mae"] > 8.0
    assert loading["calibrated"]["mae"] < 0.6
    assert said["outputs"]["coating_window_margin"]["reason"] == "it is not measured"
    model = Path(said["file"])
    card = OnnxSurrogate.load(model).card
    assert card.lineage is not None
    assert card.lineage.parent is not None
    assert card.lineage.parent.version == OnnxSurrogate.load(MODELS / "coating.onnx").version
    assert [source.name for source in card.lineage.recordings] == ["monday"]

    challenger = backtested(model, plant.tuesday, report)
    assert challenger["verdict"] == "better"
    alone = challenger["parameters"]["coating.mass_loading"]["alone"]["mae"]["value"]
    assert alone < 0.8

    look = ["models", "--json"]
    back = ["rollback", "coating"]
    done, then, returned, at_last, again = in_store(
        store, promotion(model, report), look, back, look, back
    )
    assert done.returncode == 0, done.stderr
    coating = used(then)["coating"]
    assert (coating["version"], coating["by"]) == (card.version, "anna")
    assert coating["history"][-1]["kind"] == "promoted"
    assert used(then)["drying"]["by"] == "configuration"

    assert returned.returncode == 0, returned.stderr
    coating = used(at_last)["coating"]
    assert coating["version"] == card.lineage.parent.version
    assert [change["kind"] for change in coating["history"]] == ["promoted", "rolled back"]
    assert again.returncode == 2
    assert "nothing to take back" in again.stderr


@pytest.mark.parametrize("method", [pytest.param("bias", marks=pytest.mark.long), "residual"])
@pytest.mark.parametrize("step", ["coating", "drying", "calendering"])
def test_labels_that_are_shuffled_teach_nothing(plant: Plant, step: str, method: Method) -> None:
    recording = Recording.open(plant.nonsense)
    champion = champion_file(step, [recording], ROOT)
    data = step_data(step, recording, champion, ROOT)
    found = fit(step, recording.line, data, champion, method, 1)
    assert "does not follow what the champion says" in found.objection


@pytest.mark.long
def test_a_model_of_shuffled_labels_is_refused_everywhere(plant: Plant, tmp_path: Path) -> None:
    output, store, report = tmp_path / "models", tmp_path / "store", tmp_path / "report.json"
    done = twin("calibrate", "coating", plant.nonsense, "--output", output)
    assert done.returncode == 1
    assert "nothing is exported" in done.stderr
    assert not output.exists()

    model = forced(plant, output)
    assert backtested(model, plant.tuesday, report)["verdict"] != "better"
    refused, listed = in_store(store, promotion(model, report), ["models", "--json"])
    assert refused.returncode == 2
    assert "does not call this model of coating better" in refused.stderr
    assert used(listed)["coating"]["history"] == []


def forced(plant: Plant, output: Path) -> Path:
    """What calibration on labels dealt out anew gives where nobody looks at the objection."""
    recording = Recording.open(plant.monday)
    champion = champion_file("coating", [recording], ROOT)
    assert champion is not None
    data = step_data("coating", recording, champion, ROOT)
    draw = np.random.default_rng(1)
    data = replace(data, measured=data.measured[draw.permutation(len(data))])
    found = calibrate(data, OnnxSurrogate.load(champion).card, True, "residual")
    assert found.objection
    assert found.learnt
    return export_calibrated(found, champion, [], output)
