"""The predictor: every step's surrogate, asked for the very material that passed."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from twin.batches import Batches
from twin.configuration.models import InputConfiguration, LineConfiguration
from twin.conformal import Margin
from twin.estimation import BiasEstimator
from twin.material import MaterialTable
from twin.passage import Column, Passage
from twin.ports import Surrogate
from twin.samples import Bools, Floats, Ints
from twin.snapshot import Snapshot
from twin.tracking import Tracker
from twin.units import to_si

ALIKE: Final = 10
"""Segments over which machine values are averaged for the material to come."""
COMING: Final = 4
"""Segments of another web that a move is made for; as many behind them must be like them."""
RANGE: Final = 5.0
"""Sigma of a measurement that eight segments of the same state may differ by."""
TRANSIENT: Final = 0.03
"""Relative difference between machine values beyond which a machine is between two states."""
SECTIONS: Final = 16
"""Parts that an input's range is cut into, each asked for at once."""
CUTS: Final = 4
"""Times that this is done, each within one part, before the root is interpolated."""
KEPT: Final = ("segments", "time", "inputs", "mean", "in_domain", "corrected_in_domain")
"""Of a prediction, in a checkpoint."""
REMEMBERED: Final = 4096
"""Segments per step whose inputs are kept for decisions and revisions."""


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
    """(n, k) of a measurement against `corrected`, such that 1.645 sigma hold nine of ten of those
    that were made on this line; NaN before the first."""
    in_domain: Bools
    """Whether the model knows such inputs as the machines told, which `mean` is made of."""
    corrected_in_domain: Bools
    """Whether it knows those that `corrected` is made of, with offsets that gauges found."""


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


def _in_si(line: LineConfiguration, name: str, value: float) -> float:
    """A value of a `step.output` in its unit."""
    step, _, output = name.partition(".")
    scale, offset = to_si(line.steps[step].outputs[output].unit)
    return value * scale + offset


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
        self.batches = Batches(line, surrogates)
        self.margins = {name: Margin() for name in estimators}
        """By `step.output`, the factor by which the estimators' sigma are wrong on this line."""
        self._recent: dict[str, deque[Prediction]] = {step: deque() for step in line.steps}
        self.wrong_inputs = {
            f"{step}.{output}": surrogates[step].inputs.index(made.correction)
            for step, config in line.steps.items()
            for output, made in config.outputs.items()
            if made.correction in config.inputs
        }
        """Outputs that are corrected by the offset of an input: its column, by `step.output`."""
        self.foundations = {
            f"{step}.{output}": f"{step}.{made.builds_on}"
            for step, config in line.steps.items()
            for output, made in config.outputs.items()
            if made.builds_on is not None
        }
        """By `step.output` the output whose correction acts on it first."""
        self._followed_below = {
            f"{step_name}.{output_name}": {
                other: _in_si(line, other, value) for other, value in output.followed_below.items()
            }
            for step_name, step in line.steps.items()
            for output_name, output in step.outputs.items()
        }
        """By `step.output` the other outputs up to whose values, SI, a gauge reads it."""
        self._kept = dict.fromkeys(line.steps, 0)
        self._revoked: dict[str, list[tuple[int, Ints]]] = {}
        last = {
            step: max(
                (
                    column
                    for column in input_columns(line, _Numbering())
                    if column.name.startswith(f"{step}.") and column.web == config.runs_on
                ),
                key=lambda column: column.end,
            )
            for step, config in line.steps.items()
            if config.runs_on in line.webs
        }
        self.last_column = {step: column.name for step, column in last.items()}
        """Per step the column whose station the material leaves last."""
        self.exits = {step: column.end for step, column in last.items()}
        """Per step the end of that station on its web, m."""

    def revise_batch(
        self, step: str, output: str, batch: int, value: float, time: int
    ) -> dict[str, tuple[int, float, float]]:
        """A laboratory value replaces the predicted one for material that passes from `time` on.

        What the model says of material that no gauge has read yet is revised with it.

        Returns:
            By `step.output`, of the last segment of the batch: which, and what the model said of it
            before and after.
        """
        self.batches.revise(step, output, batch, value, time)
        changes: dict[str, tuple[int, float, float]] = {}
        kind = self._line.steps[step].runs_on
        for later, sources in self._sources.items():
            columns = [i for i, (_, s) in enumerate(sources) if s.output == f"{step}.{output}"]
            if not columns:
                continue
            for prediction in self._recent[later]:
                of_batch = self._tracker.batch_at(kind, prediction.segments, prediction.time)
                here = (of_batch == batch) & (prediction.time <= time)
                if not here.any():
                    continue
                prediction.inputs[np.ix_(here, columns)] = value
                segments = prediction.segments[here]
                mean = self._surrogates[later].predict(prediction.inputs[here]).mean
                changes |= self._say_again(later, segments, prediction.time[here], mean)
        return changes

    def ask_again(self, step: str) -> dict[str, tuple[int, float, float]]:
        """Another model predicts a step: what it says of the material that is remembered.

        Returns:
            As `revise_batch`.
        """
        changes: dict[str, tuple[int, float, float]] = {}
        for prediction in self._recent[step]:
            mean = self._surrogates[step].predict(prediction.inputs).mean
            changes |= self._say_again(step, prediction.segments, prediction.time, mean)
        steps = list(self._line.steps)
        for later in steps[steps.index(step) :]:
            for prediction in self._recent[later]:
                self.ask_alone(later, prediction.segments, prediction.time)
        return changes

    def _say_again(
        self, step: str, segments: Ints, time: Ints, mean: Floats
    ) -> dict[str, tuple[int, float, float]]:
        changes: dict[str, tuple[int, float, float]] = {}
        for index, made in enumerate(self._surrogates[step].outputs):
            name = f"{step}.{made}"
            before = self._table.value(name, segments)
            self._table.put(name, segments, mean[:, index], time)
            if np.isfinite(before[-1]) and np.isfinite(mean[-1, index]):
                changes[name] = int(segments[-1]), float(before[-1]), float(mean[-1, index])
        return changes

    def ask_alone(self, step: str, segments: Ints, time: Ints) -> None:
        """What the models make of machines and batches alone: no gauge and no laboratory is used.

        Put into `step.output.alone` and `step.input.told` of the table: steps in order.
        """
        columns = []
        for name, source in self._sources[step]:
            upstream = (source.output or "").partition(".")[0]
            if source.output and self._line.steps[upstream].runs_on in self._line.webs:
                columns.append(self._table.value(f"{source.output}.alone", segments))
                continue
            columns.append(self._input(step, name, source, segments, time, revised=False))
            self._table.put(f"{step}.{name}.told", segments, columns[-1], time)
        mean = self._surrogates[step].predict(np.column_stack(columns)).mean
        for index, output in enumerate(self._surrogates[step].outputs):
            self._table.put(f"{step}.{output}.alone", segments, mean[:, index], time)

    def ask(self, step: str, passage: Passage) -> Prediction:
        """What a step's surrogate alone says of segments that have just left it."""
        segments, time = passage.segments, passage.time
        surrogate = self._surrogates[step]
        inputs = np.column_stack(
            [
                self._input(step, name, source, segments, time)
                for name, source in self._sources[step]
            ]
        )
        said = surrogate.predict(inputs)
        for index, output in enumerate(surrogate.outputs):
            self._table.put(f"{step}.{output}", segments, said.mean[:, index], time)
        for index, name in enumerate(surrogate.inputs):
            self._table.put(f"{step}.{name}", segments, inputs[:, index], time)
        sigma = np.full_like(said.mean, np.nan)
        prediction = Prediction(
            step, segments, time, inputs, said.mean, said.mean, sigma, said.in_domain,
            said.in_domain.copy(),
        )  # fmt: skip
        recent = self._recent[step]
        recent.append(prediction)
        self._kept[step] += len(segments)
        while self._kept[step] - len(recent[0].segments) >= REMEMBERED:
            self._kept[step] -= len(recent.popleft().segments)
        return prediction

    def correct(self, prediction: Prediction) -> Prediction:
        """With the biases that were known before the segments left the step."""
        step, segments, time = prediction.step, prediction.segments, prediction.time
        # a gauge at the step's exit reads at the same moment: that is not known before
        corrected, sigma, inside = self.corrected(
            step, prediction.inputs, prediction.mean, prediction.in_domain, time - 1
        )
        for index, output in enumerate(self._surrogates[step].outputs):
            self._table.put(f"{step}.{output}.predicted", segments, corrected[:, index], time)
            self._table.put(f"{step}.{output}.sigma", segments, sigma[:, index], time)
        prediction.corrected_in_domain[:] = inside  # of what is remembered, too: advice asks for it
        return replace(
            prediction, inputs=prediction.inputs.copy(), corrected=corrected, sigma=sigma
        )

    def honest(self, prediction: Prediction) -> Prediction:
        """With the sigma that measurements before call for, once those of the stretch are known."""
        sigma = prediction.sigma.copy()
        for index, output in enumerate(self._surrogates[prediction.step].outputs):
            margin = self.margins.get(f"{prediction.step}.{output}")
            if margin is not None:
                sigma[:, index] *= margin.at(prediction.time - 1)
        return replace(prediction, sigma=sigma)

    def corrected(
        self, step: str, inputs: Floats, mean: Floats, in_domain: Bools, time: Ints
    ) -> tuple[Floats, Floats, Bools]:
        """What a step makes of inputs (n, inputs) as measurements known at `time` correct it.

        Args:
            step: the step.
            inputs: SI.
            mean: what the surrogate alone says of them, SI.
            in_domain: whether it was at home there.
            time: n times, ns.

        Returns:
            The corrected outputs (n, k), their sigma against a measurement, and whether the
            surrogate is at home at the inputs that each output was made of.
        """
        made, sigma = mean.copy(), np.full_like(mean, np.nan)
        at_home: list[Bools] = []
        for index, output in enumerate(self._surrogates[step].outputs):
            name = f"{step}.{output}"
            estimator = self._estimators.get(name)
            if estimator is None:
                continue
            column = self.wrong_inputs.get(name)
            below, known = self._below(name, time)
            if column is None:
                at_home.append(in_domain)
                made[:, index], sigma[:, index] = estimator.correct(
                    mean[:, index] * (1.0 + below), time
                )
                sigma[~known, index] = np.nan
                continue
            offset, sigma[:, index] = self.state(name, time)
            if offset.any():
                shifted = inputs.copy()
                shifted[:, column] += offset
                said = self._surrogates[step].predict(shifted)
                made[:, index] = said.mean[:, index]
                at_home.append(said.in_domain)
            else:
                at_home.append(in_domain)
        return made, sigma, np.logical_and.reduce(at_home or [in_domain])

    def state(self, name: str, time: Ints) -> tuple[Floats, Floats]:
        """All that measurements correct of an output at these times.

        Returns:
            A factor less one, or an offset of the output or of the wrong input, SI; and the sigma
            of a measurement against what is made of it, NaN where not everything was measured.
        """
        own, sigma = self._estimators[name].state(time)
        below, known = self._below(name, time)
        relative = self._line.steps[name.partition(".")[0]].outputs[name.partition(".")[2]]
        whole = own + below + (own * below if relative.correction == "relative" else 0.0)
        return whole, np.where(known, sigma, np.nan)

    def drift(self, name: str, time: Ints) -> Floats:
        """What measurements correct of an output at n times beside what they do at the last, SI.

        NaN where its gauge had not read yet. The foil's part is left out.
        """
        foil, scale = self._estimators[name].foil(time)
        corrected = self.state(name, time)[0] - foil
        _, read = self._estimators[name].shared(time)
        return np.where(read, (corrected - corrected[-1]) * scale[-1], np.nan)

    def left(self, step: str, time: int, count: int) -> Ints:
        """When the last `count` segments left a step by `time`, ns; fewer at the start."""
        parts: list[Ints] = []
        for prediction, end in self._until(step, time):
            parts.append(prediction.time[max(0, end - count + sum(map(len, parts))) : end])
            if sum(map(len, parts)) >= count:
                break
        return np.concatenate(parts[::-1]) if parts else np.empty(0, np.int64)

    def _until(self, step: str, time: int) -> Iterator[tuple[Prediction, int]]:
        """Predictions of segments that left a step by `time`, latest first; how many of each."""
        for prediction in reversed(self._recent[step]):
            count = int(np.searchsorted(prediction.time, time, "right"))
            if count:
                yield prediction, count

    def _below(self, name: str, time: Ints) -> tuple[Floats, Bools]:
        """What the outputs that one builds on correct at these times, and whether all are known."""
        below = self.foundations.get(name)
        if below is None:
            return np.zeros(len(time)), np.ones(len(time), np.bool_)
        state, known = self._estimators[below].shared(time)
        deeper, known_deeper = self._below(below, time)
        both = state * deeper if below not in self.wrong_inputs else 0.0
        return state + deeper + both, known & known_deeper

    def built_on(self, name: str, segments: Ints) -> Floats:
        """What the outputs that one builds on corrected for these very segments."""
        below = self.foundations.get(name)
        if below is None:
            return np.zeros(len(segments))
        read = self._table.time(f"{below}.measured", segments)
        made = self._table.time(below, segments)
        return self._below(name, np.where(read > 0, read, made))[0]

    def keep(self, changes: Mapping[str, tuple[int, float, float]], time: int) -> None:
        """Let corrected predictions stay where the models say something else from `time` on.

        Args:
            changes: by `step.output` which segment, and what its model said before and after.
            time: ns.
        """
        at = np.array([time])
        outputs = [name for name in self._estimators if name in changes]
        before = {name: 1.0 + float(self._below(name, at)[0][0]) for name in outputs}
        # an output comes before those that build on it
        for name in outputs:
            _, old, new = changes[name]
            after = 1.0 + float(self._below(name, at)[0][0])
            self._estimators[name].shift(time, old * before[name], new * after)

    def implied_offsets(
        self, step: str, output: str, segments: Ints, measured: Floats
    ) -> tuple[Floats, Floats]:
        """The offset of the wrong input that explains measurements, and the slope there, SI.

        By cutting the model's domain into parts: no start value, so that nothing depends on
        history.
        """
        surrogate = self._surrogates[step]
        column = self.wrong_inputs[f"{step}.{output}"]
        index = surrogate.outputs.index(output)
        inputs = np.column_stack(
            [self._table.value(f"{step}.{name}", segments) for name in surrogate.inputs]
        )
        every = np.arange(len(segments))
        told = inputs[:, column] + self.built_on(f"{step}.{output}", segments)

        def miss(values: Floats) -> Floats:
            rows = np.tile(inputs, (len(values), 1))
            rows[:, column] = values.ravel()
            said = surrogate.predict(rows).mean[:, index].reshape(values.shape)
            return np.asarray(said - measured)

        low, high = (np.full(len(told), edge) for edge in surrogate.domain[column])
        at_low, at_high = miss(np.vstack([low, high]))
        rises = np.sign(at_high - at_low)
        for _ in range(CUTS):
            edges = low + np.linspace(0.0, 1.0, SECTIONS + 1)[:, None] * (high - low)
            missed = np.vstack([at_low, miss(edges[1:-1]), at_high])
            above = missed[1:-1] * rises > 0
            # the part below the first edge that lies above the root, or the last one
            part = np.where(above.any(axis=0), above.argmax(axis=0), SECTIONS - 1)
            low, at_low = edges[part, every], missed[part, every]
            high, at_high = edges[part + 1, every], missed[part + 1, every]
        slope = (at_high - at_low) / (high - low)
        with np.errstate(divide="ignore", invalid="ignore"):
            found = np.clip(low - at_low / slope, low, high)
        known = np.isfinite(found) & (slope != 0.0)
        return np.where(known, found - told, 0.0), np.where(known, slope, 0.0)

    def _input(
        self,
        step: str,
        name: str,
        source: InputConfiguration,
        segments: Ints,
        time: Ints,
        revised: bool = True,
    ) -> Floats:
        if source.constant is not None:
            return np.full(len(segments), source.constant)
        if source.tag is not None:
            return self._table.value(f"{step}.{name}", segments)
        upstream, _, output = (source.output or "").partition(".")
        made_on = self._line.steps[upstream].runs_on
        if made_on in self._line.batches:
            batches = self._tracker.batch_at(made_on, segments, time)
            return self.batches.value(upstream, output, batches, time, revised)
        return self.best_known(upstream, output, segments, time)

    def revoke(self, name: str, segments: Ints, time: int) -> None:
        """What a gauge read of these segments does not count as measured from a time on, ns."""
        self._revoked.setdefault(name, []).append((time, np.sort(segments)))
        del self._revoked[name][:-16]

    def measured(self, name: str, segments: Ints, time: Ints) -> Floats:
        """What was measured of the coating and may be followed, as known at `time`; else NaN."""
        read = self._table.time(f"{name}.measured", segments)
        known = read <= time
        known &= self.reads(name, segments, read)
        for since, wrong in self._revoked.get(name, ()):
            known &= (time < since) | ~np.isin(segments, wrong)
        value = self.coating(name, self._table.value(f"{name}.measured", segments), read)
        return np.where(known, value, np.nan)

    def reads(self, name: str, segments: Ints, time: Ints) -> Bools:
        """Whether an output's gauge reads it of such material as n segments, as known then."""
        fit = np.ones(len(segments), np.bool_)
        for other, highest in self._followed_below.get(name, {}).items():
            known = self._table.time(other, segments) <= time
            fit &= ~(known & (self._table.value(other, segments) > highest))
        return fit

    def coating(self, name: str, read: Floats, time: Ints) -> Floats:
        """What readings at n times, or predictions of them, say without the foil's part, SI."""
        estimator = self._estimators.get(name)
        return read if estimator is None else estimator.coating(read, time)

    def steady(self, step: str, segments: Ints, time: Ints) -> Bools:
        """Which segments belong to a run of `COMING` that a step made alike, as known at `time`.

        The others are a lump, or were made while machines were on the way between two states.
        """
        around = segments + np.arange(1 - COMING, COMING)[:, None]
        alike = np.ones((len(around) - 1, len(segments)), np.bool_)
        for name, source in self._sources[step]:
            column = f"{step}.{name}"
            known = self._table.time(column, around) <= time
            value = np.where(known, self._table.value(column, around), np.nan)
            change = np.abs(np.diff(value, axis=0))
            alike &= ~(change > self._unlike(source.output, value[1:], time))
        ahead = np.logical_and.accumulate(alike[COMING - 1 :]).sum(axis=0)
        behind = np.logical_and.accumulate(alike[COMING - 2 :: -1]).sum(axis=0)
        return np.asarray(ahead + behind >= COMING - 1)

    def best_known(self, step: str, output: str, segments: Ints, time: Ints) -> Floats:
        """A structure parameter as known at `time`: measured, else predicted and corrected."""
        name = f"{step}.{output}"
        predicted = self._table.value(name, segments)
        if name in self.wrong_inputs:
            predicted = self._table.value(f"{name}.predicted", segments)
        elif name in self._estimators:
            predicted = predicted * (1.0 + self._below(name, time)[0])
            predicted = self._estimators[name].correct(predicted, time)[0]
            predicted = self.coating(name, predicted, time)
        measured = self.measured(name, segments, time)
        return np.where(np.isfinite(measured), measured, predicted)

    def to_come(self, step: str, time: int, count: int = COMING) -> Floats | None:
        """What is known of the material of another web that passes a step next.

        Args:
            step: the step.
            time: ns.
            count: segments that are meant.

        Returns:
            Per input its mean over that material, SI, NaN where another web says nothing of it;
            None where less comes, as at the end of a roll, or not all of it is of one state.
        """
        config = self._line.steps[step]
        found = np.full(len(self._sources[step]), np.nan)
        others = {
            column: output.split(".", 1)
            for column, (_, source) in enumerate(self._sources[step])
            if (output := source.output) is not None
            and self._line.steps[output.partition(".")[0]].runs_on in self._line.webs
            and self._line.steps[output.partition(".")[0]].runs_on != config.runs_on
        }
        if not others:
            return found
        place = self.exits[step]
        # the first is in the machine before a move acts
        segments = self._tracker.coming(config.runs_on, place, time, 1 + max(2 * COMING, count))[1:]
        if len(segments) < count:
            return None
        at = np.full(len(segments), time)
        for column, (upstream, output) in others.items():
            values = self.best_known(upstream, output, segments, at)
            known = values[np.isfinite(values)]
            if not len(known):
                continue
            if np.ptp(known) > self._unlike(f"{upstream}.{output}", known.mean(), at[:1])[0]:
                return None
            found[column] = known[:count].mean()
        return found

    def _unlike(self, name: str | None, value: Floats, time: Ints) -> Floats:
        """How far from a value at n times another is of another state of a machine, SI."""
        estimator = self._estimators.get(name or "")
        noise = np.zeros(len(time)) if estimator is None else estimator.state(time)[1]
        noise = np.where(np.isfinite(noise), noise, 0.0)
        return np.maximum(TRANSIENT * np.abs(value), RANGE * noise)

    def last(self, step: str, time: int) -> tuple[Floats, bool, int] | None:
        """Inputs of the last segment predicted by `time`, whether in domain, and the segment.

        What machines told is the mean over a few segments before it, as far as they were alike:
        the next material meets the state of the machine, not the noise of one reading.
        """
        rows: list[Floats] = []
        found: tuple[bool, int] | None = None
        for prediction, index in self._until(step, time):
            if found is None:
                found = (
                    bool(prediction.corrected_in_domain[index - 1]),
                    int(prediction.segments[index - 1]),
                )
            rows.append(prediction.inputs[max(0, index - ALIKE + sum(map(len, rows))) : index])
            if sum(map(len, rows)) >= ALIKE:
                break
        if found is None:
            return None
        table = np.concatenate(rows[::-1])
        latest = table[-1]
        with np.errstate(invalid="ignore"):
            other = np.abs(table - latest) > TRANSIENT * np.maximum(np.abs(latest), 1e-12)
        tags = [source.tag is not None for _, source in self._sources[step]]
        differs = np.flatnonzero((other | np.isnan(table))[:, tags].any(axis=1))
        alike = table[differs[-1] + 1 :] if len(differs) else table
        smooth = alike.mean(axis=0) if len(alike) else latest
        return np.where(tags, smooth, latest), *found

    def snapshot(self) -> Snapshot:
        """What was predicted from what, batches and their laboratory values, and the margins."""
        return {
            "margins": {name: margin.snapshot() for name, margin in self.margins.items()},
            "recent": {step: _columns(recent) for step, recent in self._recent.items()},
            "batches": self.batches.snapshot(),
            "revoked": {
                name: [[time, segments] for time, segments in each]
                for name, each in self._revoked.items()
            },
        }

    def restore(self, state: Snapshot) -> None:
        """Take what a predictor of the same steps, inputs and outputs gave."""
        for name, margin in state["margins"].items():
            if name in self.margins:
                self.margins[name].restore(margin)
        for step in self._recent:
            self._recent[step] = _predictions(step, state["recent"][step])
            self._kept[step] = sum(len(each.segments) for each in self._recent[step])
        self.batches.restore(state["batches"])
        self._revoked = {
            name: [(time, segments) for time, segments in each]
            for name, each in state["revoked"].items()
        }


def _columns(predictions: Iterable[Prediction]) -> Snapshot:
    """Predictions one below the other, and how many segments each has."""
    rows = [tuple(getattr(each, name) for name in KEPT) for each in predictions]
    if not rows:
        return {"lengths": []}
    columns = (np.concatenate(parts) for parts in zip(*rows, strict=True))
    return {"lengths": [len(row[0]) for row in rows], **dict(zip(KEPT, columns, strict=True))}


def _predictions(step: str, columns: Snapshot) -> deque[Prediction]:
    """What `_columns` put one below the other."""
    found: deque[Prediction] = deque()
    end = 0
    for length in columns["lengths"]:
        start, end = end, end + length
        segments, time, inputs, mean, *domains = (columns[name][start:end] for name in KEPT)
        sigma = np.full_like(mean, np.nan)
        found.append(Prediction(step, segments, time, inputs, mean, mean, sigma, *domains))
    return found


class _Numbering(dict[str, int]):
    """Columns without a tag table: only their stations matter."""

    def __missing__(self, key: str) -> int:
        return 0
