"""The virtual line in this process: samples as connectors would deliver them, setpoints written."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from simulators.line import Emission, VirtualLine
from twin.configuration.models import LineConfiguration, MqttAddress, OpcUaAddress
from twin.ingest import NANOSECONDS
from twin.ports import Write, WriteOutcome
from twin.samples import OfflineMeasurement, SampleBatch
from twin.units import to_si


@dataclass(frozen=True, slots=True)
class Move:
    """A setpoint that was written, SI."""

    time: int
    """Line time, ns."""
    tag: int
    """Index in the tag table."""
    before: float
    after: float


class Wire:
    """Between a virtual line and whoever controls it, without protocols.

    Args:
        line: advanced by `batches`.
        configuration: names what the line sends; the rest is not delivered.
    """

    def __init__(self, line: VirtualLine, configuration: LineConfiguration) -> None:
        self.line = line
        self.moves: list[Move] = []
        self._nodes = {
            tag.address.node.rpartition("s=")[2]: (index, *to_si(tag.unit))
            for index, tag in enumerate(configuration.tags.values())
            if isinstance(tag.address, OpcUaAddress)
        }
        self._topics = {
            (tag.address.topic, tag.address.where.get("parameter")): (index, *to_si(tag.unit))
            for index, tag in enumerate(configuration.tags.values())
            if isinstance(tag.address, MqttAddress)
        }
        self._signals = {
            index: (name, scale, offset) for name, (index, scale, offset) in self._nodes.items()
        }

    def signal(self, tag: int) -> str | None:
        """The variable of the line behind a tag; None where it has none."""
        name = self._signals.get(tag, ("", 1.0, 0.0))[0]
        return name if name in self.line.signals else None

    def gauge(self, topic: str) -> int | None:
        """The tag that a gauge of the line reports to; None where the configuration has none."""
        found = self._topics.get((f"virtual-line/gauges/{topic}", None))
        return None if found is None else found[0]

    def batch(self, sent: Emission) -> SampleBatch:
        """What the line sent, as connectors would deliver it."""
        rows = [
            (self._nodes[v.name], v.time_ns, v.value)
            for v in sent.variables
            if v.name in self._nodes
        ]
        for reading in sent.readings:
            gauge = self._topics.get((f"virtual-line/gauges/{reading.topic}", None))
            if gauge is not None and reading.status == "ok":
                rows.append((gauge, reading.time_ns, reading.value))
        rows.sort(key=lambda row: row[1])
        offline = []
        for result in sent.results:
            found = self._topics.get(("virtual-line/laboratory", result.parameter))
            if found is not None:
                index, scale, offset = found
                offline.append(
                    OfflineMeasurement(
                        index,
                        result.sampled_ns,
                        result.value * scale + offset,
                        result.roll,
                        result.metre,
                        result.batch,
                        result.published_ns,
                    )
                )
        plain = SampleBatch.of(
            [tag[0] for tag, _, _ in rows],
            [time for _, time, _ in rows],
            [value * tag[1] + tag[2] for tag, _, value in rows],
        )
        return SampleBatch(plain.tag, plain.time, plain.value, plain.quality, tuple(offline))

    def batches(self, seconds: float = 1.0) -> Iterator[SampleBatch]:
        """All batches until the line has finished, each `seconds` of line time long."""
        step, now = int(seconds * NANOSECONDS), self.line.now_ns
        while not self.line.finished:
            now += step
            yield self.batch(self.line.advance(now))

    def write(self, write: Write) -> WriteOutcome:
        """Write a setpoint; it acts from the line's next tick on.

        Raises:
            KeyError: the tag is no variable of the line.
        """
        name, scale, offset = self._signals[write.tag]
        before = self.line.setpoints[name] * scale + offset
        try:
            self.line.write_setpoint(name, (write.value - offset) / scale)
        except ValueError as error:
            return WriteOutcome(write, "denied", math.nan, str(error))
        self.moves.append(Move(self.line.now_ns, write.tag, before, write.value))
        return WriteOutcome(write, "applied", write.value)
