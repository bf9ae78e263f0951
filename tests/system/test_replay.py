"""Record a real run, stop it in all the ways that occur, and replay it: as people do it."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from connectors.recording import MANIFEST, Recording
from tests.servers import Broker, broker, until
from tests.system.test_commands import all_ports, configuration
from tests.system.twin_program import COMMAND, environment, twin
from twin.configuration import bundled

__all__ = ["broker"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Path]:
    """A demo over OPC UA and MQTT that is recorded: its summary, and the recording."""
    folder = tmp_path_factory.mktemp("live") / "recording"
    ended = twin(
        *("demo", "--metres", 26, "--seed", 4, "--auto-accept", "--json"),
        *("--scenario", "slurry-solids-step", "--record", folder),
        patience=120,
    )
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout), folder


def replayed(*arguments: object) -> dict[str, Any]:
    ended = twin("replay", *arguments, "--json")
    assert ended.returncode == 0, ended.stderr
    summary: dict[str, Any] = json.loads(ended.stdout)
    return summary


def test_a_real_run_replays_to_the_same_figures(run: tuple[dict[str, Any], Path]) -> None:
    live, folder = run
    again = replayed(folder)
    assert live["recommendations"]["verified"] > 0
    for key in ("mae", "residual_bias"):
        assert again[key].keys() == live[key].keys()
        for name, value in live[key].items():
            assert again[key][name] == pytest.approx(value, rel=1e-9, abs=1e-12), name
    made = {state: count for state, count in live["recommendations"].items() if count}
    assert made.items() <= again["recommendations"].items()
    assert again["decisions_without_advice"] == 0
    assert again["samples"]["received"] == live["samples"]["received"]
    for reason in ("late", "not a number", "out of range"):
        assert again["samples"]["rejected"].get(reason, 0) == live["samples"]["rejected"].get(
            reason, 0
        )


def test_the_recording_is_whole_and_holds_its_models(run: tuple[dict[str, Any], Path]) -> None:
    live, folder = run
    manifest = Recording.open(folder).manifest
    assert manifest.complete
    assert manifest.samples == live["samples"]["received"]
    assert {model.step for model in manifest.models} == {
        "mixing",
        "coating",
        "drying",
        "calendering",
    }


@pytest.mark.long
def test_speed_and_span(run: tuple[dict[str, Any], Path]) -> None:
    _, folder = run
    whole = replayed(folder)
    part = replayed(folder, "--to", 400)
    assert 0 < part["samples"]["received"] < whole["samples"]["received"]
    assert part["line_seconds"] == pytest.approx(400, abs=1)
    paced = replayed(folder, "--from", 300, "--to", 400, "--speed", 60)
    assert paced["seconds"] > 1.5
    for key in ("mae", "residual_bias", "recommendations", "samples"):
        assert (
            paced[key] == pytest.approx(part[key], rel=1e-9)
            if key == "mae"
            else (paced[key] == part[key] or key == "residual_bias")
        )


@pytest.mark.long
def test_with_a_historian_the_same_is_stored(
    run: tuple[dict[str, Any], Path], tmp_path: Path
) -> None:
    live, folder = run
    again = replayed(folder, "--data", tmp_path / "data")
    assert again["samples"]["stored"] == live["samples"]["stored"]
    ended = twin(
        "record",
        tmp_path / "back",
        "--data",
        tmp_path / "data",
        "--json",
        *("--from-historian", "2020-01-01T00:00:00", "2040-01-01T00:00:00"),
    )
    assert ended.returncode == 0, ended.stderr
    # a store has one sample per tag and time
    held = json.loads(ended.stdout)["samples"]
    assert 0.99 * live["samples"]["stored"] < held <= live["samples"]["stored"]
    assert replayed(tmp_path / "back")["metres"] == pytest.approx(again["metres"], abs=1)


@pytest.mark.long
def test_another_configuration_is_refused_with_the_difference(
    run: tuple[dict[str, Any], Path], tmp_path: Path
) -> None:
    _, folder = run
    content = yaml.safe_load(bundled("line.yaml").read_text())
    content["steps"]["coating"]["outputs"]["mass_loading"]["target"] = 181
    content["tags"]["coater.pump"] = content["tags"].pop("coater.pump_flow")
    content["steps"]["coating"]["inputs"]["pump_flow"] = "coater.pump"
    content["batches"]["slurry"]["flow"] = "coater.pump"
    file = tmp_path / "line.yaml"
    file.write_text(yaml.safe_dump(content, sort_keys=False))
    ended = twin("replay", folder, "--config", file)
    assert ended.returncode == 2
    said = ended.stderr
    assert "steps.coating.outputs.mass_loading.target: recorded 180.0, here 181.0" in said
    assert "tags.coater.pump_flow: recorded, but not in this configuration" in said
    assert "--map" in said
    mapped = replayed(folder, "--config", file, "--rename", "coater.pump_flow=coater.pump")
    assert mapped["mae"]["coating.mass_loading"] > 0
    assert np.isfinite(mapped["mae"]["coating.mass_loading"])


def test_damage_is_refused(run: tuple[dict[str, Any], Path], tmp_path: Path) -> None:
    _, folder = run
    copy = tmp_path / "copy"
    for file in folder.rglob("*"):
        if file.is_file():
            target = copy / file.relative_to(folder)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(file.read_bytes())
    assert replayed(copy)["metres"] > 0
    victim = next((copy / "samples").iterdir())
    content = bytearray(victim.read_bytes())
    content[100] ^= 0xFF
    victim.write_bytes(content)
    ended = twin("replay", copy)
    assert ended.returncode == 2
    said = " ".join(ended.stderr.split())
    assert str(victim) in said.replace(" ", "") or str(victim) in said
    assert "SHA-256" in said
    assert "Traceback" not in said


def test_killed_in_the_middle_replays(broker: Broker, tmp_path: Path) -> None:
    folder = tmp_path / "recording"
    ports = all_ports(broker.port)
    configuration(tmp_path, ports)
    file = tmp_path / "line.yaml"
    file.write_text(file.read_text().replace("lateness: 2 s", "lateness: 20 s"))
    clock = ("--acceleration", "60", "--epoch-ns", str(time.time_ns() + 4 * 10**9))
    simulate = [*COMMAND, "simulate", *clock]
    for name, port in ports.items():
        simulate += [f"--{name}-port", str(port)]
    follow = [*COMMAND, "run", str(file), "--data", str(tmp_path / "data"), "--port", "0", *clock]
    with (
        subprocess.Popen(simulate, env=environment(), stdout=subprocess.PIPE) as line,
        subprocess.Popen(
            [*follow, "--record", str(folder)], env=environment(), stderr=subprocess.DEVNULL
        ) as running,
    ):
        try:
            asyncio.run(until(lambda: recorded(folder) > 5000, patience=60))
        finally:
            running.send_signal(signal.SIGKILL)
            line.send_signal(signal.SIGINT)
    recording = Recording.open(folder)
    assert not recording.manifest.complete
    again = replayed(folder)
    assert again["samples"]["received"] == recording.manifest.samples > 5000
    assert again["metres"] > 0


def recorded(folder: Path) -> int:
    manifest = folder / MANIFEST
    return int(json.loads(manifest.read_text())["samples"]) if manifest.is_file() else 0
