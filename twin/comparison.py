"""The comparator: predicted against measured, for the same material."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from twin.alarms import Report
from twin.configuration.models import LineConfiguration
from twin.control_chart import ControlChart, Shift, evidence
from twin.estimation import BiasEstimator
from twin.material import MaterialTable
from twin.passage import Column, Passage
from twin.prediction import Predictor, station_web
from twin.samples import Bools, Floats, Ints
from twin.tracking import Tracker
from twin.units import difference_unit, to_si

NEVER: Final = 2**62


@dataclass(frozen=True, slots=True)
class Comparison:
    """Predicted against measured of one structure parameter on n segments; SI."""

    step: str
    output: str
    segments: Ints
    time: Ints
    """When the material had passed the gauge, ns."""
    predicted: Floats
    """The corrected prediction that was made when the material left the step."""
    measured: Floats
    residual: Floats
    """Measured minus predicted; NaN where there was no prediction or the material has a splice."""
    sigma: Floats
    """Of the prediction, as it was stated when the material left the step; NaN without one."""
    ewma: Floats
    """Control charts, in sigma; NaN where a residual does not count: see `ControlChart`."""
    cusum: Floats


def gauge_columns(line: LineConfiguration, tags: Mapping[str, int]) -> list[Column]:
    """The columns that the tracker fills from gauges."""
    columns = []
    for step_name, step in line.steps.items():
        for output_name, output in step.outputs.items():
            if output.measured_by is not None:
                tag = line.tags[output.measured_by]
                web, start, end = station_web(line, tag.station or "")
                name = f"{step_name}.{output_name}.measured"
                columns.append(Column(name, tags[output.measured_by], web, start, end, "gauge"))
    return columns


def make_estimators(line: LineConfiguration) -> dict[str, BiasEstimator]:
    """A bias estimator for every structure parameter that is measured, by `step.output`."""
    estimators = {}
    for step_name, step in line.steps.items():
        for output_name, output in step.outputs.items():
            if output.measured_by or output.calculated_from or output.laboratory:
                scale = to_si(output.unit)[0]
                uncertainty = output.uncertainty if output.uncertainty is not None else 0.5
                prior = output.model_uncertainty
                estimators[f"{step_name}.{output_name}"] = BiasEstimator(
                    uncertainty * scale,
                    output.correction == "relative",
                    math.inf if prior is None else prior * scale,
                    (output.foil_uncertainty or 0.0) * scale,
                )
    return estimators


class Comparator:
    """Compares measurements with predictions of the same material, and feeds the estimators."""

    def __init__(
        self,
        line: LineConfiguration,
        table: MaterialTable,
        tracker: Tracker,
        estimators: Mapping[str, BiasEstimator],
        predictor: Predictor,
    ) -> None:
        self._line = line
        self._predictor = predictor
        self._table = table
        self._tracker = tracker
        self._estimators = estimators
        self.charts = {name: ControlChart() for name in estimators}
        """By `step.output`."""
        self.last: dict[str, int] = {}
        """The segment that an estimator has learned from last, by `step.output`."""
        self._calculated = {
            f"{step_name}.{output_name}": output.calculated_from
            for step_name, step in line.steps.items()
            for output_name, output in step.outputs.items()
            if output.calculated_from is not None
        }

    def learn(
        self, step: str, output: str, passage: Passage, forgotten: Sequence[tuple[int, int]] = ()
    ) -> Passage | None:
        """Take what of a gauge's readings may be followed; gives it, None if it is nothing.

        Args:
            step: the step.
            output: its structure parameter.
            passage: when each reading may be followed.
            forgotten: since when what was learned does not hold, and when that was found.
        """
        read = np.isfinite(passage.value)
        return self._learn(step, output, passage, read, passage.value, forgotten)

    def calculate(
        self, step: str, output: str, passage: Passage, forgotten: Sequence[tuple[int, int]] = ()
    ) -> Passage | None:
        """Take a porosity calculated from loading and thickness of the same segments."""
        source = self._calculated[f"{step}.{output}"]
        loading = self._predictor.measured(source.mass_loading, passage.segments, passage.time)
        with np.errstate(divide="ignore", invalid="ignore"):
            porosity = 1.0 - loading / (source.skeletal_density * passage.value)
        return self._learn(step, output, passage, np.isfinite(porosity), porosity, forgotten)

    def calculated_on(self, column: str) -> list[tuple[str, str]]:
        """Steps and outputs calculated when the thickness in `column` has been measured."""
        return [
            (name.partition(".")[0], name.partition(".")[2])
            for name, source in self._calculated.items()
            if f"{source.thickness}.measured" == column
        ]

    def offline(
        self, step: str, output: str, segment: int, value: float, time: int, learn: bool
    ) -> Comparison | None:
        """Compare a laboratory value of one segment; it corrects the model where no gauge does."""
        segments, times = np.array([segment]), np.array([time])
        name = f"{step}.{output}"
        mean = self._table.value(name, segments)
        if not np.isfinite(mean).all():
            return None
        if learn:
            self._teach(step, output, segments, times, np.array([value]))
        predicted = self._table.value(f"{name}.predicted", segments)
        measured = np.array([value])
        residual = measured - predicted
        sigma = self._stated(name, segments)
        none = np.full(1, np.nan)
        return Comparison(
            step, output, segments, times, predicted, measured, residual, sigma, none, none
        )

    def _learn(
        self,
        step: str,
        output: str,
        passage: Passage,
        known: Bools,
        value: Floats,
        forgotten: Sequence[tuple[int, int]],
    ) -> Passage | None:
        if not known.any() and not forgotten:
            return None
        segments, time, measured = passage.segments[known], passage.time[known], value[known]
        name = f"{step}.{output}"
        self._table.put(f"{name}.measured", segments, measured, time)
        # no model knows how machines get from one state to another
        usable = self._usable(name, segments, time)
        usable &= self._predictor.steady(step, segments, time)
        begin = 0
        for since, found in (*forgotten, (0, NEVER)):
            end = int(np.searchsorted(time, found))
            part = np.arange(len(time))
            part = part[(part >= begin) & (part < end) & usable]
            if len(part):
                self._teach(step, output, segments[part], time[part], measured[part])
                self.last[name] = int(segments[part[-1]])
            if found != NEVER:
                self._estimators[name].forget_since(since, found)
            begin = end
        if not known.any():
            return None
        return Passage(passage.column, segments, time, measured, passage.spread[known])

    def _teach(self, step: str, output: str, segments: Ints, time: Ints, measured: Floats) -> None:
        name = f"{step}.{output}"
        level = self._table.value(name, segments)
        before = np.append(self.last.get(name, segments[0]), segments[:-1])
        fresh = self._fresh(step, output, segments, before, time)
        spliced = self._tracker.foils(segments, time) != self._tracker.foils(before, time)
        if name in self._predictor.wrong_inputs:
            offset, slope = self._predictor.implied_offsets(step, output, segments, measured)
            none = np.zeros(len(offset))
            self._estimators[name].update(time, offset * slope, none, slope, level, fresh, spliced)
        else:
            factor = 1.0 + self._predictor.built_on(name, segments)
            self._estimators[name].update(
                time, measured, level * factor, None, level, fresh, spliced
            )

    def _fresh(self, step: str, output: str, segments: Ints, before: Ints, time: Ints) -> Bools:
        """Which segments are the first of another batch or roll, where that opens the bias."""
        config = self._line.steps[step]
        match config.outputs[output].resets_at:
            case "roll":
                return np.asarray(
                    self._tracker.roll_starts(config.runs_on, segments)
                    != self._tracker.roll_starts(config.runs_on, before)
                )
            case "batch":
                kind = next(iter(self._line.batches))
                return np.asarray(
                    self._tracker.batch_at(kind, segments, time)
                    != self._tracker.batch_at(kind, before, time)
                )
            case None:
                return np.zeros(len(segments), np.bool_)

    def _usable(self, name: str, segments: Ints, time: Ints) -> Bools:
        """Which segments a gauge reads, and the model predicts, the same thing of."""
        usable = np.isfinite(self._table.value(name, segments))
        usable &= self._predictor.reads(name, segments, time)
        return usable & ~self._tracker.spliced(segments, time)

    def compare(
        self, step: str, output: str, read: Passage, followed: Ints | None = None
    ) -> tuple[Comparison, list[Report]]:
        """Measurements beside the predictions that were made when the material left the step.

        Reported is where corrected predictions stay beside what is measured.

        Args:
            step: the step.
            output: its structure parameter.
            read: what was measured.
            followed: the segments that were read while nothing spoke against the gauge; the
                others do not count for the intervals; all do without it.
        """
        name = f"{step}.{output}"
        predicted = self._table.value(f"{name}.predicted", read.segments)
        usable = self._usable(name, read.segments, read.time)
        residual = np.where(usable, read.value - predicted, np.nan)
        score = np.abs(residual) / self._table.value(f"{name}.sigma", read.segments)
        known = np.isfinite(score)
        if followed is not None:
            known &= np.isin(read.segments, followed)
        left = self._table.time(f"{name}.sigma", read.segments)
        self._predictor.margins[name].update(read.time[known], left[known], score[known])
        sigma = self._stated(name, read.segments)
        charted, shifts = self.charts[name].update(
            read.time, np.where(known, residual / sigma, np.nan)
        )
        comparison = Comparison(
            step, output, read.segments, read.time, predicted, read.value, residual, sigma,
            charted.ewma, charted.cusum,
        )  # fmt: skip
        return comparison, [self._report(comparison, shift) for shift in shifts]

    def _report(self, comparison: Comparison, shift: Shift) -> Report:
        name = f"{comparison.step}.{comparison.output}"
        unit = difference_unit(self._line.steps[comparison.step].outputs[comparison.output].unit)
        sigma = float(comparison.sigma[np.searchsorted(comparison.time, shift.time)])
        said = evidence(name, shift, sigma / to_si(unit)[0], unit)
        return Report(shift.time, "residual", "shifted", name, shift.lasts, evidence=said)

    def _stated(self, name: str, segments: Ints) -> Floats:
        """The honest sigma that a prediction had when the material left the step, SI."""
        column = f"{name}.sigma"
        left = self._table.time(column, segments)
        return self._table.value(column, segments) * self._predictor.margins[name].at(left - 1)
