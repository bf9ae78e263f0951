"""docs/any-csv.md as written: foreign files imported, a model trained, replayed, backtested."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from connectors.recording import Recording
from surrogates.onnx_model import OnnxSurrogate
from tests.system.twin_program import ROOT, twin_many
from twin.cli.calibrating import step_data
from twin.configuration import load
from twin.samples import Floats

DATA = Path(
    os.environ.get("LINETWIN_TENNESSEE_EASTMAN")
    or ROOT.parent / "shared" / "data" / "tennessee-eastman"
)
FILES = {"training": "d00.dat", "normal": "d00_te.dat", "fault1": "d01_te.dat"}
PAGE = (ROOT / "docs" / "any-csv.md").read_text(encoding="utf-8")
COMMANDS = [
    line
    for block in re.findall(r"^```sh\n(.*?)^```$", PAGE, re.S | re.M)
    for line in block.split("\n")
    if line
]
XMEAS_11, XMEAS_18, XMEAS_19, XMEAS_20, XMEAS_22 = 10, 17, 18, 19, 21


@dataclass(frozen=True)
class Tour:
    """What the page's commands left behind."""

    folder: Path
    said: dict[str, Any]
    """What a command says for machines, by its first two words."""

    def backtest(self, run: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.folder / f"{run}.json").read_text())
        return found

    def scores(self, run: str) -> dict[str, Any]:
        found: dict[str, Any] = self.backtest(run)["champion"]["parameters"][
            "separation.temperature"
        ]
        return found

    def persistence(self, run: str) -> dict[str, Any]:
        found: dict[str, Any] = self.backtest(run)["persistence"]["separation.temperature"]
        return found


def raw(run: str) -> Floats:
    """The file as it is, a row per sample."""
    values = np.loadtxt(DATA / FILES[run])
    return values.T if run == "training" else values


@pytest.fixture(scope="module")
def tour(tmp_path_factory: pytest.TempPathFactory) -> Tour:
    if not all((DATA / name).is_file() for name in FILES.values()):
        pytest.skip(
            f"the Tennessee Eastman files are not in {DATA}; name their folder with "
            "LINETWIN_TENNESSEE_EASTMAN"
        )
    folder = tmp_path_factory.mktemp("any_csv") / "te"
    shutil.copytree(ROOT / "docs" / "tennessee-eastman", folder)
    said: dict[str, Any] = {}
    again = COMMANDS[-1].replace("fault1.json", "again.json").replace("fault1.html", "again.html")
    every = [*COMMANDS, again]
    trained = next(n for n, line in enumerate(every) if line.startswith("twin calibrate"))
    every.insert(trained, every[trained].replace("models", "again"))
    for ours, lines in groupby(every, key=lambda line: line.startswith("twin ")):
        if not ours:
            subprocess.run(["bash", "-ec", "\n".join(lines)], cwd=folder, check=True)
            continue
        words = [shlex.split(line.replace("$TE", shlex.quote(str(DATA))))[1:] for line in lines]
        for done in twin_many([[*each, "--json"] for each in words], folder):
            assert done.returncode == 0, done.stderr
            command, what = done.args[:2]
            said[f"{command} {Path(what).name}"] = json.loads(done.stdout)
    return Tour(folder, said)


@pytest.mark.parametrize(("run", "rows"), [("training", 500), ("normal", 960), ("fault1", 960)])
def test_every_value_of_a_file_is_imported_in_its_place(tour: Tour, run: str, rows: int) -> None:
    summary = tour.said[f"import {FILES[run]}"]
    assert summary["samples"] == rows * (52 + 2)
    assert {(each["values"], each["missing"]) for each in summary["signals"]} == {(rows, 0)}
    assert {each["interval"] for each in summary["signals"]} == {180.0}
    recording = Recording.open(tour.folder / run)
    names = list(recording.line.tags)
    batches = [arrivals.batch for arrivals in recording.stream()]
    tag, time, value = (
        np.concatenate([getattr(batch, name) for batch in batches])
        for name in ("tag", "time", "value")
    )
    assert raw(run).shape == (rows, 52)
    columns = {each["origin"]: each["tag"] for each in summary["signals"]}
    for column, theirs in enumerate(raw(run).T):
        name = columns[str(column + 1)]
        mine = tag == names.index(name)
        assert (np.diff(time[mine]) == 180 * 10**9).all()
        ours = recording.line.tag_table()[names.index(name)].from_si(value[mine])
        assert ours == pytest.approx(theirs, rel=1e-9), name


@pytest.mark.parametrize("run", FILES)
def test_a_segment_is_a_row_with_its_own_inputs_and_measurement(tour: Tour, run: str) -> None:
    recording = Recording.open(tour.folder / run)
    data = step_data("separation", recording, tour.folder / "separation.onnx", tour.folder)
    theirs = raw(run)[:-3]
    assert data.position == pytest.approx((np.arange(len(theirs)) + 0.5) * 90.0)
    assert data.measured[:, 0] == pytest.approx(theirs[:, XMEAS_11] + 273.15)
    kelvin, watts, kg_per_s = (1.0, 273.15), (1e3, 0.0), (1 / 3600, 0.0)
    for name, column, (scale, offset) in (
        ("cooling_outlet_temperature", XMEAS_22, kelvin),
        ("compressor_work", XMEAS_20, watts),
        ("stripper_temperature", XMEAS_18, kelvin),
        ("stripper_steam_flow", XMEAS_19, kg_per_s),
    ):
        taken = data.taken[:, data.inputs.index(name)]
        assert taken == pytest.approx(theirs[:, column] * scale + offset), name


def test_the_model_is_judged_on_stretches_of_time_that_it_has_not_seen(tour: Tour) -> None:
    said = tour.said["calibrate separation"]
    assert (said["rows"], said["rolls"]) == (497, 1)
    assert said["blocks"].startswith("5 stretches of the web, 900 m between them not learnt from")
    held_out = said["outputs"]["temperature"]["calibrated"]
    assert held_out["r2"] > 0.55
    last = np.abs(np.diff(raw("training")[:, XMEAS_11])).mean()
    assert held_out["mae"] < 0.8 * last
    card = OnnxSurrogate.load(tour.folder / "separation.onnx").card
    assert card.lineage is not None
    assert card.lineage.parent is None
    assert [source.name for source in card.lineage.recordings] == ["training"]


def test_on_normal_operation_the_model_beats_persistence(tour: Tour) -> None:
    replayed = tour.said["replay normal"]
    assert replayed["samples"]["received"] == 960 * 54
    assert replayed["samples"]["rejected"] == {}
    assert replayed["metres"] == 957 * 90
    scores, last = tour.scores("normal"), tour.persistence("normal")
    assert scores["segments"] == 957
    for kind in ("alone", "corrected"):
        assert scores[kind]["r2"]["value"] > 0.6
        assert scores[kind]["mae"]["high"] < last["mae"]["low"]
    assert scores["corrected"]["coverage"]["value"] == pytest.approx(0.9, abs=0.05)
    # false alarms, as the page says
    assert scores["drift"]["alarms"] <= 3


def test_persistence_is_the_value_of_the_row_before(tour: Tour) -> None:
    for run in ("normal", "fault1"):
        measured = raw(run)[:957, XMEAS_11]
        expected = np.abs(np.diff(measured)).mean()
        assert tour.persistence(run)["mae"]["value"] == pytest.approx(expected)


def test_fault_1_raises_an_alarm_within_hours_and_none_before(tour: Tour) -> None:
    scores, last = tour.scores("fault1"), tour.persistence("fault1")
    assert scores["segments"] == 957
    assert scores["drift"]["false_alarms"] == 0
    assert 0 < scores["drift"]["delay"] <= 2 * 3600
    assert scores["out_of_domain"] > 0.5
    # while the process is not what was learnt, the last value knows more, as the page says
    assert last["mae"]["value"] < scores["corrected"]["mae"]["value"]
    assert scores["corrected"]["mae"]["value"] < scores["alone"]["mae"]["value"]


def test_the_same_files_give_the_same_model_and_the_same_report(tour: Tour) -> None:
    (first,) = (tour.folder / "models").glob("*.onnx")
    (second,) = (tour.folder / "again").glob("*.onnx")
    assert first.name == second.name
    assert first.read_bytes() == second.read_bytes()
    assert tour.backtest("again") == tour.backtest("fault1")
    assert (tour.folder / "fault1.html").is_file()


def test_the_figures_of_the_page_are_those_of_its_commands(tour: Tour) -> None:
    held_out = tour.said["calibrate separation"]["outputs"]["temperature"]["calibrated"]
    found = {("training, held out", "model"): (held_out["mae"], held_out["r2"])}
    for run, name in (("normal", "normal"), ("fault1", "fault 1")):
        scores = tour.scores(run)
        for who, of in (
            ("model", scores["alone"]),
            ("model, corrected", scores["corrected"]),
            ("persistence", tour.persistence(run)),
        ):
            found[name, who] = of["mae"]["value"], of["r2"]["value"]
    rows = re.findall(r"^\| ([^|]+) \| ([^|]+) \| ([\d.]+) \| ([\d.]+) \|$", PAGE, re.M)
    shown = {(run, who): (float(mae), float(r2)) for run, who, mae, r2 in rows}
    assert shown.keys() == found.keys()
    for row, figures in shown.items():
        assert figures == pytest.approx(found[row], rel=0.05), row


def test_the_configuration_of_the_page_is_that_of_the_example() -> None:
    folder = ROOT / "docs" / "tennessee-eastman"
    line = (folder / "line.yaml").read_text(encoding="utf-8")
    web, step, mapping = re.findall(r"^```yaml\n(.*?)^```$", PAGE, re.S | re.M)
    for shown, file in ((web, line), (step, line)):
        assert all(row in file.splitlines() for row in shown.splitlines())
    whole = (folder / "mapping.yaml").read_text(encoding="utf-8").splitlines()
    assert all(row in whole for row in mapping.splitlines() if "#" not in row)
    assert len(load(folder / "line.yaml").tags) == 54
