"""The virtual line and the core in one process, without protocols: for fast tests of the twin."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import yaml

from connectors.recorder import RecordingWriter
from simulators.line import Emission, VirtualLine
from simulators.scenario import Scenario, load_scenario
from surrogates.onnx_model import OnnxSurrogate
from twin.comparison import Comparison
from twin.configuration.models import LineConfiguration, MqttAddress, OpcUaAddress
from twin.core import Core, CoreEvent
from twin.intervention import Arrivals, Decided, Intervention, Wrote
from twin.ports import Write, WriteOutcome
from twin.recommendation import Recommendation
from twin.samples import OfflineMeasurement, SampleBatch
from twin.units import to_si

ROOT = Path(__file__).parents[1]
EPOCH = 1_767_225_600_000_000_000


def line_configuration(**changes: object) -> LineConfiguration:
    """The bundled line, with top-level keys changed."""
    text = (ROOT / "config" / "line.yaml").read_text()
    return LineConfiguration.model_validate({**yaml.safe_load(text), **changes})


def make_core(line: LineConfiguration) -> Core:
    """A core with the committed models."""
    folder = ROOT / "surrogates" / "models"
    return Core(
        line,
        {
            name: OnnxSurrogate.load(folder / f"{step.model}.onnx")
            for name, step in line.steps.items()
        },
    )


class LineInProcess:
    """Advances the virtual line and hands what it sends to a core, at once."""

    def __init__(
        self,
        scenario: str | Scenario,
        seed: int = 1,
        metres: float | None = None,
        line: LineConfiguration | None = None,
        accept: bool = True,
        recorder: RecordingWriter | None = None,
    ) -> None:
        if isinstance(scenario, str):
            scenario = load_scenario(ROOT / "config" / "scenarios" / f"{scenario}.yaml")
        self.line = VirtualLine(scenario, seed, EPOCH, metres)
        self.configuration = line or line_configuration()
        self.core = make_core(self.configuration)
        self.accept = accept
        self.recorder = recorder
        self.events: list[CoreEvent] = []
        self.comparisons: dict[str, list[Comparison]] = defaultdict(list)
        self._nodes = {
            tag.address.node.rpartition("s=")[2]: (index, *to_si(tag.unit))
            for index, tag in enumerate(self.configuration.tags.values())
            if isinstance(tag.address, OpcUaAddress)
        }
        self._topics = {
            (tag.address.topic, tag.address.where.get("parameter")): (index, *to_si(tag.unit))
            for index, tag in enumerate(self.configuration.tags.values())
            if isinstance(tag.address, MqttAddress)
        }

    def batch(self, sent: Emission) -> SampleBatch:
        """What the line sent, as connectors would deliver it."""
        rows = [
            (self._nodes[v.name], v.time_ns, v.value)
            for v in sent.variables
            if v.name in self._nodes
        ]
        rows += [
            (self._topics[f"virtual-line/gauges/{r.topic}", None], r.time_ns, r.value)
            for r in sent.readings
            if r.status == "ok"
        ]
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

    def recorded(self, seconds: float = 1.0) -> Iterator[SampleBatch]:
        """All batches of the run, each `seconds` long, without a twin."""
        step, now = int(seconds * 1e9), EPOCH
        while not self.line.finished:
            now += step
            yield self.batch(self.line.advance(now))

    def run(self, seconds: float = 1.0) -> None:
        """Run to the end, the twin following in steps of `seconds`."""
        for batch in self.recorded(seconds):
            self.deliver(batch)

    def deliver(self, batch: SampleBatch) -> None:
        """The batch arrives now."""
        now = self.line.now_ns
        if self.recorder is not None:
            self.recorder.append(Arrivals(batch, np.full(len(batch), now, np.int64)))
        self._handle(self.core.feed(batch, now))

    def intervene(self, intervention: Intervention) -> None:
        """A person, a machine or the clock does something now."""
        events = self.core.intervene(intervention)
        if self.recorder is not None:
            nothing = SampleBatch.of([], [], [])
            self.recorder.append(Arrivals(nothing, nothing.time, (intervention,)))
        self._handle(events)

    def _handle(self, events: list[CoreEvent]) -> None:
        for event in events:
            self.events.append(event)
            if isinstance(event, Comparison):
                self.comparisons[f"{event.step}.{event.output}"].append(event)
            if isinstance(event, Recommendation) and self.core.open.get(event.web) is event:
                now = self.line.now_ns
                if event.state == "proposed" and self.accept:
                    self.intervene(Decided(now, event.id, True, "test"))
                elif event.state == "accepted":
                    self.intervene(Wrote(now, event.id, tuple(self._write(event))))

    def _write(self, recommendation: Recommendation) -> list[WriteOutcome]:
        outcomes = []
        names = list(self.configuration.tags)
        nodes = {index: name for name, (index, _, _) in self._nodes.items()}
        for change in recommendation.changes:
            tag = self.core.tags[change.tag]
            assert names[change.tag] == tag.name
            self.line.write_setpoint(nodes[change.tag], tag.from_si(change.after))
            outcomes.append(WriteOutcome(Write(change.tag, change.after), "applied", change.after))
        return outcomes

    def recommendations(self, state: str) -> list[Recommendation]:
        """Recommendations that reached a state."""
        return [e for e in self.events if isinstance(e, Recommendation) and e.state == state]
