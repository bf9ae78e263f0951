"""The MQTT connector against a real mosquitto."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import paho.mqtt.client as paho
import pytest
import structlog
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.reasoncodes import ReasonCode

from connectors.mqtt import MqttSource, nanoseconds
from connectors.mqtt import source as mqtt_source
from tests.connectors.reading import Reading, line, reading
from tests.servers import Broker, until
from twin.clock import LineClock, ManualClock
from twin.configuration.models import LineConfiguration
from twin.outbox import Outbox
from twin.samples import (
    BAD,
    BAD_NO_COMMUNICATION,
    BAD_NO_DATA,
    BAD_TYPE_MISMATCH,
    UNCERTAIN,
    OfflineMeasurement,
)

TIME = "2026-03-01T12:00:00.123456Z"
NS = 1_772_366_400_123_456_000
SECOND = 10**9
GOOD_MESSAGE = {"time": TIME, "value": 85.0, "unit": "µm", "status": "good"}


def mqtt_tag(topic: str, unit: str = "um", role: str = "measurement", **address: Any) -> Any:
    return {
        "unit": unit,
        "class": "SP",
        "role": role,
        "connector": "gauges",
        "address": {"topic": topic, **address},
    }


def gauges(port: int) -> LineConfiguration:
    connector = {
        "kind": "mqtt",
        "host": "127.0.0.1",
        "port": port,
        "max_payload": 4096,
        "reconnect_max_delay": "0.2 s",
    }
    return line(
        {"gauges": connector},
        {
            "thickness": mqtt_tag("line/thickness", unit="um") | {},
            "strict": mqtt_tag("line/strict", unit="um")
            | {"address": {"topic": "line/strict", "unit": "unit", "status": "status"}},
            "nested": mqtt_tag("plant/+/data", "degC", value="d.t.v", time="d.at", time_unit="ms"),
            "everything": mqtt_tag("deep/#", "m"),
            "viscosity": mqtt_tag(
                "lab", "Pa*s", "laboratory", where={"parameter": "viscosity"}, batch="batch"
            ),
            "adhesion": mqtt_tag(
                "lab",
                "N/m",
                "laboratory",
                where={"parameter": "adhesion"},
                roll="roll",
                metre="metre",
            ),
        },
    )


def source_of(port: int) -> MqttSource:
    return MqttSource("gauges", gauges(port), LineClock(), linger=0.02)


async def send(read: Reading, topic: str, message: Any) -> None:
    payload = message if isinstance(message, bytes) else orjson.dumps(message)
    assert isinstance(read.source, MqttSource)
    assert await read.source.publish(topic, payload)


async def test_messages_become_samples_in_si(mosquitto: int) -> None:
    async with reading(source_of(mosquitto)) as read:
        await read.connected()
        await send(read, "line/strict", GOOD_MESSAGE)
        assert await read.value(1, 85e-6) == (NS, pytest.approx(85e-6), 0)
        await send(read, "plant/a/data", {"d": {"t": {"v": 20}, "at": 1_000}})
        assert await read.value(2, 293.15) == (1_000_000_000, pytest.approx(293.15), 0)
        await send(read, "deep/er/still", {"time": TIME, "value": 3})
        await read.value(3, 3.0)
        await send(read, "line/strict", GOOD_MESSAGE | {"status": "uncertain", "value": 1.0})
        assert (await read.value(1, 1e-6))[2] == UNCERTAIN
        await send(read, "line/strict", GOOD_MESSAGE | {"status": "bad"})
        assert math.isnan((await read.quality(1, BAD))[1])
        assert read.source.state.refused == {}
        assert read.source.state.received == 5


async def test_laboratory_values_name_their_material(mosquitto: int) -> None:
    async with reading(source_of(mosquitto)) as read:
        await read.connected()
        viscosity = {"parameter": "viscosity", "time": TIME, "value": 2.5, "batch": 7}
        adhesion = {"parameter": "adhesion", "time": TIME, "value": 30, "roll": 3, "metre": 41.5}
        await send(read, "lab", viscosity)
        await send(read, "lab", adhesion)
        await send(read, "lab", viscosity | {"parameter": "colour"})
        await send(read, "lab", viscosity | {"batch": None})
        await until(lambda: sum(read.source.state.refused.values()) == 2)
        await until(lambda: len(read.offline()) == 2)
        assert read.offline() == [
            OfflineMeasurement(4, NS, 2.5, batch=7),
            OfflineMeasurement(5, NS, 30.0, roll=3, metre=41.5),
        ]
        assert read.source.state.refused == {"unknown signal": 1, "no material": 1}


BAD_INPUT: list[tuple[str, Any, str, int | None]] = [
    ("line/thickness", b"{broken", "broken JSON", None),
    ("line/thickness", b"", "broken JSON", None),
    ("line/thickness", b"\xff\xfe\x00", "broken JSON", None),
    ("line/thickness", b"[" * 4000, "broken JSON", None),
    ("line/thickness", b"42", "no JSON object", None),
    ("line/thickness", b" " * 10_000_000, "too large", None),
    ("line/thickness", {"time": TIME}, "no value", BAD_NO_DATA),
    ("line/thickness", {"time": TIME, "value": None}, "no value", BAD_NO_DATA),
    ("line/thickness", {"time": TIME, "value": "NaN"}, "not finite", BAD_NO_DATA),
    ("line/thickness", b'{"time": "%s", "value": NaN}' % TIME.encode(), "not finite", BAD_NO_DATA),
    (
        "line/thickness",
        b'{"time": "%s", "value": 1e999}' % TIME.encode(),
        "not finite",
        BAD_NO_DATA,
    ),
    (
        "line/thickness",
        b'{"time": "%s", "value": 1%s}' % (TIME.encode(), b"0" * 400),
        "not finite",
        BAD_NO_DATA,
    ),
    ("line/thickness", {"time": TIME, "value": "-Infinity"}, "not finite", BAD_NO_DATA),
    ("line/thickness", {"time": TIME, "value": "thick"}, "wrong type", BAD_TYPE_MISMATCH),
    ("line/thickness", {"time": TIME, "value": [1]}, "wrong type", BAD_TYPE_MISMATCH),
    ("line/thickness", {"value": 1}, "no time", None),
    ("line/thickness", {"value": 1, "time": "noon"}, "bad time", None),
    ("line/thickness", {"value": 1, "time": "2026-03-01T12:00:00"}, "bad time", None),
    ("line/thickness", {"value": 1, "time": 12}, "bad time", None),
    ("line/thickness", {"value": 1, "time": "9999-12-31T23:59:59Z"}, "bad time", None),
    ("line/thickness", {"value": 1, "time": "0001-01-01T00:00:00Z"}, "bad time", None),
    ("plant/a/data", {"d": {"t": {"v": 1}, "at": -5}}, "bad time", None),
    ("plant/a/data", {"d": {"t": {"v": 1}, "at": 10**18}}, "bad time", None),
    ("plant/a/data", {"d": {"t": {"v": 1}, "at": "1000"}}, "bad time", None),
    ("plant/a/data", {"d": 1}, "no time", None),
    ("line/strict", {"time": TIME, "value": 1, "status": "good"}, "no unit", BAD_TYPE_MISMATCH),
    ("line/strict", GOOD_MESSAGE | {"unit": "mm"}, "wrong unit", BAD_TYPE_MISMATCH),
    ("line/strict", GOOD_MESSAGE | {"unit": "kg"}, "wrong unit", BAD_TYPE_MISMATCH),
    ("line/strict", GOOD_MESSAGE | {"unit": "?(["}, "wrong unit", BAD_TYPE_MISMATCH),
    ("line/strict", GOOD_MESSAGE | {"status": "so so"}, "unknown status", UNCERTAIN),
]


async def test_bad_input_is_counted_and_disturbs_nothing(mosquitto: int) -> None:
    async with reading(source_of(mosquitto)) as read:
        await read.connected()
        expected: dict[str, int] = {}
        for topic, message, reason, quality in BAD_INPUT:
            rows = len(read.rows())
            await send(read, topic, message)
            expected[reason] = expected.get(reason, 0) + 1
            await until(lambda: read.source.state.refused == expected)
            await send(read, "deep/mark", {"time": TIME, "value": rows + 1})
            await read.value(3, rows + 1)
            bad = [row for row in read.rows()[rows:] if row[2] != 0]
            assert [row[2] for row in bad] == ([] if quality is None else [quality])
        assert read.source.state.connected
        assert read.source.state.marked == sum(quality is not None for *_, quality in BAD_INPUT)


def test_the_end_does_not_wait_for_a_host_that_is_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paho.Client, "connect", lambda *_, **__: time.sleep(3.0))

    async def end_while_connecting() -> None:
        running = asyncio.create_task(source_of(1).run())
        await asyncio.sleep(0.1)
        running.cancel()

    began = time.monotonic()
    asyncio.run(end_while_connecting())
    assert time.monotonic() - began < 1.0


async def test_an_unknown_topic_is_counted() -> None:
    source = source_of(1)
    source.receive("somewhere/else", b"{}")
    assert source.state.refused == {"unknown topic": 1}


async def test_a_restarted_broker_leaves_a_marked_gap(broker: Broker) -> None:
    async with reading(source_of(broker.port)) as read:
        await read.connected()
        broker.stop()
        assert math.isnan((await read.quality(0, BAD_NO_COMMUNICATION))[1])
        assert isinstance(read.source, MqttSource)
        assert not await read.source.publish("line/thickness", b"{}")
        broker.start()
        await read.connected()
        await send(read, "line/thickness", {"time": TIME, "value": 9})
        await read.value(0, 9e-6)
        # one of the broker's last word, and one of when it was missed
        marks = [row[0] for row in read.rows(0) if row[2] == BAD_NO_COMMUNICATION]
        assert marks in ([marks[0]], [marks[0], max(marks)])
        assert not any(row[2] == BAD_NO_COMMUNICATION for row in read.rows(4))


@pytest.mark.parametrize("ahead", [30 * SECOND, -30 * SECOND])
async def test_a_gap_comes_after_all_that_was_said_also_by_a_fast_clock(
    broker: Broker, ahead: int
) -> None:
    source = MqttSource("gauges", gauges(broker.port), ManualClock(NS), linger=0.02)
    async with reading(source) as read:
        await read.connected()
        address = "plant/a/data"
        said = (NS + ahead) // 1_000_000
        await send(read, address, {"d": {"t": {"v": 20}, "at": said}})
        # nothing has to come after what the line refuses as in the future
        day = 86_400_000
        await send(read, address, {"d": {"t": {"v": 20}, "at": said + day}})
        await until(lambda: len(read.rows(2)) == 2)
        broker.stop()
        gap, _, _ = await read.quality(2, BAD_NO_COMMUNICATION)
        assert gap == max(NS, said * 1_000_000 + 1_000)


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[Broker]:
    """A mosquitto that refuses what is not below `line`."""
    (tmp_path / "acl").write_text("topic readwrite line/#\n")
    running = Broker(tmp_path, f"allow_anonymous true\nacl_file {tmp_path / 'acl'}\n")
    running.start()
    yield running
    running.stop()


async def test_what_the_broker_refuses_holds_up_nothing_else(guarded: Broker) -> None:
    box = Outbox()
    async with reading(source_of(guarded.port)) as read:
        await read.connected()
        assert isinstance(read.source, MqttSource)
        with structlog.testing.capture_logs() as logged:
            publisher = asyncio.create_task(box.run(read.source.publish))
            for topic in ("plant/a", "plant/a", "line/thickness"):
                box.put(topic, orjson.dumps({"time": TIME, "value": 7}))
            try:
                await read.value(0, 7e-6)
            finally:
                publisher.cancel()
    assert box.waiting == 0
    assert [entry for entry in logged if entry["event"] == "not published"] == [
        {
            "event": "not published",
            "log_level": "error",
            "topic": "plant/a",
            "problem": "the broker refuses plant/a: Not authorized",
        }
    ]


@pytest.mark.parametrize(
    ("answer", "taken"), [("No matching subscribers", True), ("Quota exceeded", False)]
)
async def test_an_answer_that_is_no_refusal_is_none(
    mosquitto: int, monkeypatch: pytest.MonkeyPatch, answer: str, taken: bool
) -> None:
    async with reading(source_of(mosquitto)) as read:
        await read.connected()
        source = read.source
        assert isinstance(source, MqttSource)
        assert source._client is not None
        monkeypatch.setattr(
            source._client,
            "on_publish",
            lambda *told: source._published[told[2]].set_result(
                ReasonCode(PacketTypes.PUBACK, answer)
            ),
        )
        assert await source.publish("line/thickness", b"{}") is taken


class Attempts:
    """Short pauses between attempts to connect; how long the runs of them grew."""

    def __init__(self) -> None:
        self.runs: list[int] = []

    def __call__(self, _: float) -> Iterator[float]:
        run = len(self.runs)
        self.runs.append(0)
        while True:
            self.runs[run] += 1
            yield 0.01


@pytest.mark.parametrize("stands", [10.0, 0.0])
async def test_pauses_grow_until_a_connection_lasts(
    mosquitto: int, monkeypatch: pytest.MonkeyPatch, stands: float
) -> None:
    attempts = Attempts()
    monkeypatch.setattr(mqtt_source, "pauses", attempts)
    monkeypatch.setattr(mqtt_source, "_STANDS", stands)
    # each ends the other's connection as soon as it has one: they come under one name
    rivals = [MqttSource("gauges", gauges(mosquitto), LineClock(), lasting=True) for _ in range(2)]
    async with reading(rivals[0]), reading(rivals[1]):
        if stands:
            await until(lambda: sum(attempts.runs) >= 6)
            assert len(attempts.runs) == 2
        else:
            await until(lambda: len(attempts.runs) >= 6)


async def test_thousands_of_messages_arrive_in_order(mosquitto: int) -> None:
    async with reading(source_of(mosquitto)) as read:
        await read.connected()
        messages = 3_000
        await asyncio.gather(
            *(send(read, "deep/x", {"time": TIME, "value": number}) for number in range(messages))
        )
        await until(lambda: len(read.rows(3)) == messages)
        assert [row[1] for row in read.rows(3)] == list(range(messages))
        assert read.source.state.dropped == 0


@pytest.mark.parametrize(
    ("stamp", "unit", "expected"),
    [
        ("1970-01-01T00:00:01Z", "iso", 1_000_000_000),
        ("1970-01-01T01:00:01+01:00", "iso", 1_000_000_000),
        ("2026-03-01T12:00:00.123456Z", "iso", NS),
        ("2026-03-01T12:00:00.123456789Z", "iso", NS + 789),
        ("2026-03-01T12:00:00.5+00:00", "iso", NS // 10**9 * 10**9 + 500_000_000),
        ("1970-01-01T00:00:01", "iso", None),
        (1.5, "s", 1_500_000_000),
        (1_772_366_400.123, "s", 1_772_366_400_123_000_000),
        (2, "ms", 2_000_000),
        (2, "us", 2_000),
        (NS + 789, "ns", NS + 789),
        (math.nan, "s", None),
        (True, "s", None),
        (10**30, "ns", None),
    ],
)
def test_times(stamp: Any, unit: Any, expected: int | None) -> None:
    found = nanoseconds(stamp, unit)
    assert found == expected or (
        expected is not None and found is not None and abs(found - expected) < 200
    )
