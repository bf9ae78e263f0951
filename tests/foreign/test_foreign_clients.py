"""Clients that share no code with linetwin use the virtual line."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.servers import broker, free_port, mosquitto
from twin.app.line import load_surrogates, read_line
from twin.app.service import build_service
from twin.cli.demo import accelerated
from twin.cli.processes import virtual_line as virtual_line_process
from twin.clock import LineClock
from twin.configuration import bundled

__all__ = ["broker", "mosquitto"]

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
GAUGE = "virtual-line/gauges/wet_thickness"
ADVICE = "linetwin/recommendations/coater"

THIN = """
name: thin
metres: 60
actions:
  - {at: {metre: 2}, do: slurry_batch, solids: 0.63, reported_solids: 0.66}
"""

pytestmark = pytest.mark.skipif(shutil.which("npm") is None, reason="npm is not installed")


@pytest.fixture(scope="module")
def clients() -> Path:
    """A folder outside the tree with the scripts and their packages."""
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "linetwin-foreign"
    cache.mkdir(parents=True, exist_ok=True)
    for file in (HERE / "package.json", *HERE.glob("*.mjs")):
        shutil.copy(file, cache)
    if not (cache / "node_modules" / "node-opcua-client").exists():
        subprocess.run(
            ["npm", "install", "--no-audit", "--no-fund", "--no-package-lock"],
            cwd=cache,
            check=True,
            capture_output=True,
            timeout=300,
        )
    return cache


@pytest.fixture
def virtual_line(mosquitto: int, tmp_path: Path) -> Iterator[int]:
    """The virtual line beside the test's mosquitto: the port of its coater."""
    coater = free_port()
    command = [sys.executable, "-m", "simulators"]
    command += ["--scenario", "config/scenarios/nominal.yaml", "--seed", "1"]
    command += ["--acceleration", "20", "--coater-port", str(coater)]
    command += ["--mixer-port", str(free_port()), "--calender-port", str(free_port())]
    command += ["--mqtt-port", str(mosquitto), "--truth", str(tmp_path)]
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as running:
        assert running.stdout is not None
        first = running.stdout.readline()
        assert first.startswith("{"), first
        yield coater
        running.kill()


async def node(clients: Path, script: str, *arguments: str) -> dict[str, Any]:
    process = await asyncio.create_subprocess_exec(
        "node",
        script,
        *arguments,
        cwd=clients,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(60):
            out, err = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    lines = [text for text in out.decode().splitlines() if text.startswith("{")]
    assert lines, err.decode()
    answer: dict[str, Any] = json.loads(lines[-1])
    return answer


async def test_node_opcua_browses_subscribes_and_is_refused(
    clients: Path, virtual_line: int
) -> None:
    url = f"opc.tcp://127.0.0.1:{virtual_line}/coater"
    answer = await node(clients, "opcua_client.mjs", url)
    assert any(name.endswith("s=Coater.PumpFlow.Setpoint") for name in answer["variables"])
    assert len(answer["values"]) == 3
    assert all(value["time"] for value in answer["values"])
    assert answer["refused"] == "BadOutOfRange"
    assert answer["before"] == answer["after"]


async def test_mqtt_js_reads_a_gauge_and_the_twins_retained_recommendation(
    clients: Path, mosquitto: int, tmp_path: Path
) -> None:
    ports = {name: free_port() for name in ("mixer", "coater", "calender")}
    ports["mqtt"] = mosquitto
    epoch = time.time_ns() + 5_000_000_000
    scenario = tmp_path / "thin.yaml"
    scenario.write_text(THIN)
    words = ["--scenario", str(scenario)]
    words += ["--seed", "1", "--acceleration", "30", "--epoch-ns", str(epoch)]
    words += [word for name in ports for word in (f"--{name}-port", str(ports[name]))]
    path = bundled("line.yaml")
    configuration = accelerated(read_line(path), 30, ports)
    async with virtual_line_process(words):
        service = build_service(
            configuration,
            load_surrogates(configuration, path.parent),
            LineClock(30, epoch),
            tmp_path,
        )
        running = asyncio.create_task(service.run())
        answer = await node(
            clients, "mqtt_client.mjs", f"mqtt://127.0.0.1:{mosquitto}", GAUGE, ADVICE
        )
        service.stop()
        await running
        service.store.close()
    assert {"value", "time", "unit"} <= set(answer[GAUGE]["payload"])
    advice = answer[ADVICE]["payload"]
    assert advice["schema"] == "linetwin/recommendation/1"
    assert advice["state"] == "proposed"
    assert advice["changes"][0]["setpoint"] == "coater.pump_flow_setpoint"
    again = await node(clients, "mqtt_client.mjs", f"mqtt://127.0.0.1:{mosquitto}", ADVICE)
    assert again[ADVICE]["retained"]
