"""`twin backtest` on a recording of the virtual line, as somebody would call it."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from typer.testing import CliRunner

from connectors.recorder import RecordingWriter
from connectors.recording import MANIFEST, RecordingError
from simulators.scenario import parse_scenario
from tests.in_process import EPOCH, ROOT, LineInProcess, line_configuration, make_core
from twin.cli.backtesting import Options, entrants, moment, open_recordings, run_backtest
from twin.cli.commands import app
from twin.files import card_path, sha256
from twin.verdict import BacktestReport

S = 1_000_000_000
MODELS = ROOT / "surrogates" / "models"
SCENARIO = """
name: a slurry that is thinner than reported, at 75 m
metres: 106
plant:
  coater: {roll_length_m: 53}
  laboratory: {delay_min: 8}
actions:
  - {at: {metre: 75}, do: slurry_batch, solids: 0.63, reported_solids: 0.66}
"""
NAME = "coating.mass_loading"


class Recorded:
    """A recording, and the live run that it is of."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "solids"
        line = line_configuration()
        core = make_core(line)
        models = {
            name: (core.surrogates[name].version, MODELS / f"{step.model}.onnx")
            for name, step in line.steps.items()
        }
        with RecordingWriter(self.folder, line, "test", models) as recorder:
            self.run = LineInProcess(parse_scenario(SCENARIO), seed=3, line=line, recorder=recorder)
            self.run.run()


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    return Recorded(tmp_path_factory.mktemp("backtest"))


def scaled_model(step: str, factor: float, target: Path) -> Path:
    """The committed model of a step with all its predictions multiplied."""
    model = onnx.load(MODELS / f"{step}.onnx")
    for node in model.graph.node:
        for names in (node.input, node.output):
            for index, name in enumerate(names):
                if name == "mean":
                    names[index] = "mean_before"
    kind = next(o for o in model.graph.output if o.name == "mean").type.tensor_type.elem_type
    its_factor = np.array(factor, helper.tensor_dtype_to_np_dtype(kind))
    model.graph.initializer.append(numpy_helper.from_array(its_factor, "its_factor"))
    model.graph.node.append(helper.make_node("Mul", ["mean_before", "its_factor"], ["mean"]))
    target.parent.mkdir(exist_ok=True)
    onnx.save(model, target)
    shutil.copy(card_path(MODELS / f"{step}.onnx"), card_path(target))
    return target


@pytest.mark.long
def test_biased_and_same_through_the_command(recorded: Recorded, tmp_path: Path) -> None:
    biased = scaled_model("coating", 1.08, tmp_path / "biased.onnx")
    page, file = tmp_path / "report.html", tmp_path / "report.json"
    result = CliRunner().invoke(
        app,
        [
            "backtest", str(recorded.folder), "--json",
            "--model", f"coating={biased}",
            "--model", f"same:coating={MODELS / 'coating.onnx'}",
            "--model", f"same:drying={MODELS / 'drying.onnx'}",
            "--disturbance", "40 min", "--report", str(page), "--output", str(file),
        ],
        catch_exceptions=False,
    )  # fmt: skip
    assert result.exit_code == 0
    report = BacktestReport.model_validate_json(result.stdout)
    assert json.loads(result.stdout)["schema"] == "linetwin/backtest/1"
    assert BacktestReport.model_validate_json(file.read_text()) == report

    wrong, same = report.challengers
    assert (wrong.label, wrong.verdict) == ("coating biased", "worse")
    assert (same.label, same.verdict) == ("same", "no difference")
    assert wrong.models["coating"].sha256 == sha256(biased)
    assert set(same.models) == {"coating", "drying"}
    assert set(report.champion.models) == {"mixing", "coating", "drying", "calendering"}
    assert report.recordings[0].manifest_sha256 == sha256(recorded.folder / MANIFEST)
    assert same.parameters == report.champion.parameters
    assert same.advice.would_differ == 0.0
    assert same.advice.alike > 0
    assert "Open loop" in report.note

    champion = report.champion.parameters[NAME]
    assert champion.segments >= 200
    assert champion.unit == "g/m^2"
    for name in (NAME, "coating.wet_thickness"):
        alone = [each.parameters[name].alone.bias.value for each in (report.champion, wrong)]
        assert alone[1] is not None
        assert alone[0] is not None
        assert alone[1] < alone[0]
    assert champion.drift.false_alarms is not None
    corrected = champion.corrected.mae
    persistence = report.persistence[NAME].mae
    assert corrected.value is not None
    assert persistence.value is not None
    assert corrected.value < persistence.value

    html = page.read_text()
    assert not re.search(r"https?://", html)
    assert set(re.findall(r'(?:src|href)="(#|data:|[^"]*)', html)) <= {"#", "data:"}
    assert html.count("<svg") >= 6
    for text in ("coating biased: worse", "same: no difference", "Open loop", "persistence"):
        assert text in re.sub(r"<[^>]*>", "", html)


def test_the_table_of_the_terminal(recorded: Recorded) -> None:
    model = f"coating={MODELS / 'coating.onnx'}"
    arguments = ["backtest", str(recorded.folder), "--model", model, "--from", "30 min"]
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert result.exit_code == 0
    assert "mass loading" in result.stdout
    assert "persistence" in result.stdout
    assert "coating: too little material" in result.stdout
    assert "Open loop" in result.stdout


def test_the_material_is_that_of_the_live_run(recorded: Recorded) -> None:
    """Residuals as the live run had them; scored only between the times that are asked for."""
    options = Options([recorded.folder], [], None, "10 min", "25 min", None, 25)
    done: list[int] = []
    found = run_backtest(options, lambda count, total: done.append(count))
    track = found.material.tracks["champion"][NAME]
    began = found.report.recordings[0].since
    assert began is not None
    live = recorded.run.comparisons[NAME]
    segment = np.concatenate([each.segments for each in live])
    residual = np.concatenate([each.residual for each in live])
    read = np.concatenate([each.time for each in live])
    here = np.isfinite(residual) & np.isin(segment, track.segment)
    np.testing.assert_array_equal(segment[here], track.segment)
    np.testing.assert_array_equal(residual[here], track.measured - track.corrected)
    assert read[here].min() >= began
    assert 40 < len(track) < 150
    assert done[-1] > 0
    rolls, metres = found.material.place(track)
    assert {found.material.rolls[index].number for index in rolls} == {1, 2}
    assert np.nanmin(metres) >= 0
    assert np.nanmax(metres) < 53.5


@pytest.mark.long
def test_two_recordings_are_two_runs(recorded: Recorded) -> None:
    options = Options([recorded.folder, recorded.folder], [], None, None, "25 min", None, 25)
    found = run_backtest(options, lambda done, total: None)
    track = found.material.tracks["champion"][NAME]
    count = len(track) // 2
    assert set(track.run.tolist()) == {0, 1}
    np.testing.assert_array_equal(track.segment[:count], track.segment[count:])
    np.testing.assert_array_equal(track.corrected[:count], track.corrected[count:])


def test_challengers_are_named() -> None:
    found = entrants(["coating=a/wide.onnx", "coating=b/coating.onnx", "x:coating=c", "x:drying=d"])
    assert [each.label for each in found] == ["coating wide", "coating", "x"]
    assert found[2].files == {"coating": Path("c"), "drying": Path("d")}
    for wrong in (["coating"], ["=file"], [":coating=file"], ["x:=file"], ["champion:coating=f"]):
        with pytest.raises(ValueError, match="--model"):
            entrants(wrong)
    with pytest.raises(ValueError, match="there is a challenger coating already"):
        entrants(["coating=a/coating.onnx", "coating=b/coating.onnx"])
    with pytest.raises(ValueError, match="there is a challenger x already"):
        entrants(["x:coating=a", "x:coating=b"])


def test_times_are_words_or_iso() -> None:
    assert moment("600", EPOCH, "--from") == EPOCH + 600 * S
    assert moment("8 h", EPOCH, "--from") == EPOCH + 8 * 3600 * S
    assert moment("2026-01-01T00:00:01", EPOCH, "--from") == EPOCH + S
    assert moment("2026-01-01T01:00:01+01:00", EPOCH, "--from") == EPOCH + S
    assert moment(None, EPOCH, "--from") is None
    with pytest.raises(ValueError, match="--from soon: write 2026"):
        moment("soon", EPOCH, "--from")


def test_what_cannot_be_tried_is_refused(recorded: Recorded, tmp_path: Path) -> None:
    def refused(model: str) -> str:
        options = Options([recorded.folder], [model], None, None, None, None, 25)
        with pytest.raises(ValueError) as caught:  # noqa: PT011  # the sentence is looked at
            run_backtest(options, lambda done, total: None)
        return str(caught.value)

    assert "no step painting" in refused(f"painting={MODELS / 'coating.onnx'}")
    assert "a challenger must do the same" in refused(f"coating={MODELS / 'drying.onnx'}")
    assert "there is no model" in refused(f"coating={tmp_path / 'nowhere.onnx'}")
    with pytest.raises(RecordingError, match="is no recording"):
        open_recordings([tmp_path], None)
