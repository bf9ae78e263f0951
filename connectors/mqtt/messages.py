"""What an MQTT message says: JSON of any shape that the configuration describes, as samples."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any, Final, Literal

import orjson
import paho.mqtt.client as paho

from connectors.intake import Counters
from connectors.unit_names import UnitCheck
from twin.configuration.models import LineConfiguration, MqttAddress
from twin.samples import BAD, BAD_NO_DATA, BAD_TYPE_MISMATCH, UNCERTAIN, OfflineMeasurement
from twin.tags import Tag
from twin.units import NANOSECONDS_PER, to_si

_STATUS: Final = {"good": 0, "ok": 0, "uncertain": UNCERTAIN, "bad": BAD}
_NOT_FINITE: Final = frozenset({"nan", "inf", "+inf", "-inf", "infinity", "-infinity"})
_LATEST: Final = 1 << 63
_LARGEST: Final = 2.0**53
"""Of numbers of rolls and batches: beyond it a double is no count."""
_MISSING: Final = object()


@dataclass(frozen=True, slots=True)
class Row:
    """A sample, before it is part of a batch: index of its tag, ns, SI, and its quality."""

    tag: int
    time: int
    value: float
    quality: int


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


class MessageReader:
    """Reads the messages of one connector; what cannot be used is counted by reason.

    Args:
        connector: its name in the configuration.
        configuration: the line; samples get the index of their tag in its tag table.
        max_payload: of a message, bytes.
        counters: where refusals are counted.
    """

    def __init__(
        self, connector: str, configuration: LineConfiguration, max_payload: int, counters: Counters
    ) -> None:
        self._signals = _signals(connector, configuration)
        self._max_payload = max_payload
        self.counters = counters
        self._of_topic = lru_cache(maxsize=10_000)(self._matching)

    @property
    def topics(self) -> tuple[str, ...]:
        """To subscribe to."""
        return tuple(dict.fromkeys(signal.address.topic for signal in self._signals))

    @property
    def tags(self) -> tuple[int, ...]:
        """Those that are rows; the rest are measurements that somebody made beside the line."""
        return tuple(signal.index for signal in self._signals if not signal.offline)

    def __len__(self) -> int:
        return len(self._signals)

    def read(self, topic: str, payload: bytes) -> tuple[Row | OfflineMeasurement, ...]:
        """The samples of a message; none where it has none that can be used."""
        signals = self._of_topic(topic)
        if not signals:
            self.counters.refuse("unknown topic", topic=topic)
            return ()
        if len(payload) > self._max_payload:
            self.counters.refuse("too large", topic=topic, bytes=len(payload))
            return ()
        message = _parsed(payload)
        if not isinstance(message, dict):
            reason = "broken JSON" if message is _MISSING else "no JSON object"
            self.counters.refuse(reason, topic=topic, payload=payload[:100])
            return ()
        found = False
        taken: list[Row | OfflineMeasurement] = []
        for signal in signals:
            if all(_text(_at(message, path)) == text for path, text in signal.where):
                found = True
                sample = self._sample(signal, topic, message)
                if sample is not None:
                    taken.append(sample)
        if not found:
            self.counters.refuse("unknown signal", topic=topic, payload=payload[:100])
        return tuple(taken)

    def _sample(
        self, signal: _Signal, topic: str, message: Mapping[str, Any]
    ) -> Row | OfflineMeasurement | None:
        tag, address = signal.tag.name, signal.address
        stamp = _at(message, signal.time)
        if stamp is _MISSING or stamp is None:
            self.counters.refuse("no time", tag=tag, topic=topic)
            return None
        time = nanoseconds(stamp, address.time_unit)
        if time is None:
            self.counters.refuse("bad time", tag=tag, topic=topic, time=stamp)
            return None
        value, quality = self._value(signal, topic, message)
        if not signal.offline:
            return Row(signal.index, time, value, quality)
        if quality >> 30 == 2:
            if quality == BAD:  # everything else that is bad was counted where it was found
                self.counters.refuse("bad status", tag=tag, topic=topic)
            return None
        return self._offline(signal, topic, message, time, value)

    def _value(self, signal: _Signal, topic: str, message: Mapping[str, Any]) -> tuple[float, int]:
        tag, address, row = signal.tag.name, signal.address, not signal.offline
        raw = _at(message, signal.value)
        if raw is _MISSING or raw is None:
            self.counters.refuse("no value", row, tag=tag, topic=topic)
            return math.nan, BAD_NO_DATA
        if isinstance(raw, str) and raw.strip().lower() in _NOT_FINITE:
            self.counters.refuse("not finite", row, tag=tag, topic=topic, value=raw)
            return math.nan, BAD_NO_DATA
        if not isinstance(raw, (int, float)):
            self.counters.refuse("wrong type", row, tag=tag, topic=topic, value=raw)
            return math.nan, BAD_TYPE_MISMATCH
        number = _finite(raw)
        if number is None:
            self.counters.refuse("not finite", row, tag=tag, topic=topic, value=raw)
            return math.nan, BAD_NO_DATA
        if address.unit is not None:
            unit = _at(message, tuple(address.unit.split(".")))
            if not isinstance(unit, str):
                self.counters.refuse("no unit", row, tag=tag, topic=topic)
                return math.nan, BAD_TYPE_MISMATCH
            wrong = signal.mismatch(unit[:40])
            if wrong is not None:
                self.counters.refuse("wrong unit", row, tag=tag, topic=topic, problem=wrong)
                return math.nan, BAD_TYPE_MISMATCH
        quality = 0
        if address.status is not None:
            status = _at(message, tuple(address.status.split(".")))
            known = _STATUS.get(status.lower()) if isinstance(status, str) else None
            if known is None:
                self.counters.refuse("unknown status", row, tag=tag, topic=topic, status=status)
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
                    self.counters.refuse(
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
    per = NANOSECONDS_PER[unit]
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
