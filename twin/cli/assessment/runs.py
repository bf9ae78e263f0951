"""Every controller on the virtual line from the same seeds, and what came of it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Literal, get_args

import numpy as np
from joblib import Parallel, delayed

from simulators.line import Emission, VirtualLine, advance_together
from simulators.scenario import Scenario
from twin.alarms import Alarm
from twin.app.line import load_surrogates
from twin.cli.assessment.baselines import Ewma, GaugeControl, Pi
from twin.cli.assessment.control import Controller, Nobody, Twin
from twin.cli.assessment.loops import find_loops
from twin.cli.assessment.metrics import (
    Coverage,
    in_unit,
    judge_truth,
    rms_misses,
    violations,
)
from twin.cli.assessment.oracle import Oracle
from twin.cli.assessment.watch import AlarmWatch, broken_gauges, without_gauge_faults
from twin.cli.assessment.wire import Wire
from twin.comparison import Comparison
from twin.configuration.models import LineConfiguration
from twin.core import Core, CoreEvent
from twin.ingest import NANOSECONDS
from twin.intervention import Intervention
from twin.ports import Surrogate
from twin.prediction import Prediction
from twin.samples import Floats

Name = Literal["twin", "none", "ewma", "pi", "oracle", "hindsight"]
NAMES: Final[tuple[Name, ...]] = get_args(Name)
EPOCH: Final = 1_767_225_600_000_000_000
"""Line time at which every run starts, ns: 2026-01-01 UTC."""
RESAMPLES: Final = 5000
LONGEST: Final = 5.0
"""Line time after which a controller looks at the line at the latest, s."""


@dataclass(frozen=True, slots=True)
class Task:
    """Runs that are to be made together: a scenario from one seed under every controller."""

    scenario: Scenario
    seed: int
    controllers: tuple[Name, ...]


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


def hand_over(line: LineConfiguration, scenario: Scenario) -> float:
    """Line time between two looks at the line, s: what half a segment takes, at most `LONGEST`."""
    speed = scenario.plant.recipe.coater_speed_m_min / 60.0
    return min(0.5 * line.segment / speed, LONGEST)


class _Course:
    """One controller on its own virtual line."""

    def __init__(
        self,
        task: Task,
        name: Name,
        line: LineConfiguration,
        surrogates: Mapping[str, Surrogate],
        metres: float | None,
    ) -> None:
        self.name: Name = name
        self.task = task
        self.line = line
        # nobody looks at what the machines send where nobody acts
        self.virtual = VirtualLine(task.scenario, task.seed, EPOCH, metres, name != "none")
        self.wire = Wire(self.virtual, line)
        self.coverage = Coverage({step: model.outputs for step, model in surrogates.items()}, line)
        self.alarms = AlarmWatch(line, task.scenario, self.wire)
        self.controller = self._controller(surrogates)
        self.spent, self.decisions = 0.0, 0

    def _controller(self, surrogates: Mapping[str, Surrogate]) -> Controller:
        match self.name:
            case "twin":
                return Twin(Core(self.line, surrogates), told=self._told)
            case "none":
                return Nobody()
            case "ewma":
                return GaugeControl(self.line, surrogates, Ewma)
            case "pi":
                return GaugeControl(self.line, surrogates, Pi)
            case "oracle":
                return Oracle(self.virtual, self.wire, find_loops(self.line))
            case "hindsight":
                return Oracle(self.virtual, self.wire, find_loops(self.line), behind=True)

    def _told(self, event: CoreEvent | Intervention) -> None:
        if isinstance(event, Prediction | Comparison | Alarm):
            self.coverage.note(event)
        if isinstance(event, Alarm):
            self.alarms.note(event)

    def take(self, sent: Emission) -> None:
        """Hand over what the line sent."""
        batch = self.wire.batch(sent)
        began = time.process_time()
        self.controller.take(batch, self.virtual.now_ns, self.wire.write)
        self.spent += time.process_time() - began
        self.decisions += 1

    def judged(self) -> Run:
        """What came of it."""
        segments = self.virtual.truth().segments
        whole, lowest = self.coverage.percent()
        watched = self.alarms.figures(segments, EPOCH) if self.name == "twin" else {}
        return Run(
            self.task.scenario.name,
            self.task.seed,
            self.name,
            {
                **judge_truth(self.line, self.task.scenario, segments, EPOCH),
                "interval_coverage": whole,
                "lowest_coverage": lowest,
                **watched,
                "constraint_violations": float(violations(self.line, self.wire.moves)),
                "moves": float(len(self.wire.moves)),
                "milliseconds_per_decision": 1e3 * self.spent / max(self.decisions, 1),
            },
            np.asarray(segments["position"], np.float64),
            {
                f"{loop.step}.{loop.output}": in_unit(self.line, loop.step, loop.output, segments)
                for loop in find_loops(self.line)
                if loop.output in segments
            },
        )


def run_task(task: Task, line: LineConfiguration, beside: Path, metres: float | None) -> list[Run]:
    """Run a scenario under every controller of the task, in step with one another.

    Args:
        task: what to run.
        line: the configuration, checked.
        beside: folder of the configuration, for its models.
        metres: what is coated; None for what the scenario says.

    Raises:
        ValueError: a model cannot be used.
    """
    surrogates = load_surrogates(line, beside)
    courses = [_Course(task, name, line, surrogates, metres) for name in task.controllers]
    healthy = _healthy(task, line, surrogates, metres)
    step, now = int(hand_over(line, task.scenario) * NANOSECONDS), EPOCH
    every = [*courses, *healthy]
    while running := [course for course in every if not course.virtual.finished]:
        now += step
        sent = advance_together([course.virtual for course in running], now)
        for course, emission in zip(running, sent, strict=True):
            course.take(emission)
    runs = [course.judged() for course in courses]
    for course in healthy:
        told = rms_misses(line, task.scenario, course.virtual.truth().segments, EPOCH)
        for own, run in zip(courses, runs, strict=True):
            mine = rms_misses(line, task.scenario, own.virtual.truth().segments, EPOCH)
            if own.name == course.name:
                run.figures.update({f"miss_of_healthy_{n}": mine[n] / told[n] for n in told})
    return runs


def _healthy(
    task: Task,
    line: LineConfiguration,
    surrogates: Mapping[str, Surrogate],
    metres: float | None,
) -> list[_Course]:
    """The twin on the same day with healthy gauges, where the scenario breaks some."""
    if "twin" not in task.controllers or not broken_gauges(task.scenario):
        return []
    day = replace(task, scenario=without_gauge_faults(task.scenario))
    length = metres if metres is not None else task.scenario.metres
    return [_Course(day, "twin", line, surrogates, length)]


def run_all(
    tasks: Sequence[Task],
    line: LineConfiguration,
    beside: Path,
    metres: float | None,
    jobs: int,
    progress: Callable[[int], None],
) -> list[Run]:
    """All runs, over `jobs` processes (-1: as many as there are processors), in the given order."""
    work = (delayed(_numbered)(n, task, line, beside, metres) for n, task in enumerate(tasks))
    found: dict[int, list[Run]] = {}
    finished: Iterator[tuple[int, list[Run]]] = Parallel(jobs, return_as="generator_unordered")(
        work
    )
    for number, runs in finished:
        found[number] = runs
        progress(len(runs))
    return [run for number in range(len(tasks)) for run in found[number]]


def _numbered(
    number: int, task: Task, line: LineConfiguration, beside: Path, metres: float | None
) -> tuple[int, list[Run]]:
    return number, run_task(task, line, beside, metres)


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
