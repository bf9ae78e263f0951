"""The declared chain of steps as one function: machine parameters in, structure parameters out."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final, Literal

import numpy as np

from twin.configuration.models import LineConfiguration
from twin.estimation import BiasEstimator
from twin.ingest import NANOSECONDS
from twin.ports import Surrogate, SurrogateOutput
from twin.samples import Bools, Floats, Ints
from twin.units import to_si

if TYPE_CHECKING:
    from twin.core import Core

DRAWS: Final = 256
"""Of the Monte Carlo propagation: a sigma is known to about 4 %."""
WANDERING: Final = 120
"""Half minutes back from the last moment in which a correction is seen to wander."""
SLOPE: Final = 0.05
"""One sigma of what a model says of a change, relative: a model fitted to data of one machine is
seldom right on another by less. See docs/design.md for what it is worth."""


@dataclass(frozen=True, slots=True)
class Variable:
    """What the chain takes from outside: a machine parameter, a recipe value or a constant."""

    name: str
    """`step.input` of the first input that reads it."""
    inputs: tuple[str, ...]
    """All inputs that read it: those of one tag are one variable."""
    unit: str
    """In which people read it."""
    low: float
    """Where the domains of all models that read it overlap, SI."""
    high: float
    constant: float | None
    """Configured value, SI."""
    limits: tuple[float, float] | None
    """Of its setpoint, SI; None where the twin may not move it."""

    def from_si(self, value: float) -> float:
        """In the unit of people."""
        scale, offset = to_si(self.unit)
        return (value - offset) / scale


@dataclass(frozen=True, slots=True)
class Correction:
    """What measurements on a line say that a model gets wrong, as a running twin has learnt it."""

    kind: Literal["offset", "factor", "input"]
    """`input`: the offset of an input of the model, such as the zero of a gap."""
    value: float
    """SI, or a share where it is a factor."""
    sigma: float = 0.0
    """Of the corrected output against the truth where it was learnt, SI."""
    column: int = 0
    """Of the input that is wrong."""
    learnt_at: float = math.nan
    """The corrected output where it was learnt, SI; NaN where that is not known."""

    def sigma_at(self, value: Floats) -> Floats:
        """One sigma of the corrected output where it is `value`, SI.

        A wrong factor is wrong by a share. Otherwise what was learnt at one point says how high the
        model is there, not how steep: away from it the slope is in doubt by `SLOPE`.
        """
        if math.isnan(self.learnt_at):
            return np.full(len(value), self.sigma)
        if self.kind == "factor":
            return self.sigma * np.abs(value / (self.learnt_at or 1.0))
        doubt: Floats = np.hypot(self.sigma, SLOPE * (value - self.learnt_at))
        return doubt


@dataclass(frozen=True, slots=True)
class Standing:
    """A line as a running twin knows it."""

    values: Mapping[str, float] = field(default_factory=dict)
    """By `step.input`, SI."""
    corrections: Mapping[str, Correction] = field(default_factory=dict)
    """By `step.output`."""


@dataclass(frozen=True, slots=True)
class ChainOutput:
    """What the chain says of n rows of variables."""

    mean: Floats
    """(n, outputs) SI; NaN where a variable is missing."""
    sigma: Floats
    """(n, outputs) SI; 0 where nothing was propagated."""
    inputs: Floats
    """(n, step inputs) what every model was asked, SI."""
    in_domain: Bools
    """(n, steps) whether each model was asked inside its domain."""


class Chain:
    """The steps up to some outputs, in the order of the process, as one vectorised function.

    Args:
        line: the configuration.
        surrogates: the model of every step.
        wanted: `step.output` names that it is for; the steps that these do not need are left out.
        corrections: by `step.output`; applied to what the models say before later steps read it.
    """

    def __init__(
        self,
        line: LineConfiguration,
        surrogates: Mapping[str, Surrogate],
        wanted: Iterable[str] | None = None,
        corrections: Mapping[str, Correction] | None = None,
    ) -> None:
        self.line = line
        self._corrections = dict(corrections or {})
        names = set(line.steps) if wanted is None else {name.partition(".")[0] for name in wanted}
        for step in reversed(line.steps):
            if step in names:
                read = (line.source_of(step, name).output for name in surrogates[step].inputs)
                names |= {output.partition(".")[0] for output in read if output}
        self.steps = [step for step in line.steps if step in names]
        self.surrogates = {step: surrogates[step] for step in self.steps}
        self.outputs = [
            f"{step}.{output}" for step in self.steps for output in surrogates[step].outputs
        ]
        """`step.output`: the columns of what it gives."""
        self.inputs = [f"{step}.{name}" for step in self.steps for name in surrogates[step].inputs]
        """`step.input`: the columns of what the models are asked."""
        self.domain = np.concatenate([surrogates[step].domain for step in self.steps])
        """(step inputs, 2) lowest and highest value of the training ranges, SI."""
        self.variables = self._variables()
        columns = {name: i for i, each in enumerate(self.variables) for name in each.inputs}
        self._plan = [self._read(step, columns) for step in self.steps]

    def _variables(self) -> list[Variable]:
        found: dict[str, list[str]] = {}
        for full in self.inputs:
            step, _, name = full.partition(".")
            source = self.line.source_of(step, name)
            if source.output is None:
                found.setdefault(full if source.tag is None else f"tag {source.tag}", []).append(
                    full
                )
        return [self._variable(names) for names in found.values()]

    def _variable(self, names: Sequence[str]) -> Variable:
        rows = self.domain[[self.inputs.index(name) for name in names]]
        step, _, name = names[0].partition(".")
        source = self.line.source_of(step, name)
        # a constant is written in SI and has no unit of its own
        unit = self.line.tags[source.tag].unit if source.tag else ""
        limits = None
        for full in names:
            step, _, name = full.partition(".")
            setpoint = self.line.steps[step].setpoints.get(name)
            if setpoint is not None:
                scale, offset = to_si(self.line.tags[setpoint.tag].unit)
                low, high = setpoint.limits
                limits = low * scale + offset, high * scale + offset
        return Variable(
            names[0], tuple(names), unit, float(rows[:, 0].max()), float(rows[:, 1].min()),
            source.constant, limits,
        )  # fmt: skip

    def _read(self, step: str, columns: Mapping[str, int]) -> list[tuple[str, int]]:
        """Per input of a step the kind of its source and the column there."""
        plan: list[tuple[str, int]] = []
        for name in self.surrogates[step].inputs:
            source = self.line.source_of(step, name).output
            if source is None:
                plan.append(("variable", columns[f"{step}.{name}"]))
            elif source in self.outputs:
                plan.append(("output", self.outputs.index(source)))
            else:
                plan.append((source, columns[source]))  # a recipe value that passes through
        return plan

    def unit(self, output: str) -> str:
        """The unit in which people read a structure parameter; SI where none is configured."""
        step, _, name = output.partition(".")
        made = self.line.steps[step].outputs.get(name)
        return made.unit if made is not None else ""

    def find(self, text: str) -> str:
        """The `step.output` that a name means, in full or in part, if it means only one.

        Raises:
            ValueError: it means none or several.
        """
        return _find(text, self.outputs, "structure parameter")

    def variable(self, text: str) -> int:
        """The variable that the name of an input means, in full or in part.

        Raises:
            ValueError: it means none or several.
        """
        owner = {name: each.name for each in self.variables for name in each.inputs}
        try:
            name = owner[_find(text, list(owner), "machine parameter")]
        except ValueError:
            parts = {owner[each] for each in owner if each.rpartition(".")[2] == text}
            if len(parts) != 1:
                raise
            name = parts.pop()
        return [each.name for each in self.variables].index(name)

    def __call__(
        self, values: Floats, draws: int = 0, rng: np.random.Generator | None = None
    ) -> ChainOutput:
        """What the chain makes of n rows of variables.

        Args:
            values: (n, variables) SI.
            draws: Monte Carlo draws per row that carry the uncertainty of each step on into the
                next, all in one call of each model; 0 takes the means alone.
            rng: of the draws; seed 1 without one, so that the same question has the same answer.
        """
        rows = np.asarray(values, np.float64)
        count = len(rows)
        if draws:
            rows = np.repeat(rows, draws, axis=0)
            rng = rng or np.random.default_rng(1)
        made = np.full((len(rows), len(self.outputs)), np.nan)
        asked: list[Floats] = []
        inside: list[Bools] = []
        for step, plan in zip(self.steps, self._plan, strict=True):
            surrogate = self.surrogates[step]
            inputs = np.column_stack([self._taken(*each, rows, made) for each in plan])
            said = surrogate.predict(inputs)
            fits = np.ones(len(rows), np.bool_)
            for index, output in enumerate(surrogate.outputs):
                name = f"{step}.{output}"
                value, sigma, there = self._corrected(name, index, surrogate, inputs, said)
                fits &= there
                if rng is not None and draws:
                    sigma = np.hypot(sigma, said.std[:, index])
                    value = value + sigma * rng.standard_normal(len(rows))
                made[:, self.outputs.index(name)] = value
            asked.append(inputs)
            inside.append(fits)
        inputs, in_domain = np.concatenate(asked, axis=1), np.column_stack(inside)
        if not draws:
            return ChainOutput(made, np.zeros_like(made), inputs, in_domain)
        drawn = made.reshape(count, draws, -1)
        return ChainOutput(
            drawn.mean(axis=1),
            drawn.std(axis=1),
            inputs.reshape(count, draws, -1).mean(axis=1),
            in_domain.reshape(count, draws, -1).mean(axis=1) > 0.5,
        )

    def _taken(self, kind: str, column: int, rows: Floats, made: Floats) -> Floats:
        value: Floats = made[:, column] if kind == "output" else rows[:, column]
        passed = self._corrections.get(kind)
        return value if passed is None else value * (1.0 + passed.value)

    def _corrected(
        self, name: str, index: int, surrogate: Surrogate, inputs: Floats, said: SurrogateOutput
    ) -> tuple[Floats, Floats, Bools]:
        """An output as measurements correct it, its sigma, and whether the model knows it there."""
        correction = self._corrections.get(name)
        value: Floats = said.mean[:, index]
        inside = said.in_domain
        if correction is None:
            return value, np.zeros(len(value)), inside
        if correction.kind == "factor":
            value = value * (1.0 + correction.value)
        elif correction.kind == "offset":
            value = value + correction.value
        elif correction.value:
            shifted = inputs.copy()
            shifted[:, correction.column] += correction.value
            there = surrogate.predict(shifted)
            value, inside = there.mean[:, index], there.in_domain
        return value, correction.sigma_at(value), inside


def _find(text: str, names: Sequence[str], kind: str) -> str:
    if text in names:
        return text
    for fits in (
        [name for name in names if name.rpartition(".")[2] == text],
        [name for name in names if text in name.rpartition(".")[2]],
    ):
        if len(fits) == 1:
            return fits[0]
        if fits:
            raise ValueError(f"{text} may be {' or '.join(fits)}; write one of these")
    raise ValueError(f"there is no {kind} {text}; choose from {', '.join(names)}")


def standing(core: Core) -> Standing:
    """What a twin that has followed a line knows at its last moment.

    What machines told last is what every step last predicted from; a step on slurry batches has the
    last values of its tags. Where the laboratory has revised a batch, the difference is a factor.
    """
    line, time = core.line, core.tracker.frontier
    moments = time - np.arange(WANDERING, dtype=np.int64)[::-1] * (30 * NANOSECONDS)
    values: dict[str, float] = {}
    corrections: dict[str, Correction] = {}
    for step in line.steps:
        surrogate = core.surrogates[step]
        last = core.predictor.last(step, time) if line.steps[step].runs_on in line.webs else None
        for column, name in enumerate(surrogate.inputs):
            tag = line.source_of(step, name).tag
            if last is not None:
                values[f"{step}.{name}"] = float(last[0][column])
            elif tag is not None:
                values[f"{step}.{name}"] = float(core.latest[core.tags.index(tag)])
        for output in surrogate.outputs:
            full = f"{step}.{output}"
            if full not in core.estimators:
                continue
            made = line.steps[step].outputs[output]
            state, sigma = core.predictor.state(full, moments)
            if not np.isfinite(sigma[-1]):
                continue  # nothing has been measured yet
            wrong = core.predictor.wrong_inputs.get(full)
            corrections[full] = Correction(
                "input"
                if wrong is not None
                else "factor"
                if made.correction == "relative"
                else "offset",
                float(state[-1]),
                math.hypot(
                    float(sigma[-1]),
                    # residuals do not show what the gauge itself has wrong
                    (made.uncertainty or 0.0) * to_si(made.unit)[0],
                    _wander(state[np.isfinite(sigma)])
                    * _effect(core.estimators[full], moments[-1:]),
                ),
                wrong or 0,
            )
    _revised(core, values, corrections)
    known = {name: value for name, value in values.items() if np.isfinite(value)}
    return Standing(known, _placed(core, known, corrections))


def _wander(state: Floats) -> float:
    """How far a correction was from where it stands since it had settled, RMS: as far it may go.

    Args:
        state: its course, the oldest first.
    """
    return float(np.sqrt(np.mean((state[len(state) // 3 :] - state[-1]) ** 2)))


def _effect(estimator: BiasEstimator, moment: Ints) -> float:
    """What a unit of an estimator's state does to the output, SI."""
    own = float(estimator.state(moment)[0][0])
    return abs(float(estimator.at(moment)[0][0]) / own) if own else 0.0


def _placed(
    core: Core, values: Mapping[str, float], corrections: Mapping[str, Correction]
) -> dict[str, Correction]:
    """The corrections with where on the line they were learnt."""
    chain = Chain(core.line, core.surrogates, None, corrections)
    row = [
        each.constant if each.constant is not None else values.get(each.name, np.nan)
        for each in chain.variables
    ]
    made = dict(zip(chain.outputs, chain(np.array([row])).mean[0].tolist(), strict=True))
    return {
        name: replace(each, learnt_at=made.get(name, math.nan))
        for name, each in corrections.items()
    }


def _revised(core: Core, values: dict[str, float], corrections: dict[str, Correction]) -> None:
    """What later steps read of a batch against what the models say of it."""
    line = core.line
    for step in line.steps:
        for name in core.surrogates[step].inputs:
            source = line.source_of(step, name).output
            upstream, _, output = (source or "").partition(".")
            if source is None or line.steps[upstream].runs_on in line.webs:
                continue
            surrogate = core.surrogates[upstream]
            if output in surrogate.inputs:
                said = values.get(source, np.nan)
            else:
                row = [values.get(f"{upstream}.{each}", np.nan) for each in surrogate.inputs]
                mean = surrogate.predict(np.array([row])).mean[0]
                said = float(mean[surrogate.outputs.index(output)])
            told = values.get(f"{step}.{name}", np.nan)
            if np.isfinite(told) and np.isfinite(said) and said:
                corrections[source] = Correction("factor", told / said - 1.0)


def readable(unit: str) -> str:
    """A unit as people write it; nothing for a plain number."""
    for name, sign in (
        ("dimensionless", ""), ("percent", "%"), ("degC", "°C"), ("um", "µm"), ("^2", "²"),
        ("^3", "³"), ("*", " "),
    ):  # fmt: skip
        unit = unit.replace(name, sign)
    return unit
