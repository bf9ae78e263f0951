"""Every command as a program of its own, against real servers."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.csv as pc
import pyarrow.parquet as pq
import pytest
import yaml

from tests.servers import Broker, broker, free_port
from tests.system.twin_program import COMMAND, environment, twin, twin_many
from twin.app.line import read_line
from twin.configuration import bundled
from twin.configuration.models import LineConfiguration
from twin.historian import DuckDBHistorian
from twin.samples import SampleBatch

__all__ = ["broker"]

COMMANDS = (
    *("demo", "run", "simulate", "train", "check", "doctor", "browse", "export"),
    *("record", "import", "replay", "backtest", "calibrate", "promote", "rollback", "models"),
    *("design", "sensitivity", "assess", "certs", "audit"),
)


def configuration(folder: Path, ports: dict[str, int]) -> Path:
    """The bundled line on other ports, in a file of its own."""
    text = bundled("line.yaml").read_text()
    for name, usual in (("mixer", 4840), ("coater", 4841), ("calender", 4842), ("mqtt", 1883)):
        assert str(usual) in text
        text = text.replace(str(usual), str(ports[name]))
    file = folder / "line.yaml"
    file.write_text(text)
    return file


def all_ports(mqtt: int) -> dict[str, int]:
    return {name: free_port() for name in ("mixer", "coater", "calender")} | {"mqtt": mqtt}


@dataclass(frozen=True)
class Simulated:
    """A virtual line that `twin simulate` runs."""

    endpoints: dict[str, str]
    configuration: Path


@pytest.fixture
def simulated(broker: Broker, tmp_path: Path) -> Iterator[Simulated]:
    ports = all_ports(broker.port)
    arguments = ["simulate", "--seed", "1"]
    for name, port in ports.items():
        arguments += [f"--{name}-port", str(port)]
    with subprocess.Popen(
        [*COMMAND, *arguments],
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as running:
        assert running.stdout is not None
        assert running.stderr is not None
        try:
            ready = json.loads(running.stdout.readline())
            assert ready["ready"] is True
            yield Simulated(ready["endpoints"], configuration(tmp_path, ports))
            running.send_signal(signal.SIGINT)
            assert running.wait(timeout=5) == 0
            assert "Traceback" not in running.stderr.read()
        finally:
            running.kill()


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a service that has ended: a coater's speed in m/s, inside."""
    folder = tmp_path_factory.mktemp("store")
    tags = read_line(bundled("line.yaml")).tag_table()
    speed, gap = tags.index("coater.line_speed"), tags.index("coater.coating_gap")
    count = 100
    time = 1_767_225_600_000_000_000 + np.arange(count) * 100_000_000
    with DuckDBHistorian(folder / "historian.duckdb", tags) as historian:
        for tag, value in ((speed, 0.05), (gap, 200e-6)):
            historian.append(
                SampleBatch(
                    np.full(count, tag, np.int32),
                    time,
                    np.full(count, value),
                    np.zeros(count, np.uint32),
                )
            )
    return folder


def test_help(tmp_path: Path) -> None:
    general, *others = twin_many([["--help"], *([name, "--help"] for name in COMMANDS)], tmp_path)
    for ended in (general, *others):
        assert ended.returncode == 0, ended.stderr
        assert "Usage" in ended.stdout
    assert all(name in general.stdout for name in COMMANDS)


def test_check_of_the_bundled_line() -> None:
    ended = twin("check")
    assert ended.returncode == 0, ended.stderr
    assert "fine" in ended.stdout
    answer = json.loads(twin("check", "--json").stdout)
    assert answer["ok"] is True
    assert answer["problems"] == []
    assert answer["steps"] == 4


def test_check_says_where_and_what_would_be_right(tmp_path: Path) -> None:
    lines = bundled("line.yaml").read_text().splitlines()
    wrong = next(at for at, line in enumerate(lines) if "role: counter" in line)
    lines[wrong] = lines[wrong].replace("counter", "counted")
    file = tmp_path / "wrong.yaml"
    file.write_text("\n".join(lines))
    ended = twin("check", file)
    assert ended.returncode == 2
    assert ended.stdout == ""
    (problem,) = ended.stderr.splitlines()
    assert problem.startswith(f"{file}:{wrong + 1}: ")
    assert "role" in problem
    assert "counter" in problem.rpartition(";")[2]
    ended = twin("check", "--json", file)
    assert ended.returncode == 2
    answer = json.loads(ended.stdout)
    assert answer["ok"] is False
    (found,) = answer["problems"]
    assert found["line"] == wrong + 1
    assert found["what"]
    assert found["remedy"]


MISTAKES = [
    "check nowhere.yaml",
    "run nowhere.yaml",
    "doctor nowhere.yaml",
    "demo --scenario nowhere",
    "demo --scenario nowhere.yaml",
    "demo --metres many",
    "demo --acceleration 0",
    "simulate --scenario nowhere.yaml",
    "simulate --acceleration 0",
    "train nothing",
    "train mixing --samples 1",
    "browse opc.tcp://127.0.0.1:1/nobody",
    "browse nonsense",
    "export samples.parquet --data nowhere",
    "export samples.parquet --data broken",
    "nonsense",
]


def test_mistakes_are_told_in_sentences(tmp_path: Path) -> None:
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "historian.duckdb").write_bytes(b"no database" * 1000)
    wrong = {}
    for ended in twin_many([command.split() for command in MISTAKES], tmp_path):
        told = ended.stderr.strip() and "Traceback" not in ended.stderr and not ended.stdout
        if ended.returncode != 2 or not told:
            wrong[" ".join(ended.args)] = (ended.returncode, ended.stdout, ended.stderr)
    assert not wrong


def test_doctor_without_a_line(tmp_path: Path) -> None:
    file = configuration(tmp_path, all_ports(free_port()))
    ended = twin("doctor", file)
    assert ended.returncode == 1
    assert "Traceback" not in ended.stderr
    for name in ("mixer", "coater", "calender", "gauges"):
        (said,) = [line for line in ended.stdout.splitlines() if line.split()[1:2] == [name]]
        assert said.startswith("no")
        assert "refused" in said or "failed" in said


def test_doctor_and_browse_on_the_virtual_line(simulated: Simulated) -> None:
    ended = twin("doctor", simulated.configuration, "--json")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    found = {each["what"]: each for each in json.loads(ended.stdout)}
    assert set(found) == {"mixer", "coater", "calender", "gauges"}
    assert all(each["ok"] for each in found.values())

    ended = twin("browse", simulated.endpoints["coater"], "--connector", "coater")
    assert ended.returncode == 0, ended.stderr
    section = yaml.safe_load(ended.stdout)
    tags = section.get("tags", section)
    line = LineConfiguration.model_validate(
        {
            "name": "browsed",
            "connectors": {
                "coater": {
                    "kind": "opcua",
                    "security": "none",
                    "url": simulated.endpoints["coater"],
                }
            },
            "tags": tags,
            "webs": {},
            "steps": {},
        }
    )
    setpoints = [tag for tag in line.tags.values() if tag.role == "setpoint"]
    assert any("Coater.PumpFlow.Setpoint" in str(tag.address) for tag in setpoints)
    answer = json.loads(twin("browse", simulated.endpoints["coater"], "--json").stdout)
    assert len(answer) == len(tags)


def test_doctor_tells_of_a_contradiction(simulated: Simulated) -> None:
    file = simulated.configuration
    text = file.read_text()
    assert "s=Coater.Gap.Actual" in text
    file.write_text(text.replace("s=Coater.Gap.Actual", "s=Coater.Gap.Nowhere"))
    ended = twin("doctor", file)
    assert ended.returncode == 1
    (said,) = [line for line in ended.stdout.splitlines() if line.split()[1:2] == ["coater"]]
    assert said.startswith("no")
    assert "Coater.Gap.Nowhere" in said


def test_train_writes_a_model_and_its_card(tmp_path: Path) -> None:
    ended = twin(
        *("train", "mixing", "--samples", 128, "--output", tmp_path, "--seed", 3, "--json"),
        patience=120,
    )
    assert ended.returncode == 0, ended.stderr
    (card,) = json.loads(ended.stdout)
    assert card["name"].startswith("mixing")
    assert set(card["errors"]) == {output["name"] for output in card["outputs"]}
    assert (tmp_path / "mixing.onnx").exists()
    assert (tmp_path / "mixing.card.yaml").exists()


@pytest.mark.parametrize("kind", ["parquet", "csv"])
def test_export(store: Path, tmp_path: Path, kind: str) -> None:
    file = tmp_path / f"samples.{kind}"
    ended = twin("export", file, "--data", store, "--json")
    assert ended.returncode == 0, ended.stderr
    assert json.loads(ended.stdout) == {"file": str(file), "rows": 200}
    table = pq.read_table(file) if kind == "parquet" else pc.read_csv(file)
    assert table.column_names == ["tag", "time", "value", "unit", "quality"]
    values = {(row["tag"], row["unit"]): row["value"] for row in table.to_pylist()}
    assert values == {
        ("coater.line_speed", "m/min"): pytest.approx(3.0),
        ("coater.coating_gap", "um"): pytest.approx(200.0),
    }


def test_export_of_some_tags_and_a_span(store: Path, tmp_path: Path) -> None:
    file = tmp_path / "samples.csv"
    ended = twin(
        *("export", file, "--data", store, "--json", "--tag", "coater.line_speed"),
        *("--start", "2026-01-01T00:00:01", "--end", "2026-01-01T00:00:02"),
    )
    assert ended.returncode == 0, ended.stderr
    assert json.loads(ended.stdout)["rows"] == 10
    ended = twin("export", file, "--data", store, "--tag", "coater.nothing")
    assert ended.returncode == 2
    assert "coater.nothing" in ended.stderr
