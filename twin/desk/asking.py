"""Questions to the chain of steps: what if, and which machine parameters for these targets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from twin.chain import DRAWS, Chain, Standing
from twin.configuration.models import LineConfiguration
from twin.design import (
    Z90,
    Binding,
    Limit,
    Problem,
    Solver,
    Target,
    movable,
    specification,
    starting,
)
from twin.desk.views import BindingView, DesignView, OutputView, VariableView, WhatIf, present
from twin.ports import Surrogate
from twin.samples import Bools, Floats
from twin.units import to_si

TOLERANCE: Final = 0.01
"""Share of a target within which it is met, where nothing else is said."""


@dataclass(frozen=True, slots=True)
class Question:
    """The line as it stands, so that it can be asked on another thread."""

    line: LineConfiguration
    surrogates: Mapping[str, Surrogate]
    standing: Standing


@dataclass(frozen=True, slots=True)
class Wish:
    """A wanted structure parameter, in its unit."""

    value: float
    tolerance: float | None = None


def what_if(question: Question, values: Mapping[str, float]) -> WhatIf:
    """What the chain makes of machine parameters; the rest stands as on the line.

    Args:
        question: the line.
        values: by name of the input, in full or in part, in the unit of people.

    Raises:
        ValueError: a name means no machine parameter, or several; a value is no number.
    """
    chain = Chain(question.line, question.surrogates, corrections=question.standing.corrections)
    given = _given(chain, values)
    start, origins = starting(chain, given, question.standing.values)
    said = chain(start[None, :], DRAWS)
    plain = chain(start[None, :])
    return _answer(chain, start, origins, plain.mean[0], said.sigma[0], plain.in_domain[0])


def design(
    question: Question,
    targets: Mapping[str, Wish],
    values: Mapping[str, float],
    vary: Mapping[str, tuple[float, float]],
    limits: Mapping[str, tuple[float, float]],
) -> DesignView:
    """Machine parameters that bring structure parameters to targets; takes seconds.

    Args:
        question: the line.
        targets: by name of the structure parameter, in full or in part.
        values: machine parameters that are held, in the unit of people.
        vary: machine parameters that may move, with their ranges, beside the setpoints.
        limits: structure parameters to keep within, beside the specification.

    Raises:
        ValueError: a name means nothing, or several; nothing may move; a range is empty.
    """
    if not targets:
        raise ValueError("name at least one target")
    everything = Chain(question.line, question.surrogates)
    wanted = [_target(everything, name, wish) for name, wish in targets.items()]
    own = [_limit(everything, name, bounds) for name, bounds in limits.items()]
    named = [*(each.output for each in wanted), *(each.output for each in own)]
    chain = Chain(question.line, question.surrogates, named, question.standing.corrections)
    given = _given(chain, values)
    ranges: dict[int, tuple[float, float]] = {}
    for name, (low, high) in vary.items():
        column = chain.variable(name)
        scale, offset = to_si(chain.variables[column].unit or "dimensionless")
        ranges[column] = low * scale + offset, high * scale + offset
    free = movable(chain, ranges, list(given))
    start, origins = starting(chain, given, question.standing.values)
    problem = Problem(chain, tuple(wanted), free, start, (*own, *specification(chain, named)))
    found = Solver(problem).solve()
    best = found.best
    inside = chain(best.values[None, :]).in_domain[0]
    moved = {each.column for each in free}
    origins = ["proposed" if column in moved else origin for column, origin in enumerate(origins)]
    return DesignView(
        feasible=found.feasible,
        proposal=_answer(chain, best.values, origins, best.mean, best.sigma, inside),
        free=tuple(chain.variables[each.column].name for each in free),
        misses={
            target.output: float(miss) / _scale(chain, target.output)[0]
            for target, miss in zip(wanted, best.miss.tolist(), strict=True)
        },
        binding=tuple(_binding(chain, each) for each in found.binding),
    )


def _given(chain: Chain, values: Mapping[str, float]) -> dict[int, float]:
    given: dict[int, float] = {}
    for name, value in values.items():
        column = chain.variable(name)
        scale, offset = to_si(chain.variables[column].unit or "dimensionless")
        if not np.isfinite(value):
            raise ValueError(f"{name} is {value}; give a number")
        given[column] = value * scale + offset
    return given


def _scale(chain: Chain, output: str) -> tuple[float, float]:
    return to_si(chain.unit(output) or "dimensionless")


def _target(chain: Chain, name: str, wish: Wish) -> Target:
    output = chain.find(name)
    scale, offset = _scale(chain, output)
    tolerance = wish.tolerance
    if tolerance is None:
        tolerance = TOLERANCE * abs(wish.value) or TOLERANCE
    if not (np.isfinite(wish.value) and np.isfinite(tolerance) and tolerance > 0):
        raise ValueError(f"the target of {output} has to be a number, its tolerance above 0")
    return Target(output, wish.value * scale + offset, tolerance * scale)


def _limit(chain: Chain, name: str, bounds: tuple[float, float]) -> Limit:
    output = chain.find(name)
    scale, offset = _scale(chain, output)
    low, high = (each * scale + offset for each in bounds)
    if not low < high:
        raise ValueError(f"the limits of {output} are empty")
    return Limit(output, low, high, "limit that was given")


def _answer(
    chain: Chain,
    values: Floats,
    origins: Sequence[str],
    mean: Floats,
    sigma: Floats,
    in_domain: Bools,
) -> WhatIf:
    variables = []
    for each, value, origin in zip(chain.variables, values.tolist(), origins, strict=True):
        scale, offset = to_si(each.unit or "dimensionless")
        domain = (each.low - offset) / scale, (each.high - offset) / scale
        limits = None
        if each.limits is not None:
            limits = (each.limits[0] - offset) / scale, (each.limits[1] - offset) / scale
        variables.append(
            VariableView(
                name=each.name,
                inputs=each.inputs,
                unit=each.unit,
                value=present((value - offset) / scale),
                domain=domain,
                in_domain=each.low <= value <= each.high if np.isfinite(value) else None,
                limits=limits,
                origin=origin,
            )
        )
    outputs = []
    for index, name in enumerate(chain.outputs):
        scale, offset = _scale(chain, name)
        value = (float(mean[index]) - offset) / scale
        reach = Z90 * float(sigma[index]) / scale
        step, _, output = name.partition(".")
        made = chain.line.steps[step].outputs.get(output)
        limits = None if made is None else made.limits
        inside = None
        if limits is not None and np.isfinite(value):
            inside = limits[0] <= value <= limits[1]
        outputs.append(
            OutputView(
                name=name,
                unit=chain.unit(name),
                value=present(value),
                low=present(value - reach),
                high=present(value + reach),
                target=None if made is None else made.target,
                limits=limits,
                in_limits=inside,
            )
        )
    outside = tuple(
        step for step, inside in zip(chain.steps, in_domain.tolist(), strict=True) if not inside
    )
    return WhatIf(variables=tuple(variables), outputs=tuple(outputs), outside=outside)


def _binding(chain: Chain, binding: Binding) -> BindingView:
    unit = ""
    if binding.kind == "range":
        unit = next(each.unit for each in chain.variables if each.name == binding.name)
    elif binding.kind == "limit":
        unit = chain.unit(binding.name)
    elif binding.name in chain.inputs:
        unit = next((v.unit for v in chain.variables if binding.name in v.inputs), "")
        step, _, name = binding.name.partition(".")
        source = chain.line.source_of(step, name).output
        if source is not None and source in chain.outputs:
            unit = chain.unit(source)
    scale, offset = to_si(unit or "dimensionless")
    return BindingView(
        kind=binding.kind,
        name=binding.name,
        side=binding.side,
        bound=present((binding.bound - offset) / scale),
        unit=unit,
        why=binding.why,
    )
