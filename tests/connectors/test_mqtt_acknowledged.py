"""MQTT messages are acknowledged once they are safe, and wait for a twin that is away."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import orjson
import pytest
from paho.mqtt.enums import MQTTProtocolVersion

from connectors.mqtt import MqttSource
from tests.connectors.reading import Reading, reading
from tests.connectors.test_mqtt import TIME, gauges
from tests.servers import broker, mosquitto, until
from twin.clock import LineClock

__all__ = ["broker", "mosquitto"]

MODERN, OLD = MQTTProtocolVersion.MQTTv5, MQTTProtocolVersion.MQTTv311


@asynccontextmanager
async def gauge(port: int) -> AsyncIterator[MqttSource]:
    """Somebody who publishes."""
    async with reading(MqttSource("gauges", gauges(port), LineClock())) as read:
        await read.connected()
        assert isinstance(read.source, MqttSource)
        yield read.source


async def send(publisher: MqttSource, values: range) -> None:
    for value in values:
        assert await publisher.publish("deep/x", orjson.dumps({"time": TIME, "value": value}))


def lasting(port: int, protocol: MQTTProtocolVersion = MODERN, capacity: int = 1_000) -> MqttSource:
    source = MqttSource(
        "gauges", gauges(port), LineClock(), linger=0.02, capacity=capacity, lasting=True
    )
    source._protocol = protocol
    return source


def values(read: Reading) -> list[float]:
    return [value for _, value, quality in read.rows(3) if quality == 0]


async def settled(read: Reading, count: int) -> None:
    """Wait for so many values, and that no more come."""
    await until(lambda: len(values(read)) >= count)
    await asyncio.sleep(0.2)
    assert len(values(read)) == count


@pytest.mark.parametrize("protocol", [MODERN, OLD])
async def test_what_is_not_safe_comes_again(mosquitto: int, protocol: MQTTProtocolVersion) -> None:
    async with gauge(mosquitto) as publisher:
        async with reading(lasting(mosquitto, protocol)) as read:
            await read.connected()
            await send(publisher, range(3))
            await settled(read, 3)
            for _ in read.batches:
                read.source.safe()
            acknowledged = len(read.batches)
            await send(publisher, range(3, 6))
            await settled(read, 6)
            assert len(read.batches) > acknowledged
        async with reading(lasting(mosquitto, protocol)) as read:
            await settled(read, 3)
            assert values(read) == [3, 4, 5]
            for _ in read.batches:
                read.source.safe()
            await asyncio.sleep(0.1)
        async with reading(lasting(mosquitto, protocol)) as read:
            await read.connected()
            await settled(read, 0)


@pytest.mark.parametrize("protocol", [MODERN, OLD])
async def test_what_was_sent_to_a_twin_that_is_away_waits_for_it(
    mosquitto: int, protocol: MQTTProtocolVersion
) -> None:
    async with gauge(mosquitto) as publisher:
        async with reading(lasting(mosquitto, protocol)) as read:
            await read.connected()
        await send(publisher, range(5))
        async with reading(lasting(mosquitto, protocol)) as read:
            await settled(read, 5)
            assert values(read) == [0, 1, 2, 3, 4]


async def test_the_broker_sends_no_more_than_may_wait(mosquitto: int) -> None:
    # six tags: a message may hold a value of each
    async with gauge(mosquitto) as publisher, reading(lasting(mosquitto, capacity=60)) as read:
        await read.connected()
        await send(publisher, range(30))
        await settled(read, 10)
        safe = 0
        while len(values(read)) < 30:
            for _ in read.batches[safe:]:
                read.source.safe()
                safe += 1
            await asyncio.sleep(0.02)
        assert values(read) == list(range(30))
        assert read.source.state.dropped == 0


async def test_messages_without_use_do_not_use_up_what_may_wait(mosquitto: int) -> None:
    async with gauge(mosquitto) as publisher, reading(lasting(mosquitto, capacity=60)) as read:
        await read.connected()
        for number in range(25):
            await publisher.publish("deep/x", b"{broken")
            if number % 10 == 9:
                await send(publisher, range(number, number + 1))
                await until(lambda: len(values(read)) == number // 10 + 1)  # noqa: B023
                read.source.safe()
        await until(lambda: read.source.state.refused == {"broken JSON": 25})


async def test_a_visitor_leaves_the_session_of_the_twin_alone(mosquitto: int) -> None:
    async with gauge(mosquitto) as publisher, reading(lasting(mosquitto)) as read:
        await read.connected()
        async with reading(MqttSource("gauges", gauges(mosquitto), LineClock())) as visitor:
            await visitor.connected()
            await send(publisher, range(3))
            await until(lambda: len(values(visitor)) == 3)
        await settled(read, 3)
        assert read.source.state.connected


async def test_safe_after_the_connection_broke_acknowledges_nothing(mosquitto: int) -> None:
    async with gauge(mosquitto) as publisher:
        source = lasting(mosquitto)
        async with reading(source) as read:
            await read.connected()
            await send(publisher, range(2))
            await settled(read, 2)
        for _ in range(5):
            source.safe()
        async with reading(lasting(mosquitto)) as read:
            await settled(read, 2)


def test_a_session_lasts_as_long_as_configured() -> None:
    session = lasting(1)._session()
    assert session["clean_start"] is False
    assert session["properties"].SessionExpiryInterval == 86_400
    assert MqttSource("gauges", gauges(1), LineClock())._session() == {"clean_start": True}
