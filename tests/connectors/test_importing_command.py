"""`twin import` as a person uses it, and as docs/import.md says."""

from __future__ import annotations

import io
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from connectors.importing import mapping
from connectors.recording import Recording
from twin.cli import importing, main
from twin.configuration import bundled

DOCUMENT = (Path(__file__).parents[2] / "docs" / "import.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(?:csv|yaml)\n(.*?)^```$", DOCUMENT, re.DOTALL | re.MULTILINE)


@pytest.fixture
def twin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., str]:
    """Runs `twin import` with a mapping.yaml in a folder of its own; what it prints."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> str:
        argv = ["twin", "import", *arguments, "--mapping", "mapping.yaml"]
        monkeypatch.setattr(sys, "argv", argv)
        with pytest.raises(SystemExit) as ended:
            main()
        assert not ended.value.code, capsys.readouterr().err
        return capsys.readouterr().out

    return run


def test_the_documented_wide_csv(twin: Callable[..., str]) -> None:
    data, mapping = BLOCKS[:2]
    Path("coater.csv").write_text(data, encoding="utf-8")
    Path("mapping.yaml").write_text(mapping, encoding="utf-8")
    line = ("coater.csv", "--line", str(bundled("line.yaml")))
    said = twin(*line, "--dry-run")
    assert "coater.csv: wide, delimiter ';', encoding utf-8, times: Europe/Berlin, 3 rows" in said
    assert re.search(r"Geschwindigkeit +coater.line_speed +m/min → m/s +2 +1 +1.5 +1.51 ", said)
    assert "2026-03-01 09:00:00 UTC to 2026-03-01 09:00:02 UTC, one value every 1 s" in said
    assert "6 samples of 2 signals, 1 missing; nothing was written" in said
    assert not Path("recording").exists()
    assert "recorded in recording/manifest.json" in twin(*line, "--output", "recording")
    assert Recording.open(Path("recording")).manifest.samples == 6


def test_the_documented_process_without_a_web(twin: Callable[..., str]) -> None:
    data, line, mapping = BLOCKS[2:5]
    Path("reactor.txt").write_text(data, encoding="utf-8")
    Path("reactor.yaml").write_text(line, encoding="utf-8")
    Path("mapping.yaml").write_text(mapping, encoding="utf-8")
    said = twin("reactor.txt", "--line", "reactor.yaml", "--output", "recording", "--json")
    summary = json.loads(said)
    assert summary["recording"] == "recording"
    assert summary["samples"] == 15
    assert [each["tag"] for each in summary["signals"]][2:4] == [
        "reactor.temperature",
        "reactor.speed",
    ]
    assert summary["signals"][1]["mean"] == pytest.approx(3660.3666667)
    assert {each["interval"] for each in summary["signals"]} == {180.0}


def test_the_documented_sources_are_valid(twin: Callable[..., str]) -> None:
    Path("mapping.yaml").write_text(BLOCKS[5], encoding="utf-8")
    Path("lab1.csv").write_text(
        "sampled,test,result,unit,roll,metre,released\n"
        "2026-03-01 10:00,porosity,35,%,1,20,2026-03-01 12:00\n",
        encoding="utf-8",
    )
    said = twin("lab1.csv", "--line", str(bundled("line.yaml")), "--dry-run")
    assert "1 laboratory values; nothing was written" in said
    assert "there is no '*.parquet', which the mapping names" in said
    assert "'speed'" not in said


def test_every_key_of_the_mapping_is_documented() -> None:
    for model in (
        mapping.SourceMapping,
        mapping.TimeMapping,
        mapping.ConstantMapping,
        mapping.LongColumns,
        mapping.LaboratoryColumns,
    ):
        for key in model.model_fields:
            assert f"`{key}`" in DOCUMENT or f"`{key}:" in DOCUMENT, key


def test_progress_is_shown_only_of_what_takes_long(monkeypatch: pytest.MonkeyPatch) -> None:
    for patience, shown in ((60.0, False), (0.0, True)):
        monkeypatch.setattr(importing, "_PATIENCE", patience)
        screen = io.StringIO()
        console = Console(file=screen, force_terminal=True, width=100)
        with importing.progress_after_a_while(console) as report:
            report("reading a.csv", 0.5)
            report("reading a.csv", 0.7)
        assert ("reading a.csv" in screen.getvalue()) is shown


def test_what_cannot_be_finished_leaves_nothing(
    twin: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("coater.csv").write_text(BLOCKS[0], encoding="utf-8")
    Path("mapping.yaml").write_text(BLOCKS[1], encoding="utf-8")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("connectors.recorder.RecordingWriter.close", full)
    with pytest.raises(AssertionError, match="No space left"):
        twin("coater.csv", "--line", str(bundled("line.yaml")), "--output", "recording")
    assert not Path("recording").exists()
