"""Control loops as the line's configuration has them: a setpoint, its target, and how far apart."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from twin.configuration.models import LineConfiguration
from twin.ingest import NANOSECONDS
from twin.ports import Surrogate
from twin.prediction import station_web
from twin.samples import Floats
from twin.units import to_si

GRID: Final = 65
"""Settings at which a model is asked for its slope."""


@dataclass(frozen=True, slots=True)
class Loop:
    """One setpoint that serves one target; SI, tags as indices in the tag table."""

    step: str
    output: str
    input: str
    """The model's name of what the setpoint moves."""
    setpoint: int
    gauge: int
    length: int
    """Encoder of the web that the step runs on."""
    target: float
    low: float
    high: float
    max_step: float
    deadband: float
    pause: int
    """Shortest time between two moves, ns."""
    delay: float
    """Web between the machine and its gauge, m."""
    segment: float
    """Shortest stretch of web that a mean is taken of, m."""

    def allowed(self, present: float, wanted: float) -> float:
        """What the setpoint may become at once on its way to the wanted value."""
        reach = min(max(wanted, present - self.max_step), present + self.max_step)
        return min(max(reach, self.low), self.high)


def find_loops(line: LineConfiguration) -> list[Loop]:
    """Per step the first setpoint, and the first target that an inline gauge reads behind it."""
    index = {name: number for number, name in enumerate(line.tags)}
    loops = []
    for step_name, step in line.steps.items():
        if step.runs_on not in line.webs or not step.setpoints:
            continue
        encoder = line.webs[step.runs_on].encoder
        name, setpoint = next(iter(step.setpoints.items()))
        source = line.source_of(step_name, name)
        station = source.at or (line.tags[source.tag].station if source.tag else None)
        for output_name, output in step.outputs.items():
            gauge = line.tags[output.measured_by].station if output.measured_by else None
            if output.target is None or not gauge or not station or encoder is None:
                continue
            scale, offset = to_si(line.tags[setpoint.tag].unit)
            loops.append(
                Loop(
                    step=step_name,
                    output=output_name,
                    input=name,
                    setpoint=index[setpoint.tag],
                    gauge=index[output.measured_by or ""],
                    length=index[encoder],
                    target=output.target * to_si(output.unit)[0] + to_si(output.unit)[1],
                    low=setpoint.limits[0] * scale + offset,
                    high=setpoint.limits[1] * scale + offset,
                    max_step=setpoint.max_step * scale,
                    deadband=setpoint.deadband * scale,
                    pause=int(step.advise_every * NANOSECONDS),
                    delay=max(station_web(line, gauge)[1] - station_web(line, station)[2], 0.0),
                    segment=line.segment,
                )
            )
            break
    return loops


class Gain:
    """What a setpoint does to its target by the models alone, as a data sheet would say.

    Args:
        line: the configuration.
        surrogates: the model of every step.
    """

    def __init__(self, line: LineConfiguration, surrogates: Mapping[str, Surrogate]) -> None:
        self._line = line
        self._surrogates = surrogates
        self._index = {name: number for number, name in enumerate(line.tags)}

    def of(self, loop: Loop, latest: Floats) -> float:
        """Slope of the output over the setpoint, SI, where the model meets the target.

        Args:
            loop: which.
            latest: the last value of every tag, SI.

        Returns:
            NaN where a machine value is missing or the model does not respond.
        """
        surrogate = self._surrogates[loop.step]
        column = surrogate.inputs.index(loop.input)
        low, high = surrogate.domain[column]
        settings = np.linspace(max(low, loop.low), min(high, loop.high), GRID)
        inputs = np.tile(self._inputs(loop.step, latest), (GRID, 1))
        inputs[:, column] = settings
        if not np.isfinite(inputs).all():
            return math.nan
        said = surrogate.predict(inputs).mean[:, surrogate.outputs.index(loop.output)]
        slope = float(np.gradient(said, settings)[int(np.abs(said - loop.target).argmin())])
        return slope if slope else math.nan

    def _inputs(self, step: str, latest: Floats) -> Floats:
        """As the machines show them; where one stands still, the nearest that the model knows."""
        surrogate = self._surrogates[step]
        told = np.array([self._input(step, name, latest) for name in surrogate.inputs])
        known: Floats = np.clip(told, surrogate.domain[:, 0], surrogate.domain[:, 1])
        return known

    def _input(self, step: str, name: str, latest: Floats) -> float:
        source = self._line.source_of(step, name)
        if source.constant is not None:
            return source.constant
        if source.tag is not None:
            return float(latest[self._index[source.tag]])
        upstream, _, output = (source.output or "").partition(".")
        surrogate = self._surrogates[upstream]
        made = self._line.steps[upstream].outputs.get(output)
        if made is not None and made.target is not None:
            return made.target * to_si(made.unit)[0] + to_si(made.unit)[1]
        if output not in surrogate.outputs:
            return self._input(upstream, output, latest)
        said = surrogate.predict(self._inputs(upstream, latest)[None, :]).mean
        return float(said[0, surrogate.outputs.index(output)])
