"""Work on a Dask cluster: a real scheduler and worker, processes of their own on the loopback."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from distributed import LocalCluster
from typer.testing import CliRunner

from tests.servers import free_port
from twin.cli.commands import app

DAY = "name: short day\nmetres: 20\nplant:\n  coater: {roll_length_m: 10}\n"


pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def scheduler() -> Iterator[str]:
    with LocalCluster(
        n_workers=1, threads_per_worker=1, processes=True, host="127.0.0.1", dashboard_address=None
    ) as cluster:
        yield cluster.scheduler_address


def test_an_assessment_on_a_cluster_is_the_one_made_here(scheduler: str, tmp_path: Path) -> None:
    day = tmp_path / "day.yaml"
    day.write_text(DAY)
    words = ["assess", str(day), "--seeds", "1", "--against", "oracle", "--jobs", "1", "--json"]
    here, there = (
        json.loads(CliRunner().invoke(app, more, catch_exceptions=False).stdout)
        for more in (words, [*words, "--dask", scheduler])
    )
    for found in (here, there):
        for figures in found["short day"].values():
            del figures["milliseconds_per_decision"]
    assert there == here


def test_models_trained_on_a_cluster_are_those_trained_here(scheduler: str, tmp_path: Path) -> None:
    words = ["train", "mixing", "--samples", "64", "--seed", "3", "--json"]
    for folder, more in (("here", []), ("there", ["--dask", scheduler])):
        said = CliRunner().invoke(
            app, [*words, "--output", str(tmp_path / folder), *more], catch_exceptions=False
        )
        assert said.exit_code == 0
    here, there = (tmp_path / folder / "mixing.onnx" for folder in ("here", "there"))
    assert there.read_bytes() == here.read_bytes()


def test_a_scheduler_that_does_not_answer_is_named() -> None:
    address = f"tcp://127.0.0.1:{free_port()}"
    said = CliRunner().invoke(app, ["train", "mixing", "--dask", address])
    assert isinstance(said.exception, ValueError)
    assert f"no Dask scheduler answers at {address}" in str(said.exception)
