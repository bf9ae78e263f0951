"""The data of a step: what the machine did to every segment, and what was measured on it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

from twin.comparison import Comparison
from twin.configuration.models import LineConfiguration
from twin.core import Core, CoreEvent
from twin.genealogy import Milestone
from twin.intervention import Arrivals
from twin.ports import Surrogate, SurrogateOutput
from twin.prediction import Prediction
from twin.replay import Follower, Load
from twin.samples import Bools, Floats, Ints

NO_ROLL: Final = -1


@dataclass(frozen=True, slots=True)
class StepData:
    """n segments that left a step, by recording and in the order of the web."""

    step: str
    inputs: tuple[str, ...]
    """Names of the columns of `taken`."""
    outputs: tuple[str, ...]
    """Names of the columns of `said` and `measured`."""
    taken: Floats
    """(n, inputs) what the model was asked with, SI; NaN where missing."""
    said: Floats
    """(n, outputs) what it said, uncorrected, SI; NaN where there is no model."""
    measured: Floats
    """(n, outputs) SI; NaN where nothing was measured, and beside splices and ends of rolls."""
    in_domain: Bools
    recording: Ints
    """Number of the recording that a segment is of."""
    position: Floats
    """Middle of the segment on the coated web, m."""
    roll: Ints
    """Number of the roll, unique among the recordings; `NO_ROLL` where it is not known."""
    segment: float
    """Length of a segment, m."""

    def __len__(self) -> int:
        return len(self.position)

    def where(self, rows: Bools | Ints) -> StepData:
        """Some of the rows."""
        return StepData(
            self.step,
            self.inputs,
            self.outputs,
            self.taken[rows],
            self.said[rows],
            self.measured[rows],
            self.in_domain[rows],
            self.recording[rows],
            self.position[rows],
            self.roll[rows],
            self.segment,
        )

    @staticmethod
    def join(parts: Sequence[StepData]) -> StepData:
        """The data of several recordings.

        Raises:
            ValueError: they are of steps with other inputs, outputs or segments.
        """
        first = parts[0]
        for part in parts[1:]:
            if (part.inputs, part.outputs, part.segment) != (
                first.inputs,
                first.outputs,
                first.segment,
            ):
                raise ValueError(
                    f"the recordings know {first.step} with other inputs, outputs or segments; "
                    "calibrate on recordings of one configuration"
                )
        rolls, used = [], 0
        for part in parts:
            known = part.roll != NO_ROLL
            rolls.append(np.where(known, part.roll + used, NO_ROLL))
            used += int(part.roll.max(initial=NO_ROLL)) + 1
        return StepData(
            first.step,
            first.inputs,
            first.outputs,
            np.concatenate([part.taken for part in parts]),
            np.concatenate([part.said for part in parts]),
            np.concatenate([part.measured for part in parts]),
            np.concatenate([part.in_domain for part in parts]),
            np.concatenate([np.full(len(part), n, np.int64) for n, part in enumerate(parts)]),
            np.concatenate([part.position for part in parts]),
            np.concatenate(rolls),
            first.segment,
        )


class Collector:
    """Keeps what a core says of one step.

    Args:
        core: is fed by somebody else; its genealogy tells where splices are.
        step: of the configuration.
    """

    def __init__(self, core: Core, step: str) -> None:
        self._core = core
        self._step = step
        surrogate = core.surrogates[step]
        self._inputs, self._outputs = surrogate.inputs, surrogate.outputs
        self._predictions: list[Prediction] = []
        self._readings: list[tuple[int, Ints, Floats]] = []
        self._rolls: list[float] = []
        """Coated positions at which rolls began, m."""

    def take(self, events: Iterable[CoreEvent]) -> Self:
        """Take what the core said."""
        for event in events:
            match event:
                case Prediction(step=self._step):
                    self._predictions.append(event)
                case Comparison(step=self._step) if event.output in self._outputs:
                    usable = np.isfinite(event.measured)
                    usable &= ~self._core.tracker.spliced(event.segments, event.time)
                    column = self._outputs.index(event.output)
                    self._readings.append((column, event.segments[usable], event.measured[usable]))
                case Milestone(kind="roll started") if np.isfinite(event.position):
                    self._rolls.append(event.position)
                case _:
                    pass
        return self

    def data(self) -> StepData:
        """Everything so far; of a segment that left the step twice, what was said last."""
        width = len(self._inputs), len(self._outputs)
        segments = np.concatenate([np.empty(0, np.int64), *(p.segments for p in self._predictions)])
        taken = np.concatenate([np.empty((0, width[0])), *(p.inputs for p in self._predictions)])
        said = np.concatenate([np.empty((0, width[1])), *(p.mean for p in self._predictions)])
        inside = np.concatenate([np.empty(0, np.bool_), *(p.in_domain for p in self._predictions)])
        segments, backwards = np.unique(segments[::-1], return_index=True)
        last = len(taken) - 1 - backwards
        measured = np.full((len(segments), width[1]), np.nan)
        for column, read, values in self._readings:
            row = np.searchsorted(segments, read)
            here = row < len(segments)
            here[here] = segments[row[here]] == read[here]
            measured[row[here], column] = values[here]
        length = self._core.line.segment
        position = (segments + 0.5) * length
        return StepData(
            self._step,
            self._inputs,
            self._outputs,
            taken[last],
            said[last],
            measured,
            inside[last],
            np.zeros(len(segments), np.int64),
            position,
            np.searchsorted(np.sort(np.array(self._rolls)), position, "right") - 1,
            length,
        )


class NoModel:
    """Stands in for a model that is yet to be trained: has its names, and predicts NaN."""

    def __init__(self, inputs: Sequence[str], outputs: Sequence[str]) -> None:
        self._inputs, self._outputs = tuple(inputs), tuple(outputs)

    @property
    def inputs(self) -> tuple[str, ...]:
        return self._inputs

    @property
    def outputs(self) -> tuple[str, ...]:
        return self._outputs

    @property
    def version(self) -> str:
        return "none"

    @property
    def domain(self) -> NDArray[np.float64]:
        """Everything: nothing is known of it."""
        return np.tile([-np.inf, np.inf], (len(self._inputs), 1))

    def predict(self, inputs: Floats) -> SurrogateOutput:
        """NaN for every row, outside the domain."""
        said = np.full((len(inputs), len(self._outputs)), np.nan)
        return SurrogateOutput(said, said, np.zeros(len(inputs), np.bool_))


def collect(
    line: LineConfiguration,
    surrogates: Mapping[str, Surrogate],
    load: Load,
    stream: Iterable[Arrivals],
    step: str,
) -> StepData:
    """Run recorded material through a core, with the decisions of then.

    Args:
        line: the recording's configuration.
        surrogates: the model of every step when the recording began.
        load: gives a model that came into use later; `step` keeps its model throughout.
        stream: the recording.
        step: whose data are wanted.
    """
    core = Core(line, surrogates)
    collector = Collector(core, step)

    def of(of_step: str, version: str) -> Surrogate:
        return surrogates[step] if of_step == step else load(of_step, version)

    follower = Follower(core, of)
    for arrivals in stream:
        collector.take(follower.feed(arrivals))
    return collector.data()
