"""The whole service beside a real OPC UA server while the disk of its stores is full."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.faults.scene import Twin, opcua_line, reckon, wait_for
from tests.faults.test_disk_full import fill, small_disk
from tests.servers import free_port
from tests.system.twin_program import ROOT, environment

__all__ = ["small_disk"]

TAGS, RATE, SECONDS = 500, 10, 40


@pytest.mark.faults
def test_a_service_without_its_historian(tmp_path: Path, small_disk: Path) -> None:
    port = free_port()
    folder = small_disk / "twin"
    folder.mkdir()
    (folder / "spool").symlink_to(tmp_path / "spool")
    (tmp_path / "spool").mkdir()
    arguments = map(str, (port, TAGS, RATE, SECONDS))
    with (
        subprocess.Popen(
            [sys.executable, "-m", "tests.faults.opcua_process", *arguments],
            cwd=ROOT,
            env=environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as server,
        Twin(opcua_line(port, TAGS), folder, tmp_path / "line.json") as twin,
    ):
        assert server.stdin is not None
        assert server.stdout is not None
        start = json.loads(server.stdout.readline())["start"]
        twin.start()
        wait_for(lambda: twin.figures()["received"] >= TAGS)
        print("", file=server.stdin, flush=True)
        wait_for(lambda: twin.figures()["stored"] > TAGS * RATE * 2)
        ballast = fill(small_disk)
        wait_for(lambda: twin.figures()["error"] is not None)
        time.sleep(SECONDS / 2)
        away = twin.figures()
        os.remove(ballast)
        turns = json.loads(server.stdout.readline())["turns"]
        twin.quiet()
        figures = twin.stop()
        print("", file=server.stdin, flush=True)
    reckoning = reckon(folder / "historian.duckdb", start, turns * TAGS, TAGS)
    reckoning.more = {"spooled meanwhile": away["spooled"], "dropped": figures["dropped"]}
    reckoning.show(f"DuckDB away for {SECONDS / 2:.0f} s, {TAGS * RATE} values/s over OPC UA")
    assert away["spooled"] > 0
    assert (reckoning.lost, reckoning.duplicated) == (0, 0)
