"""`twin plan`: the next trials on the line, from what models and trials so far tell."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich import box
from rich.table import Table

from twin.chain import Chain, Standing, readable
from twin.cli.designing import (
    After,
    Fix,
    Line,
    Vary,
    customary,
    given_of,
    known_line,
    limit_of,
    target_of,
)
from twin.cli.terminal import Json, err, finite, number, out
from twin.configuration.models import LineConfiguration
from twin.design import Z90, Problem, movable, specification, starting
from twin.samples import Floats
from twin.trials import Planned, Planner, Reach, Trial
from twin.units import to_si


def plan(
    target: Annotated[
        list[str], typer.Option(help="Wanted: [STEP.]PARAMETER=VALUE[±TOLERANCE][ UNIT].")
    ],
    results: Annotated[
        list[Path] | None,
        typer.Option(help="Trials so far: CSV files, or a recording of each."),
    ] = None,
    trials: Annotated[int, typer.Option(help="How many to propose at once.", min=1, max=20)] = 1,
    moves: Annotated[
        int, typer.Option(help="Largest steps that a setpoint may take from trial to trial.", min=1)
    ] = 10,
    vary: Vary = None,
    fix: Fix = None,
    limit: Annotated[
        list[str] | None, typer.Option(help="Keep: [STEP.]PARAMETER=LOW..HIGH, in its unit.")
    ] = None,
    no_limits: Annotated[
        bool, typer.Option("--no-limits", help="Set the configured specification aside.")
    ] = False,
    after: After = None,
    line: Line = None,
    as_json: Json = False,
) -> None:
    """Propose the next trials towards wanted structure parameters (docs/design.md)."""
    config, surrogates, known = known_line(line, after)
    folders = [path for path in results or () if path.is_dir()]
    recorded = [known_line(line, folder)[2] for folder in folders]
    everything = Chain(config, surrogates)
    targets = [target_of(everything, text) for text in target]
    own = [limit_of(everything, text) for text in limit or ()]
    named = [*(each.output for each in targets), *(each.output for each in own)]
    chain = Chain(config, surrogates, named, known.corrections)
    given, ranges = given_of(chain, fix, vary)
    stands = known.values or (recorded[-1].values if recorded else {})
    start, _ = starting(chain, given, stands)
    free = movable(chain, ranges, list(given))
    limits = [] if no_limits else specification(chain, named)
    problem = Problem(chain, tuple(targets), free, start, (*own, *limits))
    made = [_recorded(problem, each) for each in recorded]
    for path in results or ():
        if not path.is_dir():
            made += read_trials(path, problem)
    planner = Planner(problem, made, _noise(problem))
    steps = _steps(config, problem)
    stood = (made[-1].values if made else start)[[each.column for each in free]]
    with err.status("planning …"):
        found = [] if planner.met else planner.propose(trials, Reach(stood, moves * steps))
    if as_json:
        typer.echo(json.dumps(_document(planner, made, found, stood, steps)))
    else:
        _print(planner, made, found, stood, steps)


def read_trials(path: Path, problem: Problem) -> list[Trial]:
    """Trials from a CSV file: a column per setpoint that varies and per target, in their units.

    Further machine parameters may have a column, too; an empty cell is a target not measured.

    Raises:
        ValueError: a column means nothing, one is missing, or a cell is no number.
    """
    chain = problem.chain
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file)
        columns = {name: _column(chain, name.strip(), path) for name in reader.fieldnames or ()}
        there = {column for column in columns.values() if isinstance(column, int)}
        missing = [chain.variables[f.column].name for f in problem.free if f.column not in there]
        missing += [t.output for t in problem.targets if t.output not in columns.values()]
        if missing:
            raise ValueError(f"{path} has no column {', '.join(missing)}; add it to the header")
        return [_trial(problem, row, columns, path, number) for number, row in enumerate(reader, 2)]


def _column(chain: Chain, name: str, path: Path) -> int | str:
    """The variable or the `step.output` that a header means."""
    try:
        return chain.variable(name)
    except ValueError:
        pass
    try:
        return chain.find(name)
    except ValueError as error:
        raise ValueError(f"{path}: the column {name} means nothing here: {error}") from error


def _trial(
    problem: Problem, row: Mapping[str, str], columns: Mapping[str, int | str], path: Path, at: int
) -> Trial:
    chain = problem.chain
    values, made = problem.start.copy(), dict[str, float]()
    for name, column in columns.items():
        text = (row[name] or "").strip()
        if isinstance(column, str) and not text:
            continue
        unit = chain.unit(column) if isinstance(column, str) else chain.variables[column].unit
        try:
            value = float(text)
        except ValueError:
            raise ValueError(f"{path}, line {at}: {name} is {text!r}, not a number") from None
        scale, offset = to_si(unit)
        if isinstance(column, str):
            made[column] = value * scale + offset
        else:
            values[column] = value * scale + offset
    return Trial(values, np.array([made.get(t.output, math.nan) for t in problem.targets]))


def _recorded(problem: Problem, known: Standing) -> Trial:
    """What stood at the end of a recording, and what the gauges said of it by then."""
    values, _ = starting(problem.chain, {}, known.values)
    made = [
        known.corrections[each.output].learnt_at if each.output in known.corrections else math.nan
        for each in problem.targets
    ]
    return Trial(values, np.array(made))


def _noise(problem: Problem) -> Floats:
    """One sigma of a measured target, SI, as configured."""
    found = []
    for each in problem.targets:
        step, _, name = each.output.partition(".")
        output = problem.chain.line.steps[step].outputs.get(name)
        stated = output.uncertainty if output is not None else None
        scale = to_si(problem.chain.unit(each.output))[0]
        found.append(0.5 * each.tolerance if stated is None else stated * scale)
    return np.array(found)


def _steps(line: LineConfiguration, problem: Problem) -> Floats:
    """(free) largest step of each setpoint, SI; the whole range of what has none."""
    steps = np.array([each.high - each.low for each in problem.free])
    for row, free in enumerate(problem.free):
        for full in problem.chain.variables[free.column].inputs:
            step, _, name = full.partition(".")
            setpoint = line.steps[step].setpoints.get(name)
            if setpoint is not None:
                steps[row] = setpoint.max_step * to_si(line.tags[setpoint.tag].unit)[0]
    return steps


def _count(values: Floats, before: Floats, steps: Floats) -> int:
    """Moves that the setpoint with the longest way takes."""
    return int(np.ceil(np.max(np.abs(values - before) / steps) - 1e-9))


def _document(
    planner: Planner, made: Sequence[Trial], found: Sequence[Planned], stood: Floats, steps: Floats
) -> dict[str, Any]:
    problem = planner.problem
    chain = problem.chain
    columns = [each.column for each in problem.free]

    def machine(values: Floats) -> dict[str, float]:
        moving = ((chain.variables[column], float(values[column])) for column in columns)
        return {each.name: each.from_si(value) for each, value in moving}

    proposed = []
    for each in found:
        structure = {}
        for target, mean, sigma in zip(
            problem.targets, each.mean.tolist(), each.sigma.tolist(), strict=True
        ):
            unit = chain.unit(target.output)
            structure[target.output] = {
                "wanted": customary(unit, target.value),
                "expected": customary(unit, mean),
                "low": customary(unit, mean - Z90 * sigma),
                "high": customary(unit, mean + Z90 * sigma),
            }
        proposed.append(
            {
                "machine": machine(each.values),
                "moves": _count(each.values[columns], stood, steps),
                "structure": structure,
                "chance": each.chance,
            }
        )
        stood = each.values[columns]
    nearest = planner.nearest
    best = None
    if nearest is not None:
        best = {
            "trial": nearest + 1,
            "machine": machine(made[nearest].values),
            "structure": dict(
                finite(
                    {
                        target.output: customary(chain.unit(target.output), value)
                        for target, value in zip(
                            problem.targets, made[nearest].made.tolist(), strict=True
                        )
                    }
                )
            ),
        }
    return {
        "results": len(made),
        "met": planner.met,
        "nearest": best,
        "trials": proposed,
        "units": {
            **{chain.variables[column].name: chain.variables[column].unit for column in columns},
            **{target.output: chain.unit(target.output) for target in problem.targets},
        },
    }


def _print(
    planner: Planner, made: Sequence[Trial], found: Sequence[Planned], stood: Floats, steps: Floats
) -> None:
    problem = planner.problem
    said = _document(planner, made, found, stood, steps)
    if said["nearest"]:
        best = said["nearest"]
        what = ", ".join(
            f"{name} {number(value)} {readable(said['units'][name])}".rstrip()
            for name, value in best["structure"].items()
        )
        out.print(
            f"trial {best['trial']} of {len(made)} came nearest: {what}",
            highlight=False, soft_wrap=True,
        )  # fmt: skip
    if planner.met:
        out.print("it meets all targets: there is nothing to try", highlight=False)
        return
    table = Table(box=box.SIMPLE_HEAD, title="next trials", title_justify="left")
    for name, unit in said["units"].items():
        table.add_column(f"{name.partition('.')[2]}\n{readable(unit)}", justify="right")
    table.add_column("moves", justify="right")
    table.add_column("chance to meet\nall targets", justify="right")
    for each in said["trials"]:
        table.add_row(
            *(number(value) for value in each["machine"].values()),
            *(
                f"{number(told['expected'])} ({number(told['low'])} to {number(told['high'])})"
                for told in each["structure"].values()
            ),
            str(each["moves"]),
            f"{100 * each['chance']:.0f} %",
        )
    out.print(table)
    names = ", ".join(each.output for each in problem.targets)
    out.print(
        f"in brackets 90 % intervals of {names}; measure them and hand them back with --results",
        highlight=False, soft_wrap=True,
    )  # fmt: skip
