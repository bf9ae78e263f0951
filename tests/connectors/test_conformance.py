"""Every connector passes the conformance suite of sources."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import orjson

from connectors.mqtt import MqttSource
from connectors.opcua import OpcUaSource
from tests.connectors.conformance import check
from tests.connectors.reading import line, opcua_tag
from tests.servers import Broker, Machine
from twin.clock import LineClock


@dataclass
class OpcUaHarness:
    source: OpcUaSource
    machine: Machine
    tag: int = 0
    scale: float = 1 / 60

    async def emit(self, value: float, time: int) -> None:
        at = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=time // 1_000)
        await self.machine.set("Speed", value, at)

    async def interrupt(self) -> None:
        await self.machine.stop()

    async def resume(self) -> None:
        await self.machine.start()


@dataclass
class MqttHarness:
    source: MqttSource
    broker: Broker
    tag: int = 0
    scale: float = 1e-6

    async def emit(self, value: float, time: int) -> None:
        assert await self.source.publish("gauge", orjson.dumps({"value": value, "time": time}))

    async def interrupt(self) -> None:
        self.broker.stop()

    async def resume(self) -> None:
        self.broker.start()


async def test_opcua(machine: Machine) -> None:
    await machine.has("Speed", 0.0, "m/min").start()
    connector = {
        "kind": "opcua",
        "security": "none",
        "url": machine.url,
        "publishing_interval": "20 ms",
    }
    configuration = line({"machine": connector}, {"speed": opcua_tag("Speed", "m/min")})
    await check(OpcUaHarness(OpcUaSource("machine", configuration, LineClock()), machine), 1)


async def test_mqtt(broker: Broker) -> None:
    connector = {"kind": "mqtt", "host": "127.0.0.1", "port": broker.port}
    tag = {
        "unit": "um",
        "class": "SP",
        "role": "measurement",
        "connector": "gauges",
        "address": {"topic": "gauge", "time_unit": "ns"},
    }
    configuration = line({"gauges": connector}, {"thickness": tag})
    await check(MqttHarness(MqttSource("gauges", configuration, LineClock()), broker), 1)
