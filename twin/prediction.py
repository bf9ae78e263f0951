"""The predictor: every step's surrogate, asked for the very material that passed."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from twin.configuration.models import InputConfiguration, LineConfiguration
from twin.estimation import BiasEstimator
from twin.material import MaterialTable
from twin.ports import Surrogate
from twin.samples import Bools, Floats, Ints
from twin.tracking import BatchReleased, Column, Passage, Tracker

REMEMBERED: Final = 256
"""Predictions per step that a decision can look back on."""


@dataclass(frozen=True, slots=True)
class Prediction:
    """What a step's surrogate says of n segments, one column per output of the step."""

    step: str
    segments: Ints
    time: Ints
    """When the material left the step, ns."""
    inputs: Floats
    """(n, inputs) SI; NaN where missing."""
    mean: Floats
    """(n, k) as the model says, SI; NaN where an input is missing."""
    corrected: Floats
    """(n, k) plus the bias known at `time`."""
    sigma: Floats
    """(n, k) one sigma of a corrected prediction against a measurement; NaN before the first."""
    in_domain: Bools


@dataclass(frozen=True, slots=True)
class BatchPrediction:
    """What the mixing surrogate says of a slurry batch."""

    step: str
    batch: int
    time: int
    mean: Floats
    in_domain: bool


def station_web(line: LineConfiguration, station: str) -> tuple[str, float, float]:
    """The web of a station, and its entry and exit on the web path, m.

    Raises:
        KeyError: no web has the station.
    """
    for name, web in line.webs.items():
        if station in web.stations:
            place = web.stations[station]
            return (name, *place) if isinstance(place, tuple) else (name, place, place)
    raise KeyError(station)


def input_columns(line: LineConfiguration, tags: Mapping[str, int]) -> list[Column]:
    """The columns that the tracker fills for the inputs of all steps on a web."""
    columns = []
    for step_name, step in line.steps.items():
        if step.runs_on not in line.webs:
            continue
        for name in step.inputs:
            source = line.source_of(step_name, name)
            if source.tag is not None:
                station = source.at or line.tags[source.tag].station or ""
                web, start, end = station_web(line, station)
                columns.append(
                    Column(f"{step_name}.{name}", tags[source.tag], web, start, end, "input")
                )
    return columns


class Predictor:
    """Gathers each step's inputs by material, predicts, and remembers what it predicted from.

    An upstream structure parameter is the measured one where it was known when the material passed,
    else the prediction corrected by the bias known then.
    """

    def __init__(
        self,
        line: LineConfiguration,
        surrogates: Mapping[str, Surrogate],
        table: MaterialTable,
        tracker: Tracker,
        estimators: Mapping[str, BiasEstimator],
    ) -> None:
        self._line = line
        self._surrogates = surrogates
        self._table = table
        self._tracker = tracker
        self._estimators = estimators
        self._sources = {
            step: [(name, line.source_of(step, name)) for name in surrogates[step].inputs]
            for step in line.steps
        }
        self._recent: dict[str, deque[Prediction]] = {
            step: deque(maxlen=REMEMBERED) for step in line.steps
        }
        self._batches: dict[str, dict[int, Floats]] = {step: {} for step in line.steps}
        self._revised: dict[tuple[str, int], tuple[int, float]] = {}
        self.last_column = {
            step: max(
                (
                    column
                    for column in input_columns(line, _Numbering())
                    if column.name.startswith(f"{step}.") and column.web == config.runs_on
                ),
                key=lambda column: column.end,
            ).name
            for step, config in line.steps.items()
            if config.runs_on in line.webs
        }
        """Per step the column whose station the material leaves last."""

    def batch_inputs(self) -> dict[str, list[str]]:
        """Per kind of batch the tags that its step needs."""
        return {
            step.runs_on: [source.tag or "" for _, source in self._sources[name]]
            for name, step in self._line.steps.items()
            if step.runs_on in self._line.batches
        }

    def predict_batch(self, step: str, released: BatchReleased) -> BatchPrediction:
        """Predict the structure parameters of a slurry batch."""
        said = self._surrogates[step].predict(released.inputs[None, :])
        values = dict(zip(self._surrogates[step].outputs, said.mean[0].tolist(), strict=True))
        # a recipe value that later steps read, such as the solids content, passes through
        inputs = dict(zip(self._surrogates[step].inputs, released.inputs.tolist(), strict=True))
        self._batches[step][released.number] = np.array([*values.values(), *inputs.values()])
        return BatchPrediction(
            step, released.number, released.time, said.mean[0], bool(said.in_domain[0])
        )

    def revise_batch(self, step: str, output: str, batch: int, value: float, time: int) -> None:
        """A laboratory value replaces the predicted one for material that passes from `time` on."""
        self._revised[f"{step}.{output}", batch] = (time, value)

    def shifts(self, step: str, name: str, batch: int, time: int) -> dict[str, float]:
        """By how much predictions of the running material rise when a batch value is revised."""
        changes: dict[str, float] = {}
        for later, sources in self._sources.items():
            position = [
                index
                for index, (_, source) in enumerate(sources)
                if source.output == f"{step}.{name}"
            ]
            last = self.last(later, time) if position else None
            revised = self._revised.get((f"{step}.{name}", batch))
            if last is None or revised is None:
                continue
            inputs, _, segment = last
            kind = self._line.steps[step].runs_on
            if int(self._tracker.batch_at(kind, np.array([segment]))[0]) != batch:
                continue
            both = np.vstack([inputs, inputs])
            both[1, position] = revised[1]
            mean = self._surrogates[later].predict(both).mean
            for output, change in zip(
                self._surrogates[later].outputs, (mean[1] - mean[0]).tolist(), strict=True
            ):
                if np.isfinite(change):
                    changes[f"{later}.{output}"] = change
        return changes

    def predict(self, step: str, passage: Passage) -> Prediction:
        """Predict a step for segments that have just left it."""
        segments, time = passage.segments, passage.time
        surrogate = self._surrogates[step]
        inputs = np.column_stack(
            [
                self._input(step, name, source, segments, time)
                for name, source in self._sources[step]
            ]
        )
        said = surrogate.predict(inputs)
        corrected, sigma = said.mean.copy(), np.full_like(said.mean, np.nan)
        for index, output in enumerate(surrogate.outputs):
            name = f"{step}.{output}"
            self._table.put(name, segments, said.mean[:, index], time)
            if name in self._estimators:
                bias, sigma[:, index] = self._estimators[name].at(time)
                corrected[:, index] += bias
            self._table.put(f"{name}.predicted", segments, corrected[:, index], time)
        prediction = Prediction(
            step, segments, time, inputs, said.mean, corrected, sigma, said.in_domain
        )
        self._recent[step].append(prediction)
        return prediction

    def _input(
        self, step: str, name: str, source: InputConfiguration, segments: Ints, time: Ints
    ) -> Floats:
        if source.constant is not None:
            return np.full(len(segments), source.constant)
        if source.tag is not None:
            return self._table.value(f"{step}.{name}", segments)
        upstream, _, output = (source.output or "").partition(".")
        if self._line.steps[upstream].runs_on in self._line.batches:
            return self._batch_value(upstream, output, segments, time)
        return self.best_known(upstream, output, segments, time)

    def best_known(self, step: str, output: str, segments: Ints, time: Ints) -> Floats:
        """A structure parameter as known at `time`: measured, else predicted and corrected."""
        name = f"{step}.{output}"
        predicted = self._table.value(name, segments)
        if name in self._estimators:
            predicted = predicted + self._estimators[name].at(time)[0]
        measured = self._table.value(f"{name}.measured", segments)
        known = np.isfinite(measured) & (self._table.time(f"{name}.measured", segments) <= time)
        return np.where(known, measured, predicted)

    def _batch_value(self, step: str, output: str, segments: Ints, time: Ints) -> Floats:
        batches = self._tracker.batch_at(self._line.steps[step].runs_on, segments)
        surrogate = self._surrogates[step]
        names = [*surrogate.outputs, *surrogate.inputs]
        values = np.full(len(segments), np.nan)
        for batch in np.unique(batches).tolist():
            known = self._batches[step].get(batch)
            if known is None:
                continue
            here = batches == batch
            values[here] = known[names.index(output)]
            revised = self._revised.get((f"{step}.{output}", batch))
            if revised is not None:
                values[here & (time >= revised[0])] = revised[1]
        return values

    def last(self, step: str, time: int) -> tuple[Floats, bool, int] | None:
        """Inputs of the last segment predicted by `time`, whether in domain, and the segment."""
        for prediction in reversed(self._recent[step]):
            index = int(np.searchsorted(prediction.time, time, "right")) - 1
            if index >= 0:
                return (
                    prediction.inputs[index],
                    bool(prediction.in_domain[index]),
                    int(prediction.segments[index]),
                )
        return None


class _Numbering(dict[str, int]):
    """Columns without a tag table: only their stations matter."""

    def __missing__(self, key: str) -> int:
        return 0
