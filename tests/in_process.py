"""The virtual line and the core in one process, without protocols: for fast tests of the twin."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import yaml

from connectors.recorder import RecordingWriter
from simulators.line import Emission, VirtualLine
from simulators.scenario import Scenario, load_scenario
from surrogates.onnx_model import OnnxSurrogate
from twin.cli.assessment.control import Twin
from twin.cli.assessment.wire import Wire
from twin.comparison import Comparison
from twin.configuration.models import LineConfiguration
from twin.core import Core, CoreEvent
from twin.intervention import Arrivals, Intervention
from twin.recommendation import Recommendation
from twin.samples import SampleBatch

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
        self.recorder = recorder
        self.events: list[CoreEvent] = []
        self.comparisons: dict[str, list[Comparison]] = defaultdict(list)
        self._wire = Wire(self.line, self.configuration)
        self._twin = Twin(self.core, "test", accept, self._told)

    @property
    def accept(self) -> bool:
        """Whether advice is accepted."""
        return self._twin.accept

    @accept.setter
    def accept(self, accept: bool) -> None:
        self._twin.accept = accept

    def batch(self, sent: Emission) -> SampleBatch:
        """What the line sent, as connectors would deliver it."""
        return self._wire.batch(sent)

    def recorded(self, seconds: float = 5.0) -> Iterator[SampleBatch]:
        """All batches of the run, each `seconds` long, without a twin."""
        return self._wire.batches(seconds)

    def run(self, seconds: float = 5.0) -> None:
        """Run to the end, the twin following in steps of `seconds`."""
        for batch in self.recorded(seconds):
            self.deliver(batch)

    def deliver(self, batch: SampleBatch) -> None:
        """The batch arrives now."""
        now = self.line.now_ns
        if self.recorder is not None:
            self.recorder.append(Arrivals.at(now, batch))
        self._twin.take(batch, now, self._wire.write)

    def intervene(self, intervention: Intervention) -> None:
        """A person, a machine or the clock does something now."""
        self._twin.intervene(intervention, self.line.now_ns, self._wire.write)

    def _told(self, said: CoreEvent | Intervention) -> None:
        if isinstance(said, Intervention):
            if self.recorder is not None:
                self.recorder.append(Arrivals.at(said.time, interventions=(said,)))
            return
        self.events.append(said)
        if isinstance(said, Comparison):
            self.comparisons[f"{said.step}.{said.output}"].append(said)

    def recommendations(self, state: str) -> list[Recommendation]:
        """Recommendations that reached a state."""
        return [e for e in self.events if isinstance(e, Recommendation) and e.state == state]
