"""The source of one broker: it connects, subscribes, acknowledges and publishes."""

from __future__ import annotations

import asyncio
import math
import secrets
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import suppress
from functools import partial
from typing import Any, Final

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from connectors.intake import Counters, Intake, pauses
from connectors.mqtt.messages import MessageReader, Row
from connectors.mqtt.pump import Pump
from connectors.mqtt.securing import broken_off, explained, refusal, secure
from connectors.refusal import RefusedError
from twin.clock import Clock
from twin.configuration.models import LineConfiguration, MqttConnector
from twin.ports import ConnectionState
from twin.samples import BAD_NO_COMMUNICATION, OfflineMeasurement, SampleBatch

_KEEP_ALIVE: Final = 10
_PATIENCE: Final = 5.0
_STANDS: Final = 10.0
"""Seconds after which a connection was no mere attempt: the next pause is a short one again."""
_LATER: Final = "Quota exceeded"
"""The reason of a broker that would take a publication at another time."""
_UNACKNOWLEDGED: Final = 10_000

_Receipt = tuple[paho.Client, int]
"""A message that waits to be acknowledged: the connection that it came by, and its number there."""


class MqttSource:
    """The tags of one MQTT broker: a `Source` of their samples, and a publisher.

    It speaks MQTT 5, and 3.1.1 with a broker that refuses 5.

    A lasting source acknowledges messages once `safe` says that they will outlast a crash, and its
    session outlasts its connection: what comes while it is away, or was not acknowledged, the
    broker keeps and sends again. The broker sends no more than `capacity` allows before it is
    acknowledged.
    """

    def __init__(
        self,
        name: str,
        configuration: LineConfiguration,
        clock: Clock,
        *,
        linger: float = 0.05,
        capacity: int = 500_000,
        publish_timeout: float = 2.0,
        lasting: bool = False,
    ) -> None:
        """
        Args:
            name: the connector's name in the configuration.
            configuration: the line; the connector's tags keep their index in its tag table.
            clock: line time, for gaps.
            linger: how long samples wait for others to make a batch, s.
            capacity: samples kept for a slow reader; then the oldest are dropped and counted.
            publish_timeout: how long the broker may take to acknowledge a publication, s.
            lasting: the session is the line's own, one at a time, and `safe` is called for every
                batch; else it is a visitor's, under a name of its own and gone with the connection.
        """
        connector = configuration.connectors[name]
        if not isinstance(connector, MqttConnector):
            raise ValueError(f"{name} is no MQTT connector")
        self.name = name
        self._connector = connector
        self._clock = clock
        self._publish_timeout = publish_timeout
        self._counters = Counters(name)
        self._messages = MessageReader(name, configuration, connector.max_payload, self._counters)
        self._topics = self._messages.topics
        self._lasting = lasting and connector.session_expiry > 0
        self._client_id = connector.client_id
        if not lasting:
            self._client_id += f"-{secrets.token_hex(4)}"
        self._tolerance = round(configuration.clock_tolerance * 1e9)
        self._newest: dict[int, int] = {}
        """By tag the newest source time that the line does not refuse as in the future, ns."""
        self._window = min(_UNACKNOWLEDGED, max(1, capacity // max(1, len(self._messages))))
        self._unsafe: deque[list[_Receipt]] = deque()
        self._intake: Intake[tuple[tuple[Row | OfflineMeasurement, ...], _Receipt | None]]
        self._intake = Intake(capacity, linger)
        self._heard: int | None = None
        """Line time of the broker's last word; a silent loss is noticed only later."""
        self._client: paho.Client | None = None
        self._protocol = MQTTProtocolVersion.MQTTv5
        self._connected_at = math.inf
        """By the loop's clock, s."""
        self._published: dict[int, asyncio.Future[ReasonCode]] = {}

    @property
    def state(self) -> ConnectionState:
        """Whether it is connected, and what it lost or refused."""
        return self._counters.state(self._intake.dropped)

    async def run(self) -> None:
        """Connect, and stay connected until cancelled: reconnects by itself."""
        loop = asyncio.get_running_loop()
        waits = pauses(self._connector.reconnect_max_delay)
        while True:
            self._connected_at = math.inf
            try:
                await self._serve()
            except RefusedError as error:
                self._counters.refuse_peer(error.what, str(error), self._clock.now())
                self._lost(str(error))
            except Exception as error:  # whatever the library raises, the other connectors go on
                if loop.time() - self._connected_at >= _STANDS:
                    waits = pauses(self._connector.reconnect_max_delay)
                self._lost(f"{self._connector.host}:{self._connector.port}: {_sentence(error)}")
            await asyncio.sleep(next(waits))

    async def batches(self) -> AsyncIterator[SampleBatch]:
        """What arrived, in batches; tag indices of the line's tag table, SI."""
        while True:
            parcels = await self._intake.take()
            arrived = [element for elements, _ in parcels for element in elements]
            receipts = [receipt for _, receipt in parcels if receipt is not None]
            if not arrived:
                # in order, as MQTT wants it: behind those that came before
                if self._unsafe:
                    self._unsafe[-1] += receipts
                else:
                    self._acknowledge(receipts)
                continue
            if self._lasting:
                self._unsafe.append(receipts)
            rows = [element for element in arrived if isinstance(element, Row)]
            batch = SampleBatch.of(
                [row.tag for row in rows],
                [row.time for row in rows],
                [row.value for row in rows],
                [row.quality for row in rows],
            )
            offline = tuple(
                element for element in arrived if isinstance(element, OfflineMeasurement)
            )
            yield SampleBatch(batch.tag, batch.time, batch.value, batch.quality, offline)

    def safe(self) -> None:
        """The oldest batch not yet said so of will outlast a crash: its messages too are done."""
        if self._unsafe:
            self._acknowledge(self._unsafe.popleft())

    def _acknowledge(self, receipts: Iterable[_Receipt]) -> None:
        for client, number in receipts:
            # what came by a connection that is gone comes again
            if client.is_connected():
                client.ack(number, 1)

    async def publish(self, topic: str, payload: bytes, retain: bool = False) -> bool:
        """Publish at QoS 1; whether the broker acknowledged it in time.

        Raises:
            RefusedError: the broker does not take it, and would not at another time.
            ValueError: it is no topic to publish on.
        """
        client = self._client
        if client is None or not self._counters.connected:
            return False
        sent = client.publish(topic, payload, 1, retain)
        if sent.rc != paho.MQTT_ERR_SUCCESS:
            return False
        done: asyncio.Future[ReasonCode] = asyncio.get_running_loop().create_future()
        self._published[sent.mid] = done
        try:
            async with asyncio.timeout(self._publish_timeout):
                reason = await done
        except TimeoutError:
            return False
        finally:
            self._published.pop(sent.mid, None)
        if reason.is_failure and reason != _LATER:
            raise RefusedError("refused by peer", f"the broker refuses {topic}: {reason}")
        return not reason.is_failure

    async def _serve(self) -> None:
        loop = asyncio.get_running_loop()
        broken: asyncio.Future[str] = loop.create_future()
        ready: asyncio.Future[ConnectionError | None] = loop.create_future()
        connector = self._connector
        modern = self._protocol == MQTTProtocolVersion.MQTTv5
        client = paho.Client(
            CallbackAPIVersion.VERSION2,
            self._client_id,
            clean_session=None if modern else not self._lasting,
            protocol=self._protocol,
            manual_ack=self._lasting,
        )
        client.connect_timeout = _PATIENCE
        await asyncio.to_thread(secure, client, connector)

        def connected(
            _: paho.Client, __: Any, ___: Any, reason: ReasonCode, ____: Properties | None
        ) -> None:
            if reason.is_failure:
                if reason == "Unsupported protocol version":
                    self._protocol = MQTTProtocolVersion.MQTTv311
                _settle(ready, refusal(connector, reason))
            elif not self._topics:
                _settle(ready, None)
            elif modern:
                options = SubscribeOptions(qos=connector.qos)
                client.subscribe([(topic, options) for topic in self._topics])
            else:
                client.subscribe([(topic, int(connector.qos)) for topic in self._topics])

        def subscribed(
            _: paho.Client, __: Any, ___: int, reasons: list[ReasonCode], ____: Properties | None
        ) -> None:
            refused = [
                f"{topic}: {reason}"
                for topic, reason in zip(self._topics, reasons, strict=False)
                if reason.is_failure
            ]
            _settle(ready, ConnectionError("; ".join(refused)) if refused else None)

        def disconnected(
            _: paho.Client, __: Any, ___: Any, reason: ReasonCode, ____: Properties | None
        ) -> None:
            _settle(broken, f"the connection broke: {reason}")

        def published(
            _: paho.Client, __: Any, mid: int, reason: ReasonCode, ____: Properties | None
        ) -> None:
            if mid in self._published:
                _settle(self._published[mid], reason)

        client.on_connect = connected
        client.on_subscribe = subscribed
        client.on_disconnect = disconnected
        client.on_publish = published
        client.on_message = lambda _, __, message: self.receive(
            message.topic,
            bytes(message.payload),
            (client, message.mid) if self._lasting and message.qos else None,
        )

        pump = Pump(client, loop, self._hear)
        try:
            async with asyncio.timeout(_PATIENCE):
                with explained(connector):
                    await _unattended(
                        partial(
                            client.connect,
                            connector.host,
                            connector.port,
                            _KEEP_ALIVE,
                            **(self._session() if modern else {}),
                        )
                    )
                pump.start()
                done, _ = await asyncio.wait((ready, broken), return_when=asyncio.FIRST_COMPLETED)
            if broken in done and not ready.done():
                raise broken_off(connector, broken.result())
            problem = ready.result()
            if problem is not None:
                raise problem
            self._client = client
            self._counters.back(self._clock.now())
            self._counters.connect()
            self._connected_at = loop.time()
            while not broken.done():
                await asyncio.wait((broken,), timeout=1.0)
                client.loop_misc()
            raise ConnectionError(broken.result())
        finally:
            self._client = None
            with suppress(OSError, ValueError):
                client.disconnect()
                client.loop_write()
            pump.stop()

    def _hear(self) -> None:
        self._heard = self._clock.now()

    def _lost(self, error: str) -> None:
        self._counters.disconnect(error)
        if self._counters.away_since is None:
            now = self._clock.now()
            since = self._counters.away_since = min(self._heard or now, now)
            # the first may be too late for those who follow the line
            marks = dict.fromkeys(
                (tag, self._after_all(tag, time))
                for time in (since, now)
                for tag in self._messages.tags
            )
            rows = tuple(Row(tag, time, math.nan, BAD_NO_COMMUNICATION) for tag, time in marks)
            self._intake.put((rows, None), len(rows))

    def _after_all(self, tag: int, time: int) -> int:
        """A time, or one after all that was said of the tag: a machine's clock may be fast."""
        return max(time, self._newest.get(tag, 0) + 1_000)

    def _session(self) -> dict[str, Any]:
        """What MQTT 5 is told of the session when it is opened."""
        if not self._lasting:
            return {"clean_start": True}
        properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]  # not typed there
        properties.SessionExpiryInterval = int(self._connector.session_expiry)
        properties.ReceiveMaximum = self._window
        return {"clean_start": False, "properties": properties}

    def receive(self, topic: str, payload: bytes, receipt: _Receipt | None = None) -> None:
        """Take a message; what cannot be used is counted by reason, never raised."""
        taken = self._messages.read(topic, payload)
        if taken or receipt is not None:
            self._counters.received += len(taken)
            self._note_newest(taken)
            self._intake.put((taken, receipt), len(taken))

    def _note_newest(self, taken: Iterable[Row | OfflineMeasurement]) -> None:
        latest = self._clock.now() + self._tolerance
        for row in taken:
            if isinstance(row, Row) and self._newest.get(row.tag, 0) < row.time <= latest:
                self._newest[row.tag] = row.time


async def _unattended(work: Callable[[], object]) -> None:
    """Like `asyncio.to_thread`, but the program may end while a silent host is still awaited."""
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[Exception | None] = loop.create_future()

    def target() -> None:
        error = None
        try:
            work()
        except Exception as raised:  # carried to the caller, whatever it is
            error = raised
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(_settle, ended, error)

    threading.Thread(target=target, name="MQTT connect", daemon=True).start()
    error = await ended
    if error is not None:
        raise error


def _settle(future: asyncio.Future[Any], result: Any) -> None:
    if not future.done():
        future.set_result(result)


def _sentence(error: BaseException) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    return str(error) or type(error).__name__
