"""Recorded gauges and a laboratory as a publisher of MQTT 5 messages: JSON, as configured."""

from __future__ import annotations

import asyncio
import math
import threading
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, Final

import numpy as np
import orjson
import paho.mqtt.client as paho
import structlog
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from connectors.mqtt.securing import secure
from twin.configuration.models import LineConfiguration, MqttAddress, MqttConnector
from twin.samples import OfflineMeasurement, Quality, SampleBatch
from twin.units import NANOSECONDS_PER, to_si

_STATUS: Final = {Quality.GOOD: "good", Quality.UNCERTAIN: "uncertain", Quality.BAD: "bad"}
_PATIENCE: Final = 5.0
"""Seconds that the broker may take to answer at the start."""
_CONNECT: Final = 1.0
"""Seconds that one attempt to connect may take; an end must wait for it."""
_WAITING: Final = 20_000
"""Messages that wait for a broker that is away; then the newest are dropped and counted."""
_IN_FLIGHT: Final = 500
_LOG: Final = structlog.get_logger()

Fields = dict[str, Any]
"""A message: content by path, dots between keys."""


class Messages:
    """Writes samples as the messages that the tags' addresses describe.

    Tags that share a topic (and `where`) share a message where they have the same time, as they had
    when they were recorded. A + or # in a topic becomes the name of the first of these tags.

    Args:
        name: the connector's name in the configuration.
        line: the configuration.
    """

    def __init__(self, name: str, line: LineConfiguration) -> None:
        index = line.tag_table().index
        self._addresses: dict[int, MqttAddress] = {}
        self._units: dict[int, str] = {}
        self._topics: dict[int, str] = {}
        shared: dict[tuple[object, ...], str] = {}
        for tag, about in line.tags.items():
            if about.connector != name:
                continue
            address = about.address
            if not isinstance(address, MqttAddress):
                raise ValueError(f"{tag} has no MQTT address")
            number = index(tag)
            same = (address.topic, *sorted(address.where.items()))
            filler = shared.setdefault(same, tag)
            self._addresses[number] = address
            self._units[number] = about.unit
            self._topics[number] = _filled(address.topic, filler)
        self.serves = np.zeros(len(line.tags) + 1, np.bool_)
        """Whether a tag is one of this broker, by its index; the last, -1, is none."""
        self.serves[list(self._addresses)] = True

    def of(self, samples: SampleBatch) -> Iterator[tuple[str, bytes]]:
        """Topic and payload of every message; laboratory values first."""
        for measurement in samples.offline:
            if self.serves[measurement.tag]:
                fields = self._laboratory(measurement)
                yield self._topics[measurement.tag], orjson.dumps(_nested(fields))
        rows = np.flatnonzero(self.serves[samples.tag])
        columns = (samples.tag, samples.time, samples.value, samples.quality)
        written: dict[tuple[object, ...], list[tuple[str, Fields]]] = {}
        for tag, time, value, quality in zip(
            *(column[rows].tolist() for column in columns), strict=True
        ):
            topic, address = self._topics[tag], self._addresses[tag]
            fields = self._sample(tag, time, value, quality)
            same = (topic, time, *sorted(address.where.items()))
            messages = written.setdefault(same, [])
            if not (messages and _joined(messages[-1][1], fields, address.value)):
                messages.append((topic, fields))
        for messages in written.values():
            for topic, fields in messages:
                yield topic, orjson.dumps(_nested(fields))

    def _sample(self, tag: int, time: int, value: float, quality: int) -> Fields:
        address = self._addresses[tag]
        missing = math.isnan(value) or quality >> 30 >= Quality.BAD
        fields: Fields = {**address.where, address.time: stamp(time, address.time_unit)}
        fields[address.value] = None if missing else self._own(tag, value)
        if address.unit is not None:
            fields[address.unit] = self._units[tag]
        if address.status is not None:
            severity = Quality.BAD if missing else Quality(quality >> 30)
            fields[address.status] = _STATUS[severity]
        return fields

    def _laboratory(self, measurement: OfflineMeasurement) -> Fields:
        fields = self._sample(measurement.tag, measurement.sampled, measurement.value, 0)
        address = self._addresses[measurement.tag]
        for path, content in (
            (address.roll, measurement.roll),
            (address.metre, measurement.metre),
            (address.batch, measurement.batch),
        ):
            if path is not None:
                fields[path] = content
        return fields

    def _own(self, tag: int, value: float) -> float:
        scale, offset = to_si(self._units[tag])
        return (value - offset) / scale


class ServedGauges:
    """Publishes the tags of one MQTT connector to its broker.

    It connects again by itself, and sends then what was to be sent meanwhile, the oldest first.

    Args:
        name: the connector's name in the configuration.
        line: the configuration.
    """

    def __init__(self, name: str, line: LineConfiguration) -> None:
        connector = line.connectors[name]
        if not isinstance(connector, MqttConnector):
            raise ValueError(f"{name} is no MQTT connector")
        self.name = name
        self.endpoint = f"mqtt://{connector.host}:{connector.port}"
        self.dropped = 0
        """Messages."""
        self._connector = connector
        self._messages = Messages(name, line)
        # a twin beside it connects under the configured name
        identity = f"{connector.client_id}-served-{name}"
        self._client = paho.Client(
            CallbackAPIVersion.VERSION2, identity, protocol=MQTTProtocolVersion.MQTTv5
        )
        self._client.connect_timeout = _CONNECT
        self._client.max_queued_messages_set(_WAITING)
        self._client.max_inflight_messages_set(_IN_FLIGHT)
        self._client.reconnect_delay_set(1, max(1, round(connector.reconnect_max_delay)))
        self._client.on_connect = self._connected
        self._client.on_connect_fail = self._failed
        self._client.on_disconnect = self._disconnected
        self._answer: str | None = "no answer"
        self._answered = threading.Event()
        self._leaving = False

    async def start(self) -> None:
        """Connect.

        Raises:
            OSError: the broker is away, or refuses, or the certificates cannot be used.
            SecretError: a password is not where it should be.
        """
        secure(self._client, self._connector)
        self._client.connect_async(self._connector.host, self._connector.port, keepalive=10)
        self._client.loop_start()
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(_PATIENCE):
                    while not self._answered.is_set():  # noqa: ASYNC110  # paho has its own thread
                        await asyncio.sleep(0.02)
            if self._answer is not None:
                raise OSError(
                    f"{self.name} cannot be served at {self.endpoint}: {self._answer}; start the "
                    "broker (MQTT 5) there, or name another one with --config"
                )
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Leave the broker; may take as long as an attempt to connect."""
        self._leaving = True
        self._client.disconnect()
        await asyncio.to_thread(self._client.loop_stop)

    async def publish(self, samples: SampleBatch) -> int:
        """Send those samples that are its own, in order, without waiting; how many that were."""
        for topic, payload in self._messages.of(samples):
            sent = self._client.publish(topic, payload, self._connector.qos)
            # at QoS 1 paho keeps what it cannot send, as long as there is room
            kept = sent.rc == paho.MQTT_ERR_NO_CONN and self._connector.qos > 0
            self.dropped += sent.rc != paho.MQTT_ERR_SUCCESS and not kept
        serves = self._messages.serves
        offline = sum(bool(serves[each.tag]) for each in samples.offline)
        return int(np.count_nonzero(serves[samples.tag])) + offline

    def _connected(
        self, _: paho.Client, __: Any, ___: Any, reason: ReasonCode, ____: Properties | None
    ) -> None:
        self._answer = f"the broker refuses the connection: {reason}" if reason.is_failure else None
        if self._answered.is_set() and not reason.is_failure:
            _LOG.info("connected again", connector=self.name)
        self._answered.set()

    def _failed(self, _: paho.Client, __: Any) -> None:
        if not self._answered.is_set():
            self._answer = "nobody listens there"
        self._answered.set()

    def _disconnected(
        self, _: paho.Client, __: Any, ___: Any, reason: ReasonCode, ____: Properties | None
    ) -> None:
        if self._answer is None and not self._leaving:
            _LOG.warning(
                "the broker is away; what is to be sent waits",
                connector=self.name,
                broker=self.endpoint,
                reason=str(reason),
            )


def stamp(time: int, unit: str) -> str | int | float:
    """A time, ns since the epoch, as messages write it: ISO 8601 in UTC, or a number.

    Nanoseconds are kept, except that a number with a fraction is no finer than a double: about
    0.2 us where it counts seconds.
    """
    if unit != "iso":
        per = NANOSECONDS_PER[unit]
        return time / per if time % per else time // per
    seconds, rest = divmod(time, 1_000_000_000)
    digits = f"{rest:09d}" if rest % 1000 else f"{rest // 1000:06d}"
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{digits}Z"


def _filled(topic: str, name: str) -> str:
    levels = topic.split("/")
    if levels[0] == "$share":
        levels = levels[2:]
    return "/".join(name if level in ("+", "#") else level for level in levels)


def _joined(message: Fields, more: Fields, value: str) -> bool:
    """Put more fields into a message, unless it has the value, or contradicts them."""
    if value in message or any(message.get(path, each) != each for path, each in more.items()):
        return False
    message.update(more)
    return True


def _nested(fields: Mapping[str, Any]) -> Fields:
    message: Fields = {}
    for path, content in fields.items():
        *keys, last = path.split(".")
        here = message
        for key in keys:
            here = here.setdefault(key, {})
        here[last] = content
    return message
