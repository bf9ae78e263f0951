"""`twin design` and `twin sensitivity`: from wanted structure to machine parameters."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Final

import numpy as np
import typer
from rich import box
from rich.table import Table

from connectors.recording import Recording
from twin.app.line import load_surrogates, read_line, recorded_surrogates
from twin.chain import Chain, Standing, Variable, readable, standing
from twin.cli.terminal import Json, err, finite, number, out
from twin.configuration import bundled, load
from twin.configuration.models import LineConfiguration
from twin.core import Core
from twin.design import (
    Binding,
    Design,
    Free,
    Limit,
    Preference,
    Problem,
    Proposal,
    Solver,
    Target,
    movable,
    specification,
    starting,
)
from twin.ports import Surrogate
from twin.replay import Follower
from twin.samples import Floats
from twin.sensitivity import Sensitivity, sobol
from twin.units import parse, to_si

TOLERANCE: Final = 0.01
"""Share of a target within which it is met, where nothing else is said."""
LIKELY: Final = 0.5
"""Share of samples in the models' domain below which indices are about extrapolation."""

After = Annotated[
    Path | None,
    typer.Option(help="Recording: the rest stands as at its end, corrected by its measurements."),
]
Line = Annotated[Path | None, typer.Option(help="Configuration; the bundled line without one.")]
Vary = Annotated[
    list[str] | None, typer.Option(help="Let vary: NAME=LOW..HIGH, in the tag's unit.")
]
Fix = Annotated[list[str] | None, typer.Option(help="Hold: NAME=VALUE, in the tag's unit.")]
Plot = Annotated[Path | None, typer.Option(help="Draw into this file: .svg, .png or .pdf.")]


def design(
    target: Annotated[
        list[str], typer.Option(help="Wanted: [STEP.]PARAMETER=VALUE[±TOLERANCE][ UNIT].")
    ],
    vary: Vary = None,
    fix: Fix = None,
    limit: Annotated[
        list[str] | None, typer.Option(help="Keep: [STEP.]PARAMETER=LOW..HIGH, in its unit.")
    ] = None,
    no_limits: Annotated[
        bool, typer.Option("--no-limits", help="Set the configured specification aside.")
    ] = False,
    prefer: Annotated[
        list[str] | None, typer.Option(help="Also wanted: NAME=most or NAME=least.")
    ] = None,
    after: After = None,
    line: Line = None,
    plot: Plot = None,
    as_json: Json = False,
) -> None:
    """Find the machine parameters for wanted structure parameters (docs/design.md)."""
    config, surrogates, known = known_line(line, after)
    everything = Chain(config, surrogates)
    targets = [target_of(everything, text) for text in target]
    own = [limit_of(everything, text) for text in limit or ()]
    preferences = [_preference(everything, text) for text in prefer or ()]
    named = [*(each.output for each in targets), *(each.output for each in own)]
    wanted = list(named)
    wanted += [each.name for each in preferences if each.name in everything.outputs]
    chain = Chain(config, surrogates, wanted, known.corrections)
    given, ranges = given_of(chain, fix, vary)
    free = movable(chain, ranges, list(given))
    start, origins = starting(chain, given, known.values)
    limits = [] if no_limits else specification(chain, named)
    problem = Problem(chain, tuple(targets), free, start, (*own, *limits), tuple(preferences))
    with err.status("searching …"):
        found = Solver(problem).solve()
    if plot is not None:
        _draw_front(found, plot)
    if as_json:
        typer.echo(json.dumps(_document(found, origins, after is not None)))
    else:
        _print(found, origins, after is not None)
    if not found.feasible:
        raise typer.Exit(1)


def sensitivity(
    parameters: Annotated[
        list[str] | None, typer.Argument(help="[STEP.]PARAMETER; all without one.")
    ] = None,
    vary: Vary = None,
    fix: Fix = None,
    width: Annotated[
        float, typer.Option(help="Share of each range, around where the line stands.", min=0.001)
    ] = 1.0,
    samples: Annotated[int, typer.Option(help="Of the design, a power of 2.", min=64)] = 1024,
    after: After = None,
    line: Line = None,
    plot: Plot = None,
    as_json: Json = False,
) -> None:
    """Say which machine parameters a structure parameter depends on: Sobol indices."""
    config, surrogates, known = known_line(line, after)
    everything = Chain(config, surrogates)
    wanted = [everything.find(text) for text in parameters or ()] or everything.outputs
    chain = Chain(config, surrogates, wanted, known.corrections)
    given, ranges = given_of(chain, fix, vary)
    start, _ = starting(chain, given, known.values)
    free = []
    for column, each in enumerate(chain.variables):
        if column in ranges:
            free.append(Free(column, *ranges[column]))
        elif each.constant is None and column not in given:
            low, high = each.limits or (each.low, each.high)
            low, high = max(low, each.low), min(high, each.high)
            if width < 1.0:
                reach = 0.5 * width * (high - low)
                middle = min(max(float(start[column]), low), high)
                low, high = max(low, middle - reach), min(high, middle + reach)
            free.append(Free(column, low, high))
    with err.status("sampling …"):
        found = sobol(chain, wanted, free, start, samples)
    if plot is not None:
        _draw_indices(found, plot)
    if as_json:
        typer.echo(json.dumps(_indices(found, chain, free)))
    else:
        _print_indices(found, chain, free)


def known_line(
    config: Path | None, after: Path | None
) -> tuple[LineConfiguration, Mapping[str, Surrogate], Standing]:
    """Configuration, models, and what is known of the line from a recording."""
    path = config or bundled("line.yaml")
    if after is None:
        line = read_line(path)
        return line, load_surrogates(line, path.parent), Standing()
    recording = Recording.open(after)
    if config is not None:
        recording = recording.for_line(load(config))
    files = {(model.step, model.version): model.file for model in recording.manifest.models}

    def changed(step: str, version: str) -> Surrogate:
        return type(models[step]).load(recording.folder / files[step, version])

    models = recorded_surrogates(recording, recording.line, path.parent)
    core = Core(recording.line, models)
    follower = Follower(core, changed)
    with err.status("running the recorded material through the twin …"):
        for arrivals in recording.stream():
            follower.feed(arrivals)
    return recording.line, core.surrogates, standing(core)


def _split(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name.strip() or not value.strip():
        raise ValueError(f"{text!r} says nothing; write NAME=VALUE")
    return name.strip(), value.strip()


def _number(text: str, unit: str) -> float:
    """SI value of a number in `unit`, or of a quantity that brings its own unit."""
    scale, offset = to_si(unit)
    try:
        return float(text) * scale + offset
    except ValueError:
        digits = len(text) - len(text.lstrip("+-.0123456789e"))
        return parse(f"{text[:digits]} {text[digits:]}", unit or "dimensionless")


def _range(text: str, unit: str) -> tuple[float, float]:
    low, dots, high = text.partition("..")
    if not dots:
        raise ValueError(f"{text!r} is no range; write LOW..HIGH")
    return _number(low.strip(), unit), _number(high.strip(), unit)


def target_of(chain: Chain, text: str) -> Target:
    name, value = _split(text)
    output = chain.find(name)
    unit = chain.unit(output)
    value, _, tolerance = value.replace("+-", "±").partition("±")
    wanted = _number(value.strip(), unit)
    scale, offset = to_si(unit)
    if not tolerance:
        share = TOLERANCE * abs((wanted - offset) / scale) or TOLERANCE
        return Target(output, wanted, share * scale)
    width = _number(tolerance.strip(), unit) - offset
    if not width > 0:
        raise ValueError(f"the tolerance of {output} has to be above 0")
    return Target(output, wanted, width)


def limit_of(chain: Chain, text: str) -> Limit:
    name, value = _split(text)
    output = chain.find(name)
    low, high = _range(value, chain.unit(output))
    return Limit(output, low, high, "limit that was given")


def _preference(chain: Chain, text: str) -> Preference:
    name, value = _split(text)
    if value not in ("most", "least"):
        raise ValueError(f"{text!r} says no direction; write {name}=most or {name}=least")
    try:
        found = chain.variables[chain.variable(name)].name
    except ValueError:
        found = chain.find(name)
    return Preference(found, value == "most")


def given_of(
    chain: Chain, fix: Sequence[str] | None, vary: Sequence[str] | None
) -> tuple[dict[int, float], dict[int, tuple[float, float]]]:
    """What a person fixed and let vary, by variable, SI."""
    fixed: dict[int, float] = {}
    for text in fix or ():
        name, value = _split(text)
        column = chain.variable(name)
        fixed[column] = _number(value, chain.variables[column].unit)
    ranges: dict[int, tuple[float, float]] = {}
    for text in vary or ():
        name, value = _split(text)
        column = chain.variable(name)
        ranges[column] = _range(value, chain.variables[column].unit)
    return fixed, ranges


def customary(unit: str, value: float) -> float:
    scale, offset = to_si(unit)
    return (value - offset) / scale


def _print(found: Design, origins: Sequence[str], learnt: bool) -> None:
    chain, best = found.problem.chain, found.best
    moving = {each.column: each for each in found.problem.free}
    table = Table(box=box.SIMPLE_HEAD)
    for name in ("machine parameter", "value", "unit", "between", "from"):
        table.add_column(name, justify="right" if name == "value" else "left")
    order = sorted(range(len(chain.variables)), key=lambda column: column not in moving)
    for column in order:
        each = chain.variables[column]
        value = number(each.from_si(best.values[column]))
        free = moving.get(column)
        between = "" if free is None else _between(each, free)
        origin = "proposed" if free is not None else origins[column]
        table.add_row(each.name, value, readable(each.unit), between, origin)
    out.print(table)
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("structure parameter")
    for name in ("wanted", "expected", "90 % interval"):
        table.add_column(name, justify="right")
    table.add_column("unit")
    for index, name in enumerate(chain.outputs):
        unit = chain.unit(name)
        low, high = (number(customary(unit, edge)) for edge in best.interval(index))
        asked = [each for each in found.problem.targets if each.output == name]
        wanted = number(customary(unit, asked[0].value)) if asked else ""
        expected = number(customary(unit, float(best.mean[index])))
        style = "bold" if asked else None
        table.add_row(name, wanted, expected, f"{low} to {high}", readable(unit), style=style)
    out.print(table)
    if not found.feasible:
        for sentence in _verdict(found):
            err.print(sentence, style="red", markup=False, highlight=False, soft_wrap=True)
    if found.front:
        _print_front(found)
    if not learnt:
        out.print(
            "The intervals hold what the models are unsure of, not what this line does otherwise: "
            "--after RECORDING corrects by its measurements.",
            soft_wrap=True,
        )


def _between(each: Variable, free: Free) -> str:
    return f"{number(each.from_si(free.low))} to {number(each.from_si(free.high))}"


def _verdict(found: Design) -> list[str]:
    """Why it is infeasible, in sentences."""
    chain, best = found.problem.chain, found.best
    said = []
    for target, miss in zip(found.problem.targets, best.miss.tolist(), strict=True):
        if abs(miss) <= target.tolerance:
            continue
        unit = chain.unit(target.output)
        scale = to_si(unit)[0]
        reached = number(customary(unit, target.value + miss))
        side = "above" if miss > 0 else "below"
        said.append(
            f"infeasible: {target.output} comes to {reached} {readable(unit)} at best, "
            f"{number(abs(miss) / scale)} {readable(unit)} {side} the target"
        )
    if not best.allowed:
        said.append("infeasible: no machine parameters lie within all limits and domains")
    said += [f"binding: {_bound(chain, each)}" for each in found.binding]
    if not found.binding:
        names = ", ".join(chain.variables[each.column].name for each in found.problem.free)
        said.append(
            f"no limit binds: the targets contradict each other as long as only {names} may move "
            "(--vary frees others)"
        )
    return said


def _bound(chain: Chain, binding: Binding) -> str:
    if not binding.side:
        return f"{binding.name}: {binding.why}"
    unit = _unit(chain, binding.name)
    side = "at least" if binding.side == "low" else "at most"
    return f"{binding.name} {side} {number(customary(unit, binding.bound))} " + (
        f"{readable(unit)} ({binding.why})" if unit else f"({binding.why})"
    )


def _unit(chain: Chain, name: str) -> str:
    """Of a structure parameter, a variable, or an input that is an output of a step before."""
    if name in chain.outputs:
        return chain.unit(name)
    for each in chain.variables:
        if name in each.inputs:
            return each.unit
    step, _, parameter = name.partition(".")
    return _unit(chain, chain.line.source_of(step, parameter).output or "")


def _print_front(found: Design) -> None:
    problem = found.problem
    chain = problem.chain
    table = Table(
        title=f"Pareto front: {', '.join(found.objectives)}", title_justify="left",
        box=box.SIMPLE_HEAD,
    )  # fmt: skip
    moving = [chain.variables[each.column] for each in problem.free]
    asked = [target.output for target in problem.targets]
    asked += [p.name for p in problem.preferences if p.name in chain.outputs]
    for each in moving:
        table.add_column(f"{each.name.partition('.')[2]}\n{readable(each.unit)}", justify="right")
    for name in asked:
        label = f"{name.partition('.')[2]}\n{readable(chain.unit(name))}"
        table.add_column(label, justify="right")
    for proposal in found.front:
        machine = [
            number(each.from_si(proposal.values[free.column]))
            for each, free in zip(moving, problem.free, strict=True)
        ]
        made = [
            number(customary(chain.unit(name), proposal.mean[chain.outputs.index(name)]))
            for name in asked
        ]
        table.add_row(*machine, *made)
    out.print(table)


def _document(found: Design, origins: Sequence[str], learnt: bool) -> dict[str, Any]:
    chain = found.problem.chain
    moving = {each.column: each for each in found.problem.free}

    def proposal(each: Proposal) -> dict[str, Any]:
        return {
            "machine": {
                chain.variables[column].name: chain.variables[column].from_si(each.values[column])
                for column in moving
            },
            "structure": {
                name: _said(chain.unit(name), each, index)
                for index, name in enumerate(chain.outputs)
            },
            "allowed": each.allowed,
        }

    return {
        "feasible": found.feasible,
        "verdict": [] if found.feasible else _verdict(found),
        "learnt_from_recording": learnt,
        "targets": {
            target.output: {
                "value": customary(chain.unit(target.output), target.value),
                "tolerance": target.tolerance / to_si(chain.unit(target.output))[0],
                "miss": miss / to_si(chain.unit(target.output))[0],
            }
            for target, miss in zip(found.problem.targets, found.best.miss.tolist(), strict=True)
        },
        "proposal": proposal(found.best),
        "held": {
            each.name: {
                "value": each.from_si(found.problem.start[column]),
                "unit": each.unit,
                "from": origins[column],
            }
            for column, each in enumerate(chain.variables)
            if column not in moving
        },
        "units": {
            **{each.name: each.unit for each in chain.variables},
            **{name: chain.unit(name) for name in chain.outputs},
        },
        "binding": [
            finite(
                {
                    "kind": each.kind,
                    "name": each.name,
                    "side": each.side,
                    "bound": customary(_unit(chain, each.name), each.bound)
                    if each.side
                    else math.nan,
                    "why": each.why,
                }
            )
            for each in found.binding
        ],
        "objectives": list(found.objectives),
        "front": [proposal(each) for each in found.front],
    }


def _said(unit: str, proposal: Proposal, index: int) -> dict[str, float]:
    low, high = proposal.interval(index)
    return {
        "expected": customary(unit, float(proposal.mean[index])),
        "low": customary(unit, low),
        "high": customary(unit, high),
    }


def _draw_front(found: Design, file: Path) -> None:
    """Every pair of an objective and the first, or the intervals where there is no front."""
    from matplotlib.figure import Figure  # takes half a second to load

    problem, chain = found.problem, found.problem.chain
    proposals = found.front or (found.best,)
    names = [target.output for target in problem.targets]
    names += [each.name for each in problem.preferences]
    figure = Figure(figsize=(4.2 * max(len(names) - 1, 1), 3.6), layout="constrained")
    pairs = [(names[0], other) for other in names[1:]] or [(names[0], names[0])]
    for place, (x, y) in enumerate(pairs, 1):
        axes = figure.add_subplot(1, len(pairs), place)
        axes.errorbar(
            [_at(chain, each, x) for each in proposals],
            [_at(chain, each, y) for each in proposals],
            xerr=[_reach(chain, each, x) for each in proposals],
            yerr=[_reach(chain, each, y) for each in proposals],
            fmt="o", markersize=4, linewidth=0.8,
        )  # fmt: skip
        for target in problem.targets:
            at = customary(chain.unit(target.output), target.value)
            if target.output == x:
                axes.axvline(at, color="#b03a3a", linewidth=0.8, linestyle="--")
            if target.output == y:
                axes.axhline(at, color="#b03a3a", linewidth=0.8, linestyle="--")
        axes.set(xlabel=_label(chain, x), ylabel=_label(chain, y))
    figure.savefig(file)


def _at(chain: Chain, proposal: Proposal, name: str) -> float:
    if name in chain.outputs:
        return customary(chain.unit(name), float(proposal.mean[chain.outputs.index(name)]))
    column = chain.variable(name)
    return chain.variables[column].from_si(float(proposal.values[column]))


def _reach(chain: Chain, proposal: Proposal, name: str) -> float:
    if name not in chain.outputs:
        return 0.0
    low, high = proposal.interval(chain.outputs.index(name))
    return 0.5 * (high - low) / to_si(chain.unit(name))[0]


def _label(chain: Chain, name: str) -> str:
    unit = readable(_unit(chain, name))
    return f"{name}, {unit}" if unit else name


def _print_indices(found: Sensitivity, chain: Chain, free: Sequence[Free]) -> None:
    for row, output in enumerate(found.outputs):
        unit = chain.unit(output)
        spread = number(float(found.spread[row]) / to_si(unit)[0])
        title = f"{output}, standard deviation {spread} {readable(unit)}".rstrip()
        if np.isnan(found.total[row]).all():
            out.print(f"{title}: does not vary", highlight=False)
            continue
        table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD)
        for name in ("machine parameter", "between", "unit", "first order", "total"):
            table.add_column(name, justify="right" if name in ("first order", "total") else "left")
        for column in np.argsort(-found.total[row]).tolist():
            if found.total[row, column] < 0.005:
                continue
            each = chain.variables[free[column].column]
            table.add_row(
                each.name, _between(each, free[column]), readable(each.unit),
                f"{found.first[row, column]:.2f}", f"{found.total[row, column]:.2f}",
            )  # fmt: skip
        out.print(table)
    inside = f"{100 * found.in_domain:.0f} % of the samples lie in the domain of all models"
    if found.in_domain < LIKELY:
        inside += "; the rest is extrapolated: narrow the ranges with --width, --vary or --fix"
    out.print(inside, highlight=False, soft_wrap=True)


def _indices(found: Sensitivity, chain: Chain, free: Sequence[Free]) -> dict[str, Any]:
    def table(values: Floats, row: int) -> dict[str, Any]:
        named = zip(found.variables, values[row].tolist(), strict=True)
        return dict(finite(dict(named)))

    return {
        "in_domain": found.in_domain,
        "ranges": {
            chain.variables[each.column].name: {
                "low": chain.variables[each.column].from_si(each.low),
                "high": chain.variables[each.column].from_si(each.high),
                "unit": chain.variables[each.column].unit,
            }
            for each in free
        },
        "outputs": {
            output: {
                "unit": chain.unit(output),
                "standard_deviation": float(found.spread[row]) / to_si(chain.unit(output))[0],
                "first": table(found.first, row),
                "total": table(found.total, row),
            }
            for row, output in enumerate(found.outputs)
        },
    }


def _draw_indices(found: Sensitivity, file: Path) -> None:
    """Bars of first-order indices on those of total indices, one panel per structure parameter."""
    from matplotlib.figure import Figure  # takes half a second to load

    count = len(found.outputs)
    high = 0.8 + 0.22 * len(found.variables)
    figure = Figure(figsize=(7.0, high * count), layout="constrained")
    where = np.arange(len(found.variables))[::-1]
    for row, output in enumerate(found.outputs):
        axes = figure.add_subplot(count, 1, row + 1)
        total, first = (np.nan_to_num(each[row]) for each in (found.total, found.first))
        axes.barh(where, total, color="#c9d6e4", label="total")
        axes.barh(where, first, height=0.4, color="#1f4e79", label="first order")
        axes.set_yticks(where, found.variables, fontsize=8)
        axes.set_xlim(0, max(1.0, float(total.max())))
        axes.set_title(output, loc="left", fontsize=9)
    figure.legend(loc="outside upper right", ncols=2, frameon=False)
    figure.savefig(file)
