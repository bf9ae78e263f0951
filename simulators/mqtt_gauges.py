"""Gauges and laboratory on MQTT 5, or 3.1.1 where the broker has no other: JSON, QoS 1."""

from __future__ import annotations

import asyncio
import json
from types import TracebackType
from typing import Any, Self

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.reasoncodes import ReasonCode

from simulators.clock import to_iso
from simulators.gauges import Reading
from simulators.laboratory import Result
from simulators.secured import SecuredFolder

GAUGE_TOPIC = "virtual-line/gauges"
LABORATORY_TOPIC = "virtual-line/laboratory"
_QUEUE = 20_000
_CONNECT_SECONDS = 5.0


class GaugePublisher:
    """Publishes readings and results; reconnects by itself; an async context manager."""

    def __init__(self, host: str, port: int, secured: SecuredFolder | None = None) -> None:
        self._host = host
        self._port = port
        self._secured = secured
        self._client = self._make(MQTTProtocolVersion.MQTTv5)
        self._too_new = False

    def _make(self, protocol: MQTTProtocolVersion) -> mqtt.Client:
        client = mqtt.Client(CallbackAPIVersion.VERSION2, protocol=protocol)
        client.max_queued_messages_set(_QUEUE)
        client.max_inflight_messages_set(500)
        client.reconnect_delay_set(1, 5)
        client.on_connect = self._answered
        if self._secured is not None:
            self._secured.secure_client(client, "virtual-line")
        return client

    def _answered(self, _: mqtt.Client, __: Any, ___: Any, reason: ReasonCode, ____: Any) -> None:
        self._too_new = reason == "Unsupported protocol version"

    async def __aenter__(self) -> Self:
        """Start; waits a few seconds for the broker, then goes on trying behind the scenes."""
        await self._start()
        if self._too_new:
            await asyncio.to_thread(self._client.loop_stop)
            self._client, self._too_new = self._make(MQTTProtocolVersion.MQTTv311), False
            await self._start()
        return self

    async def _start(self) -> None:
        self._client.connect_async(self._host, self._port, keepalive=30)
        self._client.loop_start()
        for _ in range(int(_CONNECT_SECONDS / 0.02)):
            if self._client.is_connected() or self._too_new:
                break
            await asyncio.sleep(0.02)

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._client.disconnect()
        await asyncio.to_thread(self._client.loop_stop)

    def publish_reading(self, reading: Reading) -> None:
        """One gauge value."""
        payload = (
            f'{{"time": "{to_iso(reading.time_ns)}", "value": {reading.value!r}, '
            f'"unit": "{reading.unit}", "status": "{reading.status}"}}'
        )
        self._client.publish(f"{GAUGE_TOPIC}/{reading.topic}", payload, qos=1)

    def publish_result(self, result: Result) -> None:
        """One laboratory result."""
        content: dict[str, Any] = {
            "parameter": result.parameter,
            "value": result.value,
            "unit": result.unit,
            "sampled": to_iso(result.sampled_ns),
            "published": to_iso(result.published_ns),
        }
        if result.batch is not None:
            content["batch"] = result.batch
        if result.roll is not None:
            content["roll"] = result.roll
            content["metre"] = result.metre
        self._client.publish(LABORATORY_TOPIC, json.dumps(content), qos=1)
