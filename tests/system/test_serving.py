"""A recording served as if it were a line: what clients and a twin beside it get."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from asyncua import Client, ua

from connectors.mqtt import MqttSource
from connectors.opcua import OpcUaSource
from connectors.recorder import RecordingWriter
from connectors.recording import Recording
from connectors.serving import ServedLine
from connectors.serving.gauges import Messages
from simulators.scenario import parse_scenario
from tests.connectors.reading import Reading, line, opcua_tag, reading
from tests.in_process import LineInProcess, line_configuration
from tests.servers import Broker, broker, free_port, until
from tests.system.twin_program import COMMAND, environment, twin, twin_many
from twin.app.line import load_surrogates, read_line
from twin.app.service import build_service
from twin.cli.demo import accelerated
from twin.clock import LineClock, ManualClock
from twin.configuration import bundled
from twin.configuration.models import LineConfiguration, MqttAddress
from twin.intervention import Arrivals
from twin.ports import Write
from twin.samples import BAD_NO_COMMUNICATION, OfflineMeasurement, SampleBatch

__all__ = ["broker"]

SPEED = 60.0
TIMES = 1_767_225_600_123_456_789
UNCERTAIN = 0x40900000
RUN = """
name: short rolls
metres: 13
plant:
  coater: {roll_length_m: 5}
  laboratory: {delay_min: 1}
"""


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A line of 12 minutes, with a sensor that failed and one that was doubted."""
    folder = tmp_path_factory.mktemp("served") / "recording"
    ports = dict.fromkeys(("mixer", "coater", "calender", "mqtt"), 1)
    # half a wall second of patience: computers that test have other things to do
    told = accelerated(line_configuration(), 2 * SPEED, ports)
    tension = told.tag_table().index("coater.web_tension")
    with RecordingWriter(folder, told, "test") as recorder:
        run = LineInProcess(parse_scenario(RUN), 3, line=told, accept=False, recorder=recorder)
        for second, batch in enumerate(run.recorded(1.0)):
            run.deliver(batch)
            if second in (300, 310):
                now = run.line.now_ns
                value, quality = ((np.nan, BAD_NO_COMMUNICATION), (90.0, UNCERTAIN))[second == 310]
                odd = SampleBatch.of([tension], [now], [value], [quality])
                recorder.append(Arrivals(odd, np.array([now])))
    return folder


def elsewhere(recording: Path, folder: Path, broker: Broker) -> Path:
    """The recorded configuration, with addresses that are free."""
    recorded = Recording.open(recording).line
    ports = {name: free_port() for name in ("mixer", "coater", "calender")}
    moved = accelerated(recorded, 1.0, ports | {"mqtt": broker.port})
    file = folder / "line.yaml"
    text = moved.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    file.write_text(yaml.safe_dump(text, sort_keys=False))
    return file


@contextlib.contextmanager
def served(*arguments: object) -> Iterator[tuple[subprocess.Popen[str], dict[str, Any]]]:
    """`twin replay --serve`, and what it says when it is ready."""
    words = [*COMMAND, "replay", *map(str, arguments), "--serve", "--json"]
    with subprocess.Popen(
        words, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as running:
        assert running.stdout is not None
        assert running.stderr is not None
        try:
            first = running.stdout.readline()
            assert first, running.stderr.read()
            yield running, json.loads(first)
        finally:
            running.kill()


class Tape:
    """A recorder that keeps what arrived."""

    def __init__(self) -> None:
        self.batches: list[SampleBatch] = []

    def append(self, arrivals: Arrivals) -> None:
        self.batches.append(arrivals.batch)

    def tick(self, now: int) -> None:
        pass

    def gap(self, since: int, until: int, what: str) -> None:
        pass


@dataclass(frozen=True)
class Samples:
    """What there was of every tag: rows of time (ns), value (SI) and status, each once."""

    rows: dict[str, dict[int, tuple[float, int]]]
    offline: list[OfflineMeasurement]

    @staticmethod
    def of(line: LineConfiguration, batches: list[SampleBatch], shift: int = 0) -> Samples:
        whole = SampleBatch.concatenate(batches)
        rows: dict[str, dict[int, tuple[float, int]]] = {}
        for index, (name, tag) in enumerate(line.tags.items()):
            here = whole.tag == index
            # OPC UA through asyncua has microseconds
            grain = 1 if isinstance(tag.address, MqttAddress) else 1000
            times = whole.time[here] // grain * grain + shift
            pairs = zip(whole.value[here].tolist(), whole.quality[here].tolist(), strict=True)
            rows[name] = dict(zip(times.tolist(), pairs, strict=True))
        return Samples(rows, list(whole.offline))


@pytest.mark.long
async def test_a_twin_beside_it_sees_what_the_twin_of_then_saw(
    recording: Path, broker: Broker, tmp_path: Path
) -> None:
    file = elsewhere(recording, tmp_path, broker)
    told = read_line(file)
    opened = Recording.open(recording)
    recorded = [arrivals.batch for arrivals in opened.stream()]
    tape = Tape()
    with served(recording, "--config", file, "--speed", SPEED) as (running, ready):
        assert ready["ready"]
        clock = LineClock(ready["acceleration"], ready["epoch_ns"])
        service = build_service(
            told, load_surrogates(told, bundled("line.yaml").parent), clock, tmp_path / "store"
        )
        service.record(tape)
        task = asyncio.create_task(service.run())
        await until(lambda: all(source.state.connected for source in service.sources), 20)
        assert clock.now() < ready["epoch_ns"], "it began before anybody was there"
        await a_write_is_refused(service.sources, ready["endpoints"]["coater"])

        assert running.stdout is not None
        summary = json.loads(await asyncio.to_thread(running.stdout.readline))
        await asyncio.to_thread(running.wait, 5)
        service.stop()
        await task
    assert running.returncode == 0
    assert summary["dropped"] == 0
    assert summary["writes_refused"] == 2
    count = sum(len(batch) + len(batch.offline) for batch in recorded)
    assert sum(summary["published"].values()) == count
    took, lag = summary["seconds"], summary["lag_seconds"]
    print(f"{count} samples in {took:.1f} s, at most {lag:.3f} s late")  # noqa: T201  # the figures
    same_samples(told, recorded, tape.batches, ready["shift_ns"])

    replayed = json.loads(twin("replay", recording, "--without-decisions", "--json").stdout)
    shown = service.status.parameters
    mae = {name: shown[name].mean_absolute_error for name in replayed["mae"]}
    assert len(mae) >= 9
    # machines and broker have no order in common: what was predicted within the second in which a
    # laboratory value came may have used it, or not yet
    assert mae == pytest.approx(replayed["mae"], rel=0.03)
    same = [name for name, value in mae.items() if np.isclose(value, replayed["mae"][name], 1e-6)]
    assert len(same) >= 7
    print("equal to 1e-6:", *same)  # noqa: T201
    assert service.status.metres == replayed["metres"]
    service.store.close()


async def a_write_is_refused(sources: Any, url: str) -> None:
    async with Client(url) as client:
        index = await client.get_namespace_index("urn:linetwin:virtual-line")
        own = await client.get_namespace_index("urn:linetwin:replay")
        node = client.get_node(ua.NodeId("Coater.PumpFlow.Setpoint", index))
        path = ["0:Objects", f"{own}:coater", f"{own}:pump_flow_setpoint"]
        assert await client.nodes.root.get_child(path) == node
        assert "recording cannot answer" in (await node.read_description()).Text
        before = await node.read_value()
        with pytest.raises(ua.uaerrors.BadNotWritable):
            await node.write_value(ua.DataValue(ua.Variant(before + 1.0, ua.VariantType.Double)))
        assert await node.read_value() == before
    coater = next(source for source in sources if source.name == "coater")
    assert isinstance(coater, OpcUaSource)
    setpoint = list(line_configuration().tags).index("coater.pump_flow_setpoint")
    outcome = await coater.write(Write(setpoint, 1e-6))
    assert outcome.status == "denied"
    assert "BadNotWritable" in outcome.reason


def same_samples(
    told: LineConfiguration, recorded: list[SampleBatch], got: list[SampleBatch], shift: int
) -> None:
    then, now = Samples.of(told, recorded, shift), Samples.of(told, got)
    compared = 0
    for name, expected in then.rows.items():
        found = now.rows[name]
        missing = [time for time in expected if time not in found]
        assert not missing, f"{name}: {len(missing)} of {len(expected)} are missing"
        values = np.array([expected[time] for time in expected]).reshape(-1, 2)
        others = np.array([found[time] for time in expected]).reshape(-1, 2)
        np.testing.assert_allclose(others[:, 0], values[:, 0], rtol=1e-12, atol=0, err_msg=name)
        np.testing.assert_array_equal(others[:, 1], values[:, 1], name)
        compared += len(expected)
    assert compared > 15_000
    assert len(then.offline) == len(now.offline) > 0
    for one, other in zip(then.offline, now.offline, strict=True):
        assert other.value == pytest.approx(one.value, rel=1e-12)
        assert other.sampled == one.sampled + shift
        assert (other.tag, other.roll, other.metre, other.batch) == (
            *(one.tag, one.roll, one.metre, one.batch),
        )
        assert abs(other.known - shift - one.known) < 2 * SPEED * 1e9


def test_it_ends_at_once(recording: Path, broker: Broker, tmp_path: Path) -> None:
    file = elsewhere(recording, tmp_path, broker)
    with served(recording, "--config", file) as (running, ready):
        assert ready["acceleration"] == 1.0
        asked = time.monotonic()
        running.send_signal(signal.SIGINT)
        assert running.wait(5) == 130
        # two seconds for people; Python alone takes one to leave what `twin` loads, more where
        # others compute
        assert time.monotonic() - asked < 3.0
        assert running.stderr is not None
        assert "Traceback" not in running.stderr.read()


def test_what_cannot_be_is_told_in_sentences(
    recording: Path, broker: Broker, tmp_path: Path
) -> None:
    taken, nobody = elsewhere(recording, tmp_path, broker), tmp_path / "nobody.yaml"
    content = yaml.safe_load(taken.read_text())
    content["connectors"]["gauges"]["port"] = free_port()
    nobody.write_text(yaml.safe_dump(content, sort_keys=False))
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", int(content["connectors"]["mixer"]["url"].split(":")[2][:-6])))
        busy.listen()
        start = ["replay", str(recording), "--serve"]
        answers = twin_many(
            [
                [*start, "--config", str(taken)],
                [*start, "--config", str(nobody)],
                [*start, "--speed", "max"],
                [*start, "--from", "60"],
            ],
            tmp_path,
        )
    expected = (
        "mixer cannot be served at opc.tcp://127.0.0.1:",
        "nobody listens there; start the broker",
        "--serve runs at the speed of a clock",
        "leave out --from",
    )
    for answer, words in zip(answers, expected, strict=True):
        assert answer.returncode == 2, answer.stderr
        assert words in answer.stderr
        assert "Traceback" not in answer.stderr
    assert "--config" in answers[0].stderr


@contextlib.asynccontextmanager
async def small(
    folder: Path, told: LineConfiguration, *batches: SampleBatch
) -> AsyncIterator[ServedLine]:
    """A recording whose batches arrived second by second, served at 10 x."""
    with RecordingWriter(folder, told, "test") as recorder:
        for second, batch in enumerate(batches):
            arrived = np.full(len(batch), TIMES + second * 1_000_000_000)
            recorder.append(Arrivals(batch, arrived))
    async with ServedLine(Recording.open(folder), 10.0, lead=1.0) as lines:
        yield lines


async def test_nodes_of_every_form_and_what_they_hold_at_first(tmp_path: Path) -> None:
    url = f"opc.tcp://127.0.0.1:{free_port()}/machine"
    told = line(
        {"machine": {"kind": "opcua", "security": "none", "url": url}},
        {
            "oven.hot": opcua_tag("ns=4;i=17", "degC"),
            "oven.on": opcua_tag("ns=2;s=On", "dimensionless"),
            "speed": opcua_tag("nsu=urn:theirs;s=Speed", "m/min", role="setpoint"),
            "oven.late": opcua_tag("nsu=urn:theirs;g=8b2d1a34-1111-4222-8333-123456789abc", "m"),
            "oven.never": opcua_tag("nsu=urn:theirs;s=Never", "m"),
        },
    )
    first = SampleBatch.of(
        [0, 1, 2], [TIMES - 900, TIMES - 900, TIMES], [473.15, np.nan, 0.05], [0, 0x80310000, 0]
    )
    later = SampleBatch.of([3, 0], [TIMES + 900_000_000] * 2, [2.0, 483.15])
    async with small(tmp_path / "recording", told, first, later) as serving:
        async with Client(url) as client:
            theirs = await client.get_namespace_index("urn:theirs")
            assert theirs > 4
            hot = client.get_node("ns=4;i=17")
            value = await hot.read_data_value()
            assert value.Value.Value == pytest.approx(200.0, abs=1e-12)
            shifted = (TIMES - 900 + serving.shift) // 1000
            stamp = value.SourceTimestamp.timestamp()
            assert round(stamp * 1e6) == shifted
            unit = await (await hot.get_child("0:EngineeringUnits")).read_value()
            assert unit.DisplayName.Text == "degC"
            for text, status in (
                ("ns=2;s=On", "BadNoCommunication"),
                (f"ns={theirs};s=Never", "BadWaitingForInitialData"),
                (f"ns={theirs};g=8b2d1a34-1111-4222-8333-123456789abc", "BadWaitingForInitialData"),
            ):
                node = client.get_node(text)
                held = await node.read_data_value(raise_on_bad_status=False)
                assert held.StatusCode.name == status
            levels = await client.get_node(f"ns={theirs};s=Speed").get_access_level()
            assert ua.AccessLevel.CurrentWrite in levels
            assert ua.AccessLevel.CurrentWrite not in await hot.get_access_level()
        source = OpcUaSource("machine", told, serving.clock)
        async with reading(source) as read:
            await read.connected()
            await serving.run()
            assert (TIMES + serving.shift) // 1000 * 1000 in [row[0] for row in read.rows(2)]
            assert read.rows(3)[-1][:2] == ((TIMES + 900_000_000 + serving.shift) // 1000 * 1000, 2)
            assert read.rows(0)[-1][1] == pytest.approx(483.15)
    assert serving.published["machine"] == 5


async def test_the_broker_goes_and_comes_back(broker: Broker, tmp_path: Path) -> None:
    told = line(
        {"gauges": {"kind": "mqtt", "host": "127.0.0.1", "port": broker.port}},
        {"gauge": gauge_tag("gauge")},
    )
    batches = [SampleBatch.of([0], [TIMES + n * 10**9], [float(n)]) for n in range(40)]
    async with small(tmp_path / "recording", told, *batches) as serving:
        source = MqttSource("gauges", told, serving.clock)
        async with reading(source) as read:
            await read.connected()
            running = asyncio.create_task(serving.run())
            await until(lambda: len(read.rows()) > 5)
            broker.stop()
            await until(lambda: not source.state.connected)
            broker.start()
            await running
            values = [row[1] for row in read.rows()]
            assert values[-1] == 39.0
    assert serving.published["gauges"] == 40
    assert serving.dropped == 0


def gauge_tag(topic: str, unit: str = "um", role: str = "measurement", **more: Any) -> Any:
    address = {"topic": topic, **more}
    return {"unit": unit, "class": "SP", "role": role, "connector": "gauges", "address": address}


async def test_messages_are_what_their_addresses_say() -> None:
    both = {"topic": "a/both", "time": "at.ms", "time_unit": "ms", "status": "state"}
    told = line(
        {"gauges": {"kind": "mqtt", "host": "127.0.0.1", "port": 1}},
        {
            "thickness": gauge_tag("site/+/thickness/#", value="v.now", unit="um"),
            "left": gauge_tag(**both, value="left.value"),
            "right": gauge_tag(**both, value="right.value"),
            "iso": gauge_tag("iso", unit="degC"),
            "adhesion": gauge_tag(
                "lab",
                "N/m",
                "laboratory",
                where={"kind": "adhesion", "site.number": "3"},
                time_unit="s",
                roll="roll",
                metre="place.metre",
            ),
            "solids": gauge_tag("lab", "percent", "laboratory", where={"kind": "x"}, batch="batch"),
        },
    )
    at = TIMES // 1_000_000 * 1_000_000
    later = TIMES + 10**9
    samples = SampleBatch(
        np.array([0, 1, 2, 2, 3, 3, -1], np.int32),
        np.array([TIMES, at, at, at + 1_000_000, TIMES, later, TIMES]),
        np.array([5e-6, 1e-6, np.nan, 2e-6, 300.0, 7.0, 1.0]),
        np.array([0, UNCERTAIN, UNCERTAIN, 0, 0, BAD_NO_COMMUNICATION, 0], np.uint32),
        (
            OfflineMeasurement(4, at, 12.5, roll=2, metre=3.5, known=TIMES),
            OfflineMeasurement(5, at, 0.66, batch=7, known=TIMES),
        ),
    )
    written = list(Messages("gauges", told).of(samples))
    assert [topic for topic, _ in written] == [
        *("lab", "lab", "site/thickness/thickness/thickness", "a/both", "a/both", "a/both", "iso"),
        "iso",
    ]
    adhesion = json.loads(written[0][1])
    assert adhesion["place"] == {"metre": 3.5}
    assert adhesion["site"] == {"number": "3"}
    assert json.loads(written[2][1])["time"] == "2026-01-01T00:00:00.123456789Z"
    assert json.loads(written[3][1]) == {
        "at": {"ms": at // 1_000_000},
        "left": {"value": pytest.approx(1.0)},
        "state": "uncertain",
    }
    assert json.loads(written[4][1])["state"] == "bad"
    assert json.loads(written[4][1])["right"] == {"value": None}

    source = MqttSource("gauges", told, ManualClock(TIMES))
    for topic, payload in written:
        source.receive(topic, payload)
    async for batch in source.batches():
        read = Reading(source)
        read.batches.append(batch)
        break
    assert json.loads(written[-1][1])["value"] is None, "bad, and no status to say so"
    for tag in (0, 3):
        time_, value, quality = read.rows(tag)[0]
        assert (time_, quality) == (TIMES, 0)
        assert value == pytest.approx(samples.value[samples.tag == tag][0], rel=1e-12)
    assert (at, pytest.approx(1e-6), 0x40000000) in read.rows(1)
    assert [(each.value, each.roll, each.metre, each.batch) for each in read.offline()] == [
        (pytest.approx(12.5), 2, 3.5, None),
        (pytest.approx(0.66), None, None, 7),
    ]
