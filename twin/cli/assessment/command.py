"""`twin assess`: the virtual line under the twin and under its alternatives, and what each made."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, get_args

import typer
from rich import box
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from simulators.line import VirtualLine
from simulators.scenario import Scenario, load_scenario
from twin.app.line import read_line
from twin.app.logs import configure_logging
from twin.cli.assessment.comparing import Clause, add_ratios, clauses
from twin.cli.assessment.loops import find_loops
from twin.cli.assessment.metrics import Metric, metrics
from twin.cli.assessment.runs import (
    NAMES,
    Figure,
    Figures,
    Name,
    Run,
    Task,
    run_all,
    summarise,
    wins,
)
from twin.cli.assessment.wire import Wire
from twin.cli.cluster import Dask, computing_on
from twin.cli.terminal import Json, err, number, out
from twin.configuration import bundled
from twin.configuration.models import LineConfiguration

COMPARED = "metres_out_of_specification"


def scenario_file(name: str) -> Path:
    """A scenario file by its path, or a bundled one by its name.

    Raises:
        FileNotFoundError: no such scenario comes with the package.
    """
    path = Path(name)
    return path if path.suffix else bundled(f"scenarios/{name}.yaml")


def controllers(against: str) -> list[Name]:
    """The twin, and the controllers that a comma-separated text names.

    Raises:
        ValueError: there is no such controller.
    """
    found: list[Name] = ["twin"]
    for word in filter(None, (part.strip() for part in against.split(","))):
        known = [name for name in get_args(Name) if name == word]
        if not known:
            raise ValueError(
                f"--against {against}: there is no controller {word}; "
                f"write some of {', '.join(NAMES[1:])}, with commas between them"
            )
        found += [name for name in known if name not in found]
    return found


def read_scenarios(names: Sequence[str]) -> list[Scenario]:
    """The scenarios.

    Raises:
        ScenarioError, FileNotFoundError: one cannot be used.
        ValueError: two have the same name.
    """
    scenarios = [load_scenario(scenario_file(name)) for name in names]
    seen: set[str] = set()
    for scenario in scenarios:
        if scenario.name in seen:
            raise ValueError(f"two scenarios are named {scenario.name}; give one another name")
        seen.add(scenario.name)
    return scenarios


def check_line(line: LineConfiguration, scenarios: Sequence[Scenario]) -> None:
    """Whether a line can be controlled at all on the virtual line.

    Raises:
        ValueError: no setpoint of it serves a target, or the virtual line does not know it.
    """
    loops = find_loops(line)
    if not loops:
        raise ValueError(
            f"nothing to assess on {line.name}: no step on a web with an encoder has both a "
            "setpoint and an output with a target that a gauge reads"
        )
    tags = list(line.tags)
    for scenario in scenarios:
        wire = Wire(VirtualLine(scenario, 0), line)
        for loop in loops:
            if wire.signal(loop.setpoint) is None:
                raise ValueError(
                    f"the virtual line has no setpoint behind {tags[loop.setpoint]} of "
                    f"{line.name}; its nodes are those of `twin simulate`"
                )


@contextmanager
def _bar(total: int) -> Iterator[Callable[[int], None]]:
    """Runs done and time left, on standard error."""
    with Progress(
        TextColumn("assessing"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("runs, left"),
        TimeRemainingColumn(),
        console=err,
        transient=True,
    ) as bar:
        task = bar.add_task("assess", total=total)
        yield lambda count: bar.advance(task, count)


def assess(
    scenarios: Annotated[
        list[str], typer.Argument(help="Scenario files, or names of bundled ones.")
    ],
    seeds: Annotated[
        int, typer.Option(help="Virtual lines per scenario: seeds 1 to N.", min=1)
    ] = 5,
    against: Annotated[
        str, typer.Option(help="Rivals of the twin, of none, ewma, pi, oracle, hindsight.")
    ] = "none,ewma,pi,oracle,hindsight",
    line: Annotated[Path | None, typer.Option(help="Line configuration.")] = None,
    metres: Annotated[
        float | None, typer.Option(help="Web to coat, m, instead of the scenario's.", min=20)
    ] = None,
    jobs: Annotated[int, typer.Option(help="Processes; -1 is one per processor.")] = -1,
    dask: Dask = None,
    verdict: Annotated[
        bool,
        typer.Option("--verdict", help="Judge each demand on the twin; exit code 1 if one fails."),
    ] = False,
    report: Annotated[Path | None, typer.Option(help="Write a report, HTML.")] = None,
    as_json: Json = False,
) -> None:
    """Run the virtual line under the twin and its alternatives, and say what each made of it."""
    configure_logging(sys.stderr)
    path = line or bundled("line.yaml")
    configuration = read_line(path)
    read = read_scenarios(scenarios)
    check_line(configuration, read)
    names = controllers(against)
    tasks = [
        Task(scenario, seed, tuple(names)) for scenario in read for seed in range(1, seeds + 1)
    ]
    with _bar(len(tasks) * len(names)) as progress, computing_on(dask):
        runs = run_all(tasks, configuration, path.parent, metres, jobs or -1, progress)
    shown = metrics(configuration)
    found = summarise(runs, [metric.name for metric in shown])
    add_ratios(found, runs, configuration)
    judged = clauses(runs, configuration) if verdict else []
    if report is not None:
        # what draws takes a second to load
        from twin.cli.assessment.page import page

        report.write_text(page(configuration, runs, found), encoding="utf-8")
    if as_json:
        typer.echo(json.dumps(document(found)))
    else:
        _print(shown, found, runs)
        _print_verdict(judged)
    if not all(clause.held for clause in judged):
        raise typer.Exit(1)


def _print_verdict(found: Sequence[Clause]) -> None:
    if not found:
        return
    table = Table(
        title="verdict: mean over the seeds (95 % interval)", title_justify="left",
        box=box.SIMPLE_HEAD, padding=(0, 1),
    )  # fmt: skip
    for name in ("scenario", "demand", "found", "bound", ""):
        table.add_column(name, justify="right" if name in ("found", "bound") else "left")
    last = ""
    for clause in found:
        bound = f"≤ {number(clause.high)}" if clause.low == 0 else f"≥ {number(clause.low)}"
        if clause.low > 0 and clause.high not in (1, 100):
            bound = f"{number(clause.low)} to {number(clause.high)}"
        said = "held" if clause.held else "not held"
        table.add_row(
            clause.scenario if clause.scenario != last else "", clause.demand,
            in_words(clause.figure), bound, said if clause.sure else f"{said}, unsure",
            style=None if clause.held else "red",
        )  # fmt: skip
        last = clause.scenario
    out.print(table)


def document(
    found: Figures,
) -> dict[str, dict[str, dict[str, dict[str, float | None]]]]:
    """Scenario, controller, metric: median, low, high."""
    return {
        scenario: {
            controller: {metric: asdict(figure) for metric, figure in figures.items()}
            for controller, figures in of.items()
        }
        for scenario, of in found.items()
    }


def in_words(figure: Figure | None) -> str:
    """Median and interval."""
    if figure is None:
        return "–"
    if figure.low is None or figure.high is None:
        return number(figure.median)
    return f"{number(figure.median)} ({number(figure.low)} to {number(figure.high)})"


def against_each(runs: Sequence[Run], scenario: str) -> list[str]:
    """Seed by seed: where the twin made less out of specification than a rival, and where more."""
    sentences = []
    for (of, rival), (less, same, more) in wins(runs, COMPARED).items():
        if of == scenario:
            total = less + same + more
            sentences.append(
                f"against {rival}: fewer metres out of specification in {less} of {total} seeds, "
                f"as many in {same}, more in {more}"
            )
    return sentences


def _print(shown: Sequence[Metric], found: Figures, runs: Sequence[Run]) -> None:
    for scenario, of in found.items():
        table = Table(title=scenario, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1))
        table.add_column("median (95 % interval)")
        for controller in of:
            table.add_column(controller, justify="right")
        for metric in shown:
            cells = [in_words(figures.get(metric.name)) for figures in of.values()]
            if any(cell != "–" for cell in cells):
                unit = f", {metric.unit}" if metric.unit else ""
                table.add_row(f"{metric.label}{unit}", *cells)
        out.print(table)
        for sentence in against_each(runs, scenario):
            out.print(f"the twin {sentence}", highlight=False, style="dim")
