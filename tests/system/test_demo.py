"""`twin demo`: the virtual line and the twin that follows it, each a program of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from tests.system.twin_program import COMMAND, environment, twin
from twin.app.line import read_line
from twin.configuration import bundled
from twin.historian import DuckDBHistorian
from twin.ledger import Ledger
from twin.samples import SampleBatch

JUDGED = (
    "coating.wet_thickness",
    "coating.mass_loading",
    "drying.dry_thickness",
    "calendering.calendered_thickness",
    "calendering.porosity",
)
STATES = ("proposed", "accepted", "written", "verified", "failed")


def one_object(text: str) -> dict[str, Any]:
    """Standard output, which must be one JSON object and nothing else."""
    lines = text.splitlines()
    assert len(lines) == 1, text
    answer: dict[str, Any] = json.loads(lines[0])
    return answer


def stored(data: Path) -> tuple[SampleBatch, dict[str, int]]:
    """All that the historian holds, and the tags' numbers."""
    tags = read_line(bundled("line.yaml")).tag_table()
    with DuckDBHistorian(data / "store" / "historian.duckdb", tags) as historian:
        samples = historian.read(list(range(len(tags))), 0, 2**62)
    return samples, {tag.name: index for index, tag in enumerate(tags)}


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Path]:
    """One demo for all the tests that look at what it leaves; a slow computer can follow it."""
    data = tmp_path_factory.mktemp("demo")
    ended = twin(
        *("demo", "--metres", 40, "--acceleration", 40, "--auto-accept", "--json", "--seed", 2),
        *("--data", data),
        patience=200,
    )
    assert ended.returncode == 0, ended.stderr
    assert "Traceback" not in ended.stderr
    assert "Warning" not in ended.stderr
    return one_object(ended.stdout), data


def test_the_summary_says_what_the_line_made(demo: tuple[dict[str, Any], Path]) -> None:
    summary, _ = demo
    print(json.dumps(summary, indent=1))  # noqa: T201
    assert summary["metres"] == pytest.approx(40, abs=1)
    assert summary["seed"] == 2
    assert summary["scenario"] == "nominal"
    for name in ("metres", "in_spec_metres", "in_spec_metres_without_advice"):
        assert isinstance(summary[name], float)
    assert 0 <= summary["in_spec_metres_without_advice"] <= 40
    assert summary["in_spec_metres_without_advice"] < summary["in_spec_metres"] <= 40
    for kind in ("mae", "residual_bias"):
        assert set(JUDGED) <= set(summary[kind])
        assert all(isinstance(value, float) for value in summary[kind].values())
    assert all(abs(bias) <= summary["mae"][at] for at, bias in summary["residual_bias"].items())


def test_advice_was_accepted_written_and_read_back(demo: tuple[dict[str, Any], Path]) -> None:
    advice = demo[0]["recommendations"]
    assert set(advice) == set(STATES)
    assert advice["proposed"] >= advice["accepted"] >= 1
    assert advice["verified"] == advice["written"] == advice["accepted"]
    assert advice["failed"] == 0


def test_the_summary_counts_samples(demo: tuple[dict[str, Any], Path]) -> None:
    samples = demo[0]["samples"]
    assert samples["received"] > 10_000
    assert samples["stored"] == samples["received"]
    assert all(isinstance(count, int) for count in samples["rejected"].values())
    assert sum(samples["rejected"].values()) < 0.01 * samples["received"]


def test_the_historian_holds_predicted_and_measured(demo: tuple[dict[str, Any], Path]) -> None:
    summary, data = demo
    samples, index = stored(data)
    for name in JUDGED:
        rows = {}
        for kind in ("predicted", "measured", "residual"):
            of_kind = samples.where(samples.tag == index[f"{name}.{kind}"])
            rows[kind] = dict(zip(of_kind.time.tolist(), of_kind.value.tolist(), strict=True))
        assert len(rows["residual"]) > 40, name
        for moment, residual in rows["residual"].items():
            difference = rows["measured"][moment] - rows["predicted"][moment]
            assert residual == pytest.approx(difference, abs=1e-12)
    line = read_line(bundled("line.yaml"))
    measured = sum(int((samples.tag == index[name]).sum()) for name in line.tags)
    # repeated samples of a moment are one row
    assert 0.99 * summary["samples"]["received"] <= measured <= summary["samples"]["received"]


def test_the_ledger_holds_recommendations_with_their_history(
    demo: tuple[dict[str, Any], Path],
) -> None:
    summary, data = demo
    with Ledger(f"sqlite:///{data / 'store' / 'ledger.sqlite'}") as ledger:
        advised = ledger.recommendations()
        rolls = ledger.rolls("coater")
    assert len(advised) == summary["recommendations"]["proposed"]
    reached = defaultdict(int)
    for document in advised:
        states = [entry["state"] for entry in document["history"]]
        for state in states:
            reached[state] += 1
        if "accepted" in states:
            assert states == ["proposed", "accepted", "written", "verified"]
            assert document["by"] == "auto-accept"
        times = [entry["time"] for entry in document["history"]]
        assert times == sorted(times)
    assert {state: reached[state] for state in STATES} == summary["recommendations"]
    assert rolls


def test_the_setpoint_was_moved_on_the_machine(demo: tuple[dict[str, Any], Path]) -> None:
    _, data = demo
    samples, index = stored(data)
    setpoint = samples.where(samples.tag == index["coater.pump_flow_setpoint"])
    assert len(np.unique(setpoint.value)) > 1


@pytest.mark.long
def test_without_mosquitto_the_embedded_broker_serves(tmp_path: Path) -> None:
    data = tmp_path / "data"
    hidden = tmp_path / "program"
    hidden.mkdir()
    # the search path that is looked at where PATH says nothing is replaced as well
    no_broker = (
        "import shutil; which = shutil.which; "
        "shutil.which = lambda name, *_, **__: None if name == 'mosquitto' else which(name)\n"
    )
    (hidden / "sitecustomize.py").write_text(no_broker)
    path = os.pathsep.join((str(hidden), environment()["PYTHONPATH"]))
    ended = twin(
        *("demo", "--metres", 15, "--acceleration", 40, "--auto-accept", "--json"),
        *("--data", data),
        patience=150,
        PATH=str(hidden),
        PYTHONPATH=path,
    )
    assert ended.returncode == 0, ended.stderr
    assert "Traceback" not in ended.stderr
    summary = one_object(ended.stdout)
    assert summary["metres"] == pytest.approx(15, abs=1)
    assert "coating.mass_loading" in summary["mae"]
    assert summary["samples"]["stored"] == summary["samples"]["received"]
    noise = [line for line in ended.stderr.splitlines() if "Warning" in line]
    assert not noise


def test_ctrl_c_ends_a_demo_at_once_and_loses_nothing(tmp_path: Path) -> None:
    with subprocess.Popen(
        [*COMMAND, "demo", "--metres", "100", "--auto-accept", "--data", str(tmp_path)],
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as running:
        try:
            # the truth is first written after some seconds of coating
            deadline = time.monotonic() + 60
            while not (tmp_path / "truth" / "segments.parquet").exists():
                assert running.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.1)
            os.killpg(running.pid, signal.SIGINT)
            asked = time.monotonic()
            out, err = running.communicate(timeout=30)
            took = time.monotonic() - asked
        finally:
            running.kill()
    print(f"ended {took:.2f} s after Ctrl-C")  # noqa: T201
    assert running.returncode == 130, err
    assert "Traceback" not in out + err
    # at once, on a busy computer too
    assert took < 10.0
    samples, index = stored(tmp_path)
    length = samples.where(samples.tag == index["coater.web_length"])
    truth = pq.read_table(tmp_path / "truth" / "segments.parquet")["position"].to_numpy()
    # everything up to the moment: the line was asked to end at the same time as the twin
    assert length.value.max() >= truth.max() - 10
    assert len(samples) > 1_000
    with Ledger(f"sqlite:///{tmp_path / 'store' / 'ledger.sqlite'}") as ledger:
        assert ledger.rolls("coater")
