"""What the line and the twin are doing now: the numbers behind every view and summary."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import numpy as np

from twin.batches import BatchPrediction
from twin.comparison import Comparison
from twin.configuration.models import LineConfiguration
from twin.core import CoreEvent
from twin.prediction import Prediction
from twin.recommendation import Recommendation
from twin.trust import ModeChange
from twin.units import to_si


@dataclass(slots=True)
class ParameterStatus:
    """One structure parameter, in the unit in which people read it; NaN where unknown."""

    unit: str
    target: float | None
    limits: tuple[float, float] | None
    predicted: float = float("nan")
    """Corrected prediction of the material that left the step last."""
    measured: float = float("nan")
    """Of the material that passed the gauge last."""
    sigma: float = float("nan")
    """Of a measurement against the prediction."""
    left: int = 0
    """When the predicted material left the step, ns; 0 before the first."""
    read: int = 0
    """When the measured material passed the gauge, ns; 0 before the first."""
    expected: float = float("nan")
    """What had been predicted for that material."""
    count: int = 0
    absolute: float = 0.0
    """Sum of absolute residuals."""
    total: float = 0.0
    """Sum of residuals."""

    @property
    def residual(self) -> float:
        """Measured minus predicted, of the same material."""
        return self.measured - self.expected

    @property
    def mean_absolute_error(self) -> float:
        return self.absolute / self.count if self.count else float("nan")

    @property
    def bias(self) -> float:
        return self.total / self.count if self.count else float("nan")


@dataclass(slots=True)
class LineStatus:
    """Keeps up with the core's events."""

    line: LineConfiguration
    parameters: dict[str, ParameterStatus] = field(init=False)
    """By step.parameter."""
    recommendations: dict[str, Recommendation] = field(default_factory=dict)
    """The last one per web."""
    states: Counter[str] = field(default_factory=Counter)
    """How many recommendations reached each state."""
    modes: list[ModeChange] = field(default_factory=list)
    """The last changes of mode."""
    challenger: LineStatus | None = None
    """What challengers make of the same line, where there are any."""
    segments: int = 0
    """Segments that left the first step on a web."""

    def __post_init__(self) -> None:
        self.parameters = {
            f"{step_name}.{name}": ParameterStatus(output.unit, output.target, output.limits)
            for step_name, step in self.line.steps.items()
            for name, output in step.outputs.items()
        }
        self._first = next(
            (name for name, step in self.line.steps.items() if step.runs_on in self.line.webs), ""
        )

    _first: str = field(init=False, default="")

    @property
    def metres(self) -> float:
        """Web that left the first step, m."""
        return self.segments * self.line.segment

    def reload(self, line: LineConfiguration) -> None:
        """Go on under a configuration with other targets and limits."""
        self.line = line
        for step_name, step in line.steps.items():
            for name, output in step.outputs.items():
                parameter = self.parameters[f"{step_name}.{name}"]
                parameter.target, parameter.limits = output.target, output.limits

    def follow(self, event: CoreEvent, outputs: dict[str, tuple[str, ...]]) -> None:
        """Take an event; `outputs` are the output names of every step's surrogate, in order."""
        if isinstance(event, Prediction):
            if event.step == self._first:
                self.segments += len(event.segments)
            for index, name in enumerate(outputs[event.step]):
                parameter = self.parameters.get(f"{event.step}.{name}")
                if parameter is not None:
                    scale, offset = to_si(parameter.unit)
                    said = event.corrected[:, index]
                    known = np.flatnonzero(np.isfinite(said))
                    if len(known):
                        last = known[-1]
                        parameter.predicted = float(said[last] - offset) / scale
                        parameter.sigma = float(event.sigma[last, index]) / scale
                        parameter.left = int(event.time[last])
        elif isinstance(event, BatchPrediction):
            for name, value in zip(outputs[event.step], event.mean.tolist(), strict=True):
                parameter = self.parameters.get(f"{event.step}.{name}")
                if parameter is not None:
                    scale, offset = to_si(parameter.unit)
                    parameter.predicted = (value - offset) / scale
                    parameter.left = event.time
        elif isinstance(event, Comparison):
            parameter = self.parameters[f"{event.step}.{event.output}"]
            scale, offset = to_si(parameter.unit)
            parameter.measured = float(event.measured[-1] - offset) / scale
            parameter.expected = float(event.predicted[-1] - offset) / scale
            parameter.read = int(event.time[-1])
            residual = event.residual[np.isfinite(event.residual)] / scale
            parameter.count += len(residual)
            parameter.absolute += float(np.abs(residual).sum())
            parameter.total += float(residual.sum())
        elif isinstance(event, Recommendation):
            self.recommendations[event.web] = event
            self.states[event.state] += 1
        elif isinstance(event, ModeChange):
            self.modes = [*self.modes[-9:], event]
