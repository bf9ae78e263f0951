"""The virtual line as its clients meet it: real OPC UA servers, a real broker, a real process."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
import pyarrow.parquet as pq
import pytest
import pytest_asyncio
from asyncua import Client, ua
from paho.mqtt.enums import CallbackAPIVersion

from simulators.clock import LineClock, to_iso
from simulators.opcua_servers import NAMESPACE, Ports
from simulators.runner import Outcome, run_line
from simulators.scenario import parse_scenario
from simulators.signals import Kind, signals
from tests.servers import Broker, free_port

ACCELERATION = 60.0
shared = pytest.mark.asyncio(loop_scope="module")
"""On the loop of the line that the tests of this module share: they take seconds to start."""


@dataclass
class Running:
    """A line that runs beside the test."""

    endpoints: dict[str, str]
    epoch_ns: int
    stop: asyncio.Event
    task: asyncio.Task[Outcome]
    truth: Path


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def line(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Running]:
    """A line for the tests that leave it running."""
    async with running_line(tmp_path_factory.mktemp("line")) as running:
        yield running


@asynccontextmanager
async def running_line(folder: Path) -> AsyncIterator[Running]:
    """A line with servers and a broker of its own."""
    with ExitStack() as leaving:
        broker = Broker(folder)
        leaving.callback(broker.stop)
        broker.start()
        stop, ready = asyncio.Event(), asyncio.Event()
        endpoints: dict[str, str] = {}

        def is_ready(found: dict[str, str]) -> None:
            endpoints.update(found)
            ready.set()

        epoch = time.time_ns()
        task = asyncio.create_task(
            run_line(
                parse_scenario("name: nominal"),
                1,
                acceleration=ACCELERATION,
                epoch_ns=epoch,
                ports=Ports(free_port(), free_port(), free_port()),
                mqtt_port=broker.port,
                truth_folder=folder / "truth",
                stop=stop,
                ready=is_ready,
            )
        )
        try:
            await asyncio.wait_for(ready.wait(), 30)
            yield Running(endpoints, epoch, stop, task, folder / "truth")
        finally:
            stop.set()
            await asyncio.wait_for(task, 10)


async def node_of(client: Client, name: str) -> Any:
    index = await client.get_namespace_index(NAMESPACE)
    return client.get_node(f"ns={index};s={name}")


async def status_of(write: Any) -> str:
    try:
        await write
    except ua.UaStatusCodeError as error:
        return type(error).__name__
    return "Good"


@shared
async def test_variables_carry_unit_range_and_line_time(line: Running) -> None:
    await asyncio.sleep(0.3)
    for machine in ("mixer", "coater", "calender"):
        async with Client(line.endpoints[machine]) as client:
            for item in signals(3):
                if item.machine.value != machine:
                    continue
                node = await node_of(client, item.name)
                data = await node.read_data_value()
                assert data.StatusCode.is_good(), item.name
                moment = data.SourceTimestamp.replace(tzinfo=UTC)
                elapsed = moment - datetime.fromtimestamp(line.epoch_ns / 1e9, UTC)
                assert timedelta(0) <= elapsed < timedelta(hours=1), item.name
                if item.kind is Kind.ANALOG:
                    span = await (await node.get_child("0:EURange")).read_value()
                    unit = await (await node.get_child("0:EngineeringUnits")).read_value()
                    assert (span.Low, span.High) == (item.low, item.high)
                    assert unit.DisplayName.Text == item.unit
                    kind = await node.read_type_definition()
                    assert kind.Identifier == ua.ObjectIds.AnalogItemType


@shared
async def test_bad_writes_are_refused_item_by_item(line: Running) -> None:
    async with Client(line.endpoints["coater"]) as client:
        gap = await node_of(client, "Coater.Gap.Setpoint")
        actual = await node_of(client, "Coater.Gap.Actual")
        double = ua.VariantType.Double
        assert await status_of(gap.write_value(5000.0, double)) == "BadOutOfRange"
        assert await status_of(gap.write_value(float("nan"), double)) == "BadOutOfRange"
        assert await status_of(gap.write_value("wide", ua.VariantType.String)) == "BadTypeMismatch"
        assert await status_of(gap.write_value([200.0], double)) == "BadTypeMismatch"
        assert await status_of(actual.write_value(200.0, double)) == "BadNotWritable"
        assert await gap.read_value() == 190.0
        several = ua.WriteParameters()
        for node, value in ((gap, 230.0), (gap, 1e6)):
            item = ua.WriteValue(NodeId=node.nodeid, AttributeId=ua.AttributeIds.Value)
            item.Value = ua.DataValue(ua.Variant(value, double))
            several.NodesToWrite.append(item)
        good, bad = await client.uaclient.write(several)
        assert good.is_good()
        assert bad.name == "BadOutOfRange"
        assert await gap.read_value() == 230.0


@shared
async def test_a_setpoint_moves_the_plant(line: Running) -> None:
    async with Client(line.endpoints["coater"]) as client:
        speed = await node_of(client, "Coater.LineSpeed.Setpoint")
        pump = await node_of(client, "Coater.PumpFlow.Setpoint")
        before = await pump.read_value()
        await speed.write_value(2.0, ua.VariantType.Double)
        assert await speed.read_value() == 2.0
        await asyncio.sleep(0.8)
        actual = await (await node_of(client, "Coater.LineSpeed.Actual")).read_value()
        assert actual == pytest.approx(2.0, rel=0.02)
        assert await pump.read_value() == pytest.approx(before * 2 / 3, rel=1e-6)


@shared
async def test_gauges_speak_json_on_mqtt(line: Running) -> None:
    port = int(line.endpoints["mqtt"].rsplit(":", 1)[1])
    heard: dict[str, list[dict[str, Any]]] = {}
    client = mqtt.Client(CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5)
    client.on_message = lambda _c, _u, message: heard.setdefault(message.topic, []).append(
        json.loads(message.payload)
    )
    client.connect("127.0.0.1", port)
    client.subscribe("virtual-line/#", qos=1)
    client.loop_start()
    await asyncio.sleep(1.5)
    client.disconnect()
    client.loop_stop()
    units = {
        "wet_thickness": "um",
        "web_temperature": "degC",
        "mass_loading": "g/m^2",
        "dry_thickness": "um",
        "calendered_thickness": "um",
    }
    for name, unit in units.items():
        messages = heard[f"virtual-line/gauges/{name}"]
        assert len(messages) > 30
        assert {m["unit"] for m in messages} == {unit}
        assert {m["status"] for m in messages} == {"ok"}
        times = [datetime.fromisoformat(m["time"]) for m in messages]
        assert times == sorted(times)
        assert messages[0]["time"].endswith("Z")


async def test_a_stopped_run_leaves_whole_truth_files(tmp_path: Path) -> None:
    async with running_line(tmp_path) as line:
        await asyncio.sleep(1.0)
        line.stop.set()
        outcome = await asyncio.wait_for(line.task, 5)
        assert not outcome.finished
        assert outcome.worst_lag_s < 30.0
        assert pq.read_table(line.truth / "segments.parquet").num_rows > 0
        assert pq.read_table(line.truth / "readings.parquet").num_rows > 0


async def test_the_process_says_ready_and_leaves_within_a_second(tmp_path: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "simulators",
        *("--acceleration", "60", "--metres", "300", "--truth", str(tmp_path)),
        *("--mixer-port", str(free_port()), "--coater-port", str(free_port())),
        *("--calender-port", str(free_port()), "--mqtt-port", "0"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        cwd=Path(__file__).parents[2],
    )
    assert process.stdout is not None
    said = json.loads(await asyncio.wait_for(process.stdout.readline(), 30))
    assert said["ready"] is True
    assert set(said["endpoints"]) == {"mixer", "coater", "calender"}
    async with Client(said["endpoints"]["coater"]) as client:
        await (await node_of(client, "Coater.WebLength")).read_value()
        began = time.monotonic()
        process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(process.wait(), 5) == 0
        assert time.monotonic() - began < 1.0
    assert (tmp_path / "segments.parquet").exists()


def test_line_clock_runs_faster() -> None:
    clock = LineClock(epoch_ns=0, wall_start_ns=10, acceleration=60.0)
    assert clock.at(1_000_000_010) == 60_000_000_000
    assert to_iso(1_000_006_000) == "1970-01-01T00:00:01.000006Z"
