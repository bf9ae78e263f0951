"""The twin as a program that is killed, reloaded and backed up beside a line that goes on."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from tests.servers import Broker, broker, free_port
from tests.system.twin_program import COMMAND, environment, twin, twin_many
from twin.cli.demo import accelerated
from twin.configuration import bundled
from twin.configuration.models import LineConfiguration
from twin.control import ask
from twin.historian import DuckDBHistorian
from twin.ledger import Ledger

__all__ = ["broker"]

ACCELERATION = 20.0
PATIENCE = 120.0


@dataclass
class Plant:
    """A virtual line that runs, and the configuration of a twin beside it."""

    config: Path
    folder: Path
    epoch: int
    acceleration: float

    @property
    def arguments(self) -> list[str]:
        return [
            *("run", str(self.config), "--data", str(self.folder), "--auto-accept"),
            *("--acceleration", str(self.acceleration), "--epoch-ns", str(self.epoch)),
        ]

    @contextmanager
    def twin(self) -> Iterator[subprocess.Popen[str]]:
        """A twin beside the line, up; killed at the end if it still runs."""
        with (self.folder.parent / "log").open("a") as log:
            process = subprocess.Popen(
                [*COMMAND, *self.arguments], env=environment(), stderr=log, text=True
            )
        try:
            until(lambda: process.poll() is not None or self.status() is not None)
            assert process.poll() is None, (self.folder.parent / "log").read_text()
            yield process
        finally:
            process.kill()
            process.wait()

    def status(self) -> dict[str, Any] | None:
        """What the service says of itself; None while it does not answer."""
        try:
            return ask(self.folder, {"do": "status"}, 5.0)
        except Exception:  # whatever keeps it from answering
            return None

    def metres(self) -> float:
        said = self.status()
        return 0.0 if said is None else float(said["metres"])

    def compared(self) -> float:
        """Segments whose mass loading was predicted and measured."""
        text = ask(self.folder, {"do": "metrics"}, PATIENCE)["text"]
        return sum(
            sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.name == "linetwin_comparisons_total"
            and sample.labels["parameter"] == "coating.mass_loading"
        )

    def samples(self) -> int:
        said = self.status()
        return 0 if said is None else int(said["samples"])


def until(condition: Callable[[], bool], patience: float = PATIENCE) -> None:
    """Wait for a condition; fail when it does not come."""
    end = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < end, "it does not come"
        time.sleep(0.02)


@contextmanager
def plant_on(
    broker: Broker, folder: Path, acceleration: float = ACCELERATION, metres: int = 1000
) -> Iterator[Plant]:
    """A virtual line that runs, and files for a twin beside it."""
    machines = {name: free_port() for name in ("mixer", "coater", "calender")}
    epoch = time.time_ns() + 3_000_000_000
    arguments = ["--seed", "2", "--acceleration", str(acceleration), "--epoch-ns", str(epoch)]
    arguments += ["--metres", str(metres), "--mqtt-port", str(broker.port)]
    for name, port in machines.items():
        arguments += [f"--{name}-port", str(port)]
    simulator = subprocess.Popen(
        [sys.executable, "-m", "simulators", *arguments],
        env=environment(),
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert simulator.stdout is not None
        assert json.loads(simulator.stdout.readline())["ready"]
        line = LineConfiguration.model_validate(yaml.safe_load(bundled("line.yaml").read_text()))
        line = accelerated(line, acceleration, machines | {"mqtt": broker.port})
        config = folder / "line.yaml"
        content = line.model_dump(mode="json", by_alias=True, exclude_defaults=True)
        write(config, {**content, "api": {"port": 0}})
        store = folder / "var"
        store.mkdir()
        yield Plant(config, store, epoch, acceleration)
    finally:
        simulator.kill()
        simulator.wait()
        assert simulator.stdout is not None
        simulator.stdout.close()


@pytest.fixture
def plant(broker: Broker, tmp_path: Path) -> Iterator[Plant]:
    with plant_on(broker, tmp_path) as running:
        yield running


def write(config: Path, content: dict[str, Any]) -> None:
    config.write_text(yaml.safe_dump(content, sort_keys=False))


def test_killed_it_resumes_on_the_right_metre_and_knows_the_rolls(
    plant: Plant, tmp_path: Path
) -> None:
    with plant.twin() as first:
        until(lambda: plant.metres() > 5)
        said = plant.status()
        assert said is not None
        # a backup begins with a checkpoint
        assert ask(plant.folder, {"do": "backup", "folder": str(tmp_path / "b")}, PATIENCE)["ok"]
        until(lambda: plant.metres() > said["metres"] + 3)
        first.send_signal(signal.SIGKILL)
        first.wait()
    began = time.monotonic()
    with plant.twin():
        log_file = plant.folder.parent / "log"
        until(lambda: "resumed" in log_file.read_text())
        print(f"\nkill -9 to where it goes on: {time.monotonic() - began:.1f} s")  # noqa: T201 - a measurement
        until(lambda: bool((plant.status() or {}).get("ready")))
        before = plant.compared()
        until(lambda: plant.compared() > before + 3)
        log = (plant.folder.parent / "log").read_text()
        assert "resumed" in log
        assert "Traceback" not in log
    line = LineConfiguration.model_validate(yaml.safe_load(plant.config.read_text()))
    tags = line.tag_table()
    with DuckDBHistorian(plant.folder / "historian.duckdb", tags) as historian:
        encoder = historian.read([tags.index("coater.web_length")], 0, 2**62)
        (gap,) = [each for each in historian.events(0, 2**62) if each.kind == "gap"]
        predicted = historian.read([tags.index("coating.mass_loading.predicted")], gap.time, 2**62)
    good = np.isfinite(encoder.value)
    assert (np.diff(encoder.time) > 0).all()
    assert (np.diff(encoder.value[good]) > -1.0).all()
    assert len(predicted) > 0
    with closing(Ledger(f"sqlite:///{plant.folder / 'ledger.sqlite'}")) as ledger:
        rolls = ledger.rolls("coater")
    assert [roll["number"] for roll in rolls] == list(range(1, len(rolls) + 1))


@pytest.mark.long
def test_reloaded_and_backed_up_while_it_runs(plant: Plant, tmp_path: Path) -> None:
    content = yaml.safe_load(plant.config.read_text())
    copy = tmp_path / "backup"
    with plant.twin() as running:
        until(lambda: plant.metres() > 2)
        write(plant.config, {**content, "stale_after": "20 s"})
        said = ask(plant.folder, {"do": "reload"}, PATIENCE)
        assert said == {"ok": True, "changed": ["stale_after"]}

        before = plant.samples()
        write(plant.config, {**content, "lateness": "an hour", "segment": "1 m", "colour": "red"})
        refused = twin("reload", "--data", plant.folder)
        assert refused.returncode == 2
        assert "lateness" in refused.stderr
        assert "'colour' is not known" in refused.stderr
        write(plant.config, {**content, "stale_after": "25 s", "segment": "1 m"})
        said = ask(plant.folder, {"do": "reload"}, PATIENCE)
        assert said == {"ok": False, "problems": ["segment needs a restart"]}
        until(lambda: plant.samples() > before)

        write(plant.config, {**content, "stale_after": "25 s"})
        running.send_signal(signal.SIGHUP)
        log = plant.folder.parent / "log"
        until(lambda: "by=SIGHUP" in log.read_text())

        said = ask(plant.folder, {"do": "backup", "folder": str(copy)}, PATIENCE)
        assert said == {"ok": True, "folder": str(copy)}
        (refused,) = twin_many([["restore", str(copy), "--data", str(plant.folder)]], tmp_path)
        assert refused.returncode == 2
        assert "stop it first" in refused.stderr
        stored = plant.samples()
        until(lambda: plant.samples() > stored)
        running.send_signal(signal.SIGTERM)
        assert running.wait(PATIENCE) == 0
    data = ["--data", str(plant.folder)]
    restored, asked = twin_many([["restore", str(copy), *data], ["status", *data]], tmp_path)
    assert restored.returncode == 0, restored.stderr
    assert "what was there is in" in restored.stdout.replace("\n", " ")
    assert asked.returncode == 2
    assert "no service answers" in asked.stderr
    with plant.twin():
        until(lambda: bool((plant.status() or {}).get("ready")))
        assert plant.samples() > before
