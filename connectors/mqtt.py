"""MQTT 5: JSON messages as samples, recommendations published."""

from __future__ import annotations

import asyncio
import json
import math
import secrets
import socket
import ssl
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache, partial
from typing import Any, Final, Literal

import orjson
import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from connectors.intake import Counters, Intake, pauses
from connectors.mqtt_security import broken_off, explained, refusal, secure
from connectors.refusal import RefusedError
from connectors.unit_names import UnitCheck
from twin.clock import Clock
from twin.configuration.models import LineConfiguration, MqttAddress, MqttConnector
from twin.ports import ConnectionState
from twin.samples import (
    BAD_NO_COMMUNICATION,
    BAD_NO_DATA,
    BAD_TYPE_MISMATCH,
    OfflineMeasurement,
    SampleBatch,
)
from twin.tags import Tag
from twin.units import to_si

UNCERTAIN: Final = 0x40000000
BAD: Final = 0x80000000

_STATUS: Final = {"good": 0, "ok": 0, "uncertain": UNCERTAIN, "bad": BAD}
_NOT_FINITE: Final = frozenset({"nan", "inf", "+inf", "-inf", "infinity", "-infinity"})
_PER_UNIT: Final = {"s": 1_000_000_000, "ms": 1_000_000, "us": 1_000, "ns": 1}
_LATEST: Final = 1 << 63
_LARGEST: Final = 2.0**53
"""Of numbers of rolls and batches: beyond it a double is no count."""
_KEEP_ALIVE: Final = 10
_PATIENCE: Final = 5.0
_STANDS: Final = 10.0
"""Seconds after which a connection was no mere attempt: the next pause is a short one again."""
_LATER: Final = "Quota exceeded"
"""The reason of a broker that would take a publication at another time."""
_PACKETS_AT_ONCE: Final = 200
_UNACKNOWLEDGED: Final = 10_000
_MISSING: Final = object()


@dataclass(frozen=True, slots=True)
class _Signal:
    index: int
    tag: Tag
    address: MqttAddress
    scale: float
    offset: float
    value: tuple[str, ...]
    time: tuple[str, ...]
    where: tuple[tuple[tuple[str, ...], str], ...]
    mismatch: UnitCheck

    @property
    def offline(self) -> bool:
        address = self.address
        return not (address.roll is None and address.metre is None and address.batch is None)


@dataclass(frozen=True, slots=True)
class _Row:
    tag: int
    time: int
    value: float
    quality: int


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
        self._signals = _signals(name, configuration)
        self._topics = tuple(dict.fromkeys(signal.address.topic for signal in self._signals))
        self._lasting = lasting and connector.session_expiry > 0
        self._client_id = connector.client_id
        if not lasting:
            self._client_id += f"-{secrets.token_hex(4)}"
        self._tolerance = int(configuration.clock_tolerance * _PER_UNIT["s"])
        self._newest: dict[int, int] = {}
        """By tag the newest source time that the line does not refuse as in the future, ns."""
        self._window = min(_UNACKNOWLEDGED, max(1, capacity // max(1, len(self._signals))))
        self._unsafe: deque[list[_Receipt]] = deque()
        self._intake: Intake[tuple[tuple[_Row | OfflineMeasurement, ...], _Receipt | None]]
        self._intake = Intake(capacity, linger)
        self._counters = Counters(name)
        self._heard: int | None = None
        """Line time of the broker's last word; a silent loss is noticed only later."""
        self._client: paho.Client | None = None
        self._protocol = MQTTProtocolVersion.MQTTv5
        self._connected_at = math.inf
        """By the loop's clock, s."""
        self._published: dict[int, asyncio.Future[ReasonCode]] = {}
        self._of_topic = lru_cache(maxsize=10_000)(self._matching)

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
            rows = [element for element in arrived if isinstance(element, _Row)]
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

        pump = _Pump(client, loop, self._hear)
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
                (signal.index, self._after_all(signal.index, time))
                for time in (since, now)
                for signal in self._signals
                if not signal.offline
            )
            rows = tuple(_Row(tag, time, math.nan, BAD_NO_COMMUNICATION) for tag, time in marks)
            self._intake.put((rows, None), len(rows))

    def _after_all(self, tag: int, time: int) -> int:
        """A time, or one after all that was said of the tag: a machine's clock may be fast."""
        return max(time, self._newest.get(tag, 0) + _PER_UNIT["us"])

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
        taken = self._samples(topic, payload)
        if taken or receipt is not None:
            self._counters.received += len(taken)
            self._note_newest(taken)
            self._intake.put((taken, receipt), len(taken))

    def _note_newest(self, taken: Iterable[_Row | OfflineMeasurement]) -> None:
        latest = self._clock.now() + self._tolerance
        for row in taken:
            if isinstance(row, _Row) and self._newest.get(row.tag, 0) < row.time <= latest:
                self._newest[row.tag] = row.time

    def _samples(self, topic: str, payload: bytes) -> tuple[_Row | OfflineMeasurement, ...]:
        signals = self._of_topic(topic)
        if not signals:
            self._counters.refuse("unknown topic", topic=topic)
            return ()
        if len(payload) > self._connector.max_payload:
            self._counters.refuse("too large", topic=topic, bytes=len(payload))
            return ()
        message = _parsed(payload)
        if not isinstance(message, dict):
            reason = "broken JSON" if message is _MISSING else "no JSON object"
            self._counters.refuse(reason, topic=topic, payload=payload[:100])
            return ()
        found = False
        taken: list[_Row | OfflineMeasurement] = []
        for signal in signals:
            if all(_text(_at(message, path)) == text for path, text in signal.where):
                found = True
                sample = self._sample(signal, topic, message)
                if sample is not None:
                    taken.append(sample)
        if not found:
            self._counters.refuse("unknown signal", topic=topic, payload=payload[:100])
        return tuple(taken)

    def _sample(
        self, signal: _Signal, topic: str, message: Mapping[str, Any]
    ) -> _Row | OfflineMeasurement | None:
        tag, address = signal.tag.name, signal.address
        stamp = _at(message, signal.time)
        if stamp is _MISSING or stamp is None:
            self._counters.refuse("no time", tag=tag, topic=topic)
            return None
        time = nanoseconds(stamp, address.time_unit)
        if time is None:
            self._counters.refuse("bad time", tag=tag, topic=topic, time=stamp)
            return None
        value, quality = self._value(signal, topic, message)
        if not signal.offline:
            return _Row(signal.index, time, value, quality)
        if quality >> 30 == 2:
            if quality == BAD:  # everything else that is bad was counted where it was found
                self._counters.refuse("bad status", tag=tag, topic=topic)
            return None
        return self._offline(signal, topic, message, time, value)

    def _value(self, signal: _Signal, topic: str, message: Mapping[str, Any]) -> tuple[float, int]:
        tag, address, row = signal.tag.name, signal.address, not signal.offline
        raw = _at(message, signal.value)
        if raw is _MISSING or raw is None:
            self._counters.refuse("no value", row, tag=tag, topic=topic)
            return math.nan, BAD_NO_DATA
        if isinstance(raw, str) and raw.strip().lower() in _NOT_FINITE:
            self._counters.refuse("not finite", row, tag=tag, topic=topic, value=raw)
            return math.nan, BAD_NO_DATA
        if not isinstance(raw, (int, float)):
            self._counters.refuse("wrong type", row, tag=tag, topic=topic, value=raw)
            return math.nan, BAD_TYPE_MISMATCH
        number = _finite(raw)
        if number is None:
            self._counters.refuse("not finite", row, tag=tag, topic=topic, value=raw)
            return math.nan, BAD_NO_DATA
        if address.unit is not None:
            unit = _at(message, tuple(address.unit.split(".")))
            if not isinstance(unit, str):
                self._counters.refuse("no unit", row, tag=tag, topic=topic)
                return math.nan, BAD_TYPE_MISMATCH
            wrong = signal.mismatch(unit[:40])
            if wrong is not None:
                self._counters.refuse("wrong unit", row, tag=tag, topic=topic, problem=wrong)
                return math.nan, BAD_TYPE_MISMATCH
        quality = 0
        if address.status is not None:
            status = _at(message, tuple(address.status.split(".")))
            known = _STATUS.get(status.lower()) if isinstance(status, str) else None
            if known is None:
                self._counters.refuse("unknown status", row, tag=tag, topic=topic, status=status)
                known = UNCERTAIN
            quality = known
        if quality == BAD:
            return math.nan, BAD
        return number * signal.scale + signal.offset, quality

    def _offline(
        self, signal: _Signal, topic: str, message: Mapping[str, Any], time: int, value: float
    ) -> OfflineMeasurement | None:
        address = signal.address
        origin: list[float | None] = []
        for path in (address.roll, address.metre, address.batch):
            number = None
            if path is not None:
                number = _finite(_at(message, tuple(path.split("."))))
                if number is None or abs(number) > _LARGEST:
                    self._counters.refuse(
                        "no material", tag=signal.tag.name, topic=topic, field=path
                    )
                    return None
            origin.append(number)
        roll, metre, batch = origin
        return OfflineMeasurement(
            signal.index,
            time,
            value,
            None if roll is None else int(roll),
            metre,
            None if batch is None else int(batch),
        )

    def _matching(self, topic: str) -> tuple[_Signal, ...]:
        return tuple(
            signal
            for signal in self._signals
            if paho.topic_matches_sub(signal.address.topic, topic)
        )


class _Pump:
    """Lets an event loop drive a client's socket; `heard` is called when there is a word on it."""

    def __init__(
        self, client: paho.Client, loop: asyncio.AbstractEventLoop, heard: Callable[[], None]
    ) -> None:
        self._client = client
        self._loop = loop
        self._heard = heard
        self._watched: int | None = None
        self._running = False
        client.on_socket_close = self._closed
        client.on_socket_register_write = self._want_write
        client.on_socket_unregister_write = self._wrote

    def start(self) -> None:
        """Watch the socket, once the blocking part of connecting is over."""
        peer = self._client.socket()
        if peer is None:
            raise ConnectionError("the connection was closed at once")
        self._running = True
        self._watched = peer.fileno()
        self._loop.add_reader(self._watched, self._read)
        if self._client.want_write():
            self._loop.add_writer(self._watched, self._client.loop_write)

    def stop(self) -> None:
        """Forget the socket, and close it."""
        peer = self._client.socket()
        self._forget()
        self._running = False
        if peer is not None:
            peer.close()

    def _read(self) -> None:
        self._heard()
        for _ in range(_PACKETS_AT_ONCE):
            before = self._client.socket()
            if before is None or self._client.loop_read() != paho.MQTT_ERR_SUCCESS:
                return
            if not isinstance(before, socket.socket) or not _readable(before):
                return
        # what TLS has decrypted already, no selector sees
        self._loop.call_soon(self._read_on)

    def _read_on(self) -> None:
        if self._watched is not None:
            self._read()

    def _forget(self) -> None:
        if self._watched is not None:
            self._loop.remove_reader(self._watched)
            self._loop.remove_writer(self._watched)
            self._watched = None

    def _closed(self, _: Any, __: Any, ___: Any) -> None:
        if self._running:
            self._forget()

    def _want_write(self, _: Any, __: Any, ___: Any) -> None:
        if self._running and self._watched is not None:
            self._loop.add_writer(self._watched, self._client.loop_write)

    def _wrote(self, _: Any, __: Any, ___: Any) -> None:
        if self._running and self._watched is not None:
            self._loop.remove_writer(self._watched)


def nanoseconds(stamp: Any, unit: Literal["iso", "s", "ms", "us", "ns"]) -> int | None:
    """Nanoseconds since the epoch; None where the stamp is no moment, or has no time zone."""
    if unit == "iso":
        if not isinstance(stamp, str):
            return None
        try:
            moment = datetime.fromisoformat(stamp)
        except ValueError:
            return None
        if moment.tzinfo is None:
            return None
        whole = int(moment.replace(microsecond=0).timestamp())
        time = whole * 1_000_000_000 + _fraction(stamp, moment)
        return time if 0 <= time < _LATEST else None
    if isinstance(stamp, bool) or not isinstance(stamp, (int, float)):
        return None
    if isinstance(stamp, float) and not math.isfinite(stamp):
        return None
    per = _PER_UNIT[unit]
    whole = math.floor(stamp)
    time = whole * per + (0 if isinstance(stamp, int) else round((stamp - whole) * per))
    return time if 0 <= time < _LATEST else None


def _fraction(stamp: str, moment: datetime) -> int:
    if len(stamp) <= 27:
        return moment.microsecond * 1_000
    digits = stamp.partition(".")[2]
    count = next((at for at, sign in enumerate(digits) if not sign.isdigit()), len(digits))
    return int(digits[: min(count, 9)].ljust(9, "0")) if count else moment.microsecond * 1_000


def _signals(name: str, configuration: LineConfiguration) -> tuple[_Signal, ...]:
    table = configuration.tag_table()
    signals = []
    for tag_name, tag in configuration.tags.items():
        if tag.connector != name:
            continue
        address = tag.address
        if not isinstance(address, MqttAddress):
            raise ValueError(f"{tag_name} has no MQTT address")
        index = table.index(tag_name)
        where = tuple((tuple(path.split(".")), text) for path, text in address.where.items())
        signals.append(
            _Signal(
                index,
                table[index],
                address,
                *to_si(tag.unit),
                tuple(address.value.split(".")),
                tuple(address.time.split(".")),
                where,
                UnitCheck(tag.unit),
            )
        )
    return tuple(signals)


def _parsed(payload: bytes) -> Any:
    try:
        return orjson.loads(payload)
    except orjson.JSONDecodeError:
        try:
            return json.loads(payload)
        except (ValueError, RecursionError):
            return _MISSING


def _at(message: Any, path: tuple[str, ...]) -> Any:
    for key in path:
        if not isinstance(message, dict):
            return _MISSING
        message = message.get(key, _MISSING)
    return message


def _text(value: Any) -> str | None:
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, (int, float)) else None


def _finite(value: Any) -> float | None:
    if not isinstance(value, (int, float)):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def _readable(peer: socket.socket) -> bool:
    if isinstance(peer, ssl.SSLSocket):
        return peer.pending() > 0
    try:
        return bool(peer.recv(1, socket.MSG_PEEK))
    except OSError:
        return False


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
