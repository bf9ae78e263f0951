"""Every controller on the virtual line from the same seeds, and what came of it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, get_args

import numpy as np
from joblib import Parallel, delayed

from simulators.line import VirtualLine
from simulators.scenario import Scenario
from twin.app import load_surrogates
from twin.cli.assessment.baselines import Ewma, GaugeControl, Pi
from twin.cli.assessment.control import Controller, Nobody, Twin
from twin.cli.assessment.loops import find_loops
from twin.cli.assessment.metrics import Coverage, in_unit, judge_truth, violations
from twin.cli.assessment.oracle import Oracle
from twin.cli.assessment.wire import Wire
from twin.comparison import Comparison
from twin.configuration.models import LineConfiguration
from twin.core import Core, CoreEvent
from twin.intervention import Intervention
from twin.prediction import Prediction
from twin.samples import Floats

Name = Literal["twin", "none", "ewma", "pi", "oracle"]
NAMES: Final[tuple[Name, ...]] = get_args(Name)
EPOCH: Final = 1_767_225_600_000_000_000
"""Line time at which every run starts, ns: 2026-01-01 UTC."""
RESAMPLES: Final = 5000


@dataclass(frozen=True, slots=True)
class Task:
    """One run that is to be made."""

    scenario: Scenario
    seed: int
    controller: Name


@dataclass(frozen=True, slots=True)
class Run:
    """One scenario under one controller from one seed."""

    scenario: str
    seed: int
    controller: Name
    figures: dict[str, float]
    """By metric; NaN where the run does not give it."""
    position: Floats
    """Of the segments, m of the coated web."""
    course: dict[str, Floats]
    """True structure parameters with a target, in the unit of the configuration, `step.output`."""


@dataclass(frozen=True, slots=True)
class Figure:
    """The median over the seeds and its 95 % interval; None with a single seed."""

    median: float
    low: float | None
    high: float | None


Figures = dict[str, dict[str, dict[str, Figure]]]
"""By scenario, controller and metric."""


def run_one(
    task: Task, line: LineConfiguration, beside: Path, metres: float | None, seconds: float = 1.0
) -> Run:
    """Run a scenario under a controller that looks at what was sent every `seconds` of line time.

    Args:
        task: what to run.
        line: the configuration, checked.
        beside: folder of the configuration, for its models.
        metres: what is coated; None for what the scenario says.
        seconds: of line time between two decisions.

    Raises:
        ValueError: a model cannot be used.
    """
    virtual = VirtualLine(task.scenario, task.seed, EPOCH, metres)
    wire = Wire(virtual, line)
    surrogates = load_surrogates(line, beside)
    coverage = Coverage({name: model.outputs for name, model in surrogates.items()}, line)

    def told(event: CoreEvent | Intervention) -> None:
        if isinstance(event, Prediction | Comparison):
            coverage.note(event)

    controller: Controller
    match task.controller:
        case "twin":
            controller = Twin(Core(line, surrogates), told=told)
        case "none":
            controller = Nobody()
        case "ewma":
            controller = GaugeControl(line, surrogates, Ewma)
        case "pi":
            controller = GaugeControl(line, surrogates, Pi)
        case "oracle":
            controller = Oracle(virtual, wire, find_loops(line))
    spent, decisions = 0.0, 0
    for batch in wire.batches(seconds):
        began = time.process_time()
        controller.take(batch, virtual.now_ns, wire.write)
        spent += time.process_time() - began
        decisions += 1
    segments = virtual.truth().segments
    return Run(
        task.scenario.name,
        task.seed,
        task.controller,
        {
            **judge_truth(line, task.scenario, segments, EPOCH),
            "interval_coverage": coverage.percent,
            "constraint_violations": float(violations(line, wire.moves)),
            "moves": float(len(wire.moves)),
            "milliseconds_per_decision": 1e3 * spent / max(decisions, 1),
        },
        np.asarray(segments["position"], np.float64),
        {
            f"{loop.step}.{loop.output}": in_unit(line, loop.step, loop.output, segments)
            for loop in find_loops(line)
            if loop.output in segments
        },
    )


def run_all(
    tasks: Sequence[Task],
    line: LineConfiguration,
    beside: Path,
    metres: float | None,
    jobs: int,
    progress: Callable[[], None],
) -> list[Run]:
    """All runs, over `jobs` processes (-1: as many as there are processors), in the given order."""
    work = (delayed(_numbered)(n, task, line, beside, metres) for n, task in enumerate(tasks))
    found: dict[int, Run] = {}
    finished: Iterator[tuple[int, Run]] = Parallel(jobs, return_as="generator_unordered")(work)
    for number, run in finished:
        found[number] = run
        progress()
    return [found[number] for number in range(len(tasks))]


def _numbered(
    number: int, task: Task, line: LineConfiguration, beside: Path, metres: float | None
) -> tuple[int, Run]:
    return number, run_one(task, line, beside, metres)


def summarise(runs: Sequence[Run], metrics: Sequence[str]) -> Figures:
    """Medians over the seeds; a metric that no run of a controller gives is left out."""
    found: Figures = {}
    for run in runs:
        found.setdefault(run.scenario, {}).setdefault(run.controller, {})
    for scenario, controllers in found.items():
        for controller, figures in controllers.items():
            mine = [r for r in runs if (r.scenario, r.controller) == (scenario, controller)]
            for metric in metrics:
                values = np.array([run.figures.get(metric, math.nan) for run in mine])
                known = values[np.isfinite(values)]
                if len(known):
                    figures[metric] = _figure(known)
    return found


def _figure(values: Floats) -> Figure:
    """Median and percentile bootstrap interval (Efron and Tibshirani 1993) over the seeds."""
    if len(values) < 2:
        return Figure(float(values[0]), None, None)
    draws = np.random.default_rng(0).integers(0, len(values), (RESAMPLES, len(values)))
    low, high = np.quantile(np.median(values[draws], axis=1), (0.025, 0.975))
    return Figure(float(np.median(values)), float(low), float(high))


def wins(runs: Sequence[Run], metric: str) -> Mapping[tuple[str, str], tuple[int, int, int]]:
    """Seeds with less of a metric under the twin, with as much, with more; by scenario, rival."""
    by_key = {(run.scenario, run.controller, run.seed): run.figures[metric] for run in runs}
    found: dict[tuple[str, str], tuple[int, int, int]] = {}
    for (scenario, controller, seed), value in by_key.items():
        mine = by_key.get((scenario, "twin", seed))
        if controller == "twin" or mine is None:
            continue
        less, same, more = found.get((scenario, controller), (0, 0, 0))
        found[scenario, controller] = (
            less + (mine < value),
            same + (mine == value),
            more + (mine > value),
        )
    return found
