"""A server that keeps the samples is killed in the middle of a demo: nobody notices afterwards."""

from __future__ import annotations

import sqlite3
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from connectors.recording import Recording
from tests.stores import InfluxDB1, Server, VictoriaMetrics
from tests.system.test_demo import one_object
from tests.system.twin_program import COMMAND, environment
from twin.app.line import read_line
from twin.app.stores import open_historian
from twin.configuration import bundled
from twin.samples import SampleBatch, severity

MILLISECOND = 1_000_000


def configured(folder: Path, historian: dict[str, Any]) -> Path:
    """The bundled line with another historian."""
    document = yaml.safe_load(bundled("line.yaml").read_text())
    document["store"] = {"historian": historian}
    file = folder / "line.yaml"
    file.write_text(yaml.safe_dump(document, sort_keys=False))
    return file


def wait(condition: Callable[[], bool], demo: subprocess.Popen[str], patience: float = 240) -> None:
    """Wait for a condition while the demo runs."""
    deadline = time.monotonic() + patience
    while not condition():
        assert demo.poll() is None, "the demo ended before"
        assert time.monotonic() < deadline
        time.sleep(0.1)


def advised(data: Path) -> int:
    """How many steps recommendations have taken: proposed, accepted, written, verified …"""
    file = data / "store" / "ledger.sqlite"
    if not file.exists():
        return 0
    with sqlite3.connect(f"file:{file}?mode=ro", uri=True) as ledger:
        try:
            return int(ledger.execute("SELECT count(*) FROM recommendation_states").fetchone()[0])
        except sqlite3.OperationalError:  # not created yet
            return 0
        finally:
            ledger.rollback()


def one_per_time(batch: SampleBatch, resolution: int) -> SampleBatch:
    """The samples as a historian keeps them, by tag, then time."""
    times = (batch.time + resolution // 2) // resolution * resolution
    return SampleBatch(batch.tag, times, batch.value, batch.quality).one_per_time()


@pytest.mark.faults
@pytest.mark.parametrize("kind", ["victoria_metrics", "influxdb"])
def test_a_killed_server_misses_nothing_and_advice_goes_on(kind: str, tmp_path: Path) -> None:
    server: Server
    if kind == "influxdb":
        server = InfluxDB1(tmp_path / "server")
        historian = {
            "kind": kind,
            "url": server.url,
            "database": "plant",
            "version": 1,
            "token": {"file": str(server.token_file)},
        }
        resolution = 1
    else:
        server = VictoriaMetrics(tmp_path / "server")
        historian = {"kind": kind, "url": server.url}
        resolution = MILLISECOND
    config = configured(tmp_path, historian)
    data = tmp_path / "data"
    with server:
        command = [*COMMAND, "demo", "--metres", "80", "--auto-accept", "--json", "--seed", "3"]
        with subprocess.Popen(
            [*command, "--data", data, "--record", tmp_path / "recording", "--config", config],
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as demo:
            try:
                wait(lambda: advised(data) >= 1, demo)
                before = advised(data)
                server.kill()
                # advice goes on while nobody keeps what it rests on
                wait(lambda: advised(data) > before, demo)
                server.start()
                said, problems = demo.communicate(timeout=400)
            finally:
                demo.kill()
        assert demo.returncode == 0, problems
        summary = one_object(said)
        line = read_line(config)
        store = open_historian(line, data / "store")
        tags = range(len(line.tags))
        found = store.read(tags, 0, 2**62)
        store.close()
    arrived = SampleBatch.concatenate(
        [arrivals.batch for arrivals in Recording.open(tmp_path / "recording").stream()]
    )
    sent = one_per_time(arrived, resolution)
    found = found.rows(np.lexsort((found.time, found.tag)))
    print(  # noqa: T201
        f"{kind}: {len(arrived)} samples arrived, {len(sent)} of them at times of their own,"
        f" {len(found)} in the store"
    )
    # every sample is there, once, and nothing else is
    assert found.tag.tolist() == sent.tag.tolist()
    assert found.time.tolist() == sent.time.tolist()
    # what nobody uses, such as an implausible value, stands there with a status of the twin's own
    plain = severity(found.quality) == 0
    if resolution == 1:
        assert found.value[plain].tolist() == sent.value[plain].tolist()
    # twelve digits, and next to nothing beside them is nothing
    np.testing.assert_allclose(found.value[plain], sent.value[plain], rtol=1e-10, atol=1e-12)
    assert summary["samples"]["stored"] >= summary["samples"]["received"]
    assert summary["recommendations"]["verified"] >= 1
