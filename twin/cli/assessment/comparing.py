"""Controllers against each other, seed by seed: ratios with intervals, and the verdict on them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from twin.cli.assessment.metrics import STEADY, targets
from twin.cli.assessment.runs import RESAMPLES, Figure, Figures, Run
from twin.configuration.models import LineConfiguration
from twin.samples import Floats, Ints

FINE: Final = 0.95
"""Share of the web within limits where a line is fine without control."""
WASTE: Final = "metres_out_of_specification"
Statistic = Callable[[Floats], Floats]
"""Over the last axis: the seeds."""


@dataclass(frozen=True, slots=True)
class Clause:
    """One demand on one scenario, and what was found."""

    scenario: str
    demand: str
    figure: Figure
    low: float
    high: float

    @property
    def held(self) -> bool:
        """Whether the figure itself, not only its interval, is within the bounds."""
        return self.low <= self.figure.median <= self.high

    @property
    def sure(self) -> bool:
        """Whether the whole interval says the same."""
        ends = [end for end in (self.figure.low, self.figure.high) if end is not None]
        return bool(ends) and all((self.low <= end <= self.high) == self.held for end in ends)


def _means(values: Floats) -> Floats:
    return np.asarray(np.mean(values, axis=-1), np.float64)


def _medians(values: Floats) -> Floats:
    return np.asarray(np.median(values, axis=-1), np.float64)


class Paired:
    """The runs of one scenario, with the same seeds in the same order under every controller."""

    def __init__(self, runs: Sequence[Run]) -> None:
        seeds = sorted({run.seed for run in runs})
        self._count = len(seeds)
        names = {run.controller for run in runs}
        by_key = {(run.controller, run.seed): run.figures for run in runs}
        self._figures: dict[str, list[dict[str, float]]] = {
            name: [by_key[name, seed] for seed in seeds] for name in names
        }
        rng = np.random.default_rng(0)
        self._draws = rng.integers(0, self._count, (RESAMPLES, self._count))

    def of(self, controller: str, metric: str) -> Floats | None:
        """By seed; None where the controller did not run or does not give it."""
        told = self._figures.get(controller, [])
        values = np.array([each.get(metric, math.nan) for each in told])
        return values if len(values) and np.isfinite(values).all() else None

    def figure(self, values: Floats, statistic: Statistic = _means) -> Figure:
        """A statistic over the seeds, and its 95 % percentile bootstrap interval."""
        return self._interval(lambda draws: statistic(values[draws]))

    def ratio(self, metric: str, to: str, statistic: Statistic = _means) -> Figure | None:
        """A statistic of the twin's over that of another's; seeds are drawn in pairs."""
        mine, theirs = self.of("twin", metric), self.of(to, metric)
        if mine is None or theirs is None:
            return None

        def quotient(draws: Ints) -> Floats:
            above, below = statistic(mine[draws]), statistic(theirs[draws])
            # nothing over nothing is as good; anything over nothing is endless
            with np.errstate(divide="ignore", invalid="ignore"):
                return np.where((above == 0) & (below == 0), 1.0, above / below)

        return self._interval(quotient)

    def better(self, metric: str, names: Sequence[str]) -> str | None:
        """Whoever of them has the lower mean."""
        found = {name: values for name in names if (values := self.of(name, metric)) is not None}
        return min(found, key=lambda name: float(found[name].mean())) if found else None

    def _interval(self, statistic: Callable[[Ints], Floats]) -> Figure:
        point = float(statistic(np.arange(self._count)))
        if self._count < 2:
            return Figure(point, None, None)
        low, high = np.quantile(statistic(self._draws), (0.025, 0.975), method="nearest")
        return Figure(point, float(low), float(high))


def _fine(runs: Sequence[Run], line: LineConfiguration, step: str, name: str) -> list[Run]:
    """Of the seeds where nobody has to control a parameter: it ends within its limits by itself."""
    config = line.steps[step].outputs[name]
    low, high = config.limits or (-math.inf, math.inf)
    seeds = set()
    for run in runs:
        value = run.course.get(f"{step}.{name}")
        if run.controller != "none" or value is None or not len(value):
            continue
        last = value[run.position > (1.0 - STEADY) * run.position[-1]]
        last = last[np.isfinite(last)]
        if len(last) and ((last >= low) & (last <= high)).mean() > FINE:
            seeds.add(run.seed)
    return [run for run in runs if run.seed in seeds]


def add_ratios(found: Figures, runs: Sequence[Run], line: LineConfiguration) -> None:
    """Put what relates the twin to others among its figures; endless ratios are left out."""
    for scenario, controllers in found.items():
        if "twin" not in controllers:
            continue
        pairs = Paired([run for run in runs if run.scenario == scenario])
        rival = pairs.better(WASTE, ("ewma", "pi"))
        ratios: dict[str, Figure | None] = {
            "waste_of_none": pairs.ratio(WASTE, "none"),
            "waste_of_feedback": pairs.ratio(WASTE, rival) if rival else None,
            "waste_of_oracle": pairs.ratio(WASTE, "oracle", _medians),
            "waste_of_hindsight": pairs.ratio(WASTE, "hindsight", _medians),
        }
        for _, name, _ in targets(line):
            ratios[f"steady_std_{name}_of_none"] = pairs.ratio(f"steady_std_{name}", "none")
        for name, figure in ratios.items():
            if figure is None:
                continue
            ends = (figure.median, figure.low or 0.0, figure.high or 0.0)
            if all(math.isfinite(end) for end in ends):
                controllers["twin"][name] = figure


def clauses(runs: Sequence[Run], line: LineConfiguration) -> list[Clause]:
    """What is demanded of the twin, scenario by scenario, as far as the runs can tell."""
    found: list[Clause] = []
    for scenario in dict.fromkeys(run.scenario for run in runs):
        pairs = Paired([run for run in runs if run.scenario == scenario])

        def demand(
            text: str, figure: Figure | None, low: float, high: float, of: str = scenario
        ) -> None:
            if figure is not None:
                found.append(Clause(of, text, figure, low, high))

        rival = pairs.better(WASTE, ("ewma", "pi"))
        demand("metres out of specification, of none", pairs.ratio(WASTE, "none"), 0, 0.35)
        if rival:
            demand(f"of the better of ewma and pi ({rival})", pairs.ratio(WASTE, rival), 0, 0.70)
        for name in ("oracle", "hindsight"):
            demand(f"of {name}, medians", pairs.ratio(WASTE, name, _medians), 0, 1.5)
        for step, name, _ in targets(line):
            fine = _fine([run for run in runs if run.scenario == scenario], line, step, name)
            if fine:
                words = f"steady std of {name.replace('_', ' ')}, of none"
                ratio = Paired(fine).ratio(f"steady_std_{name}", "none")
                demand(f"{words} ({len({run.seed for run in fine})} seeds)", ratio, 0, 1.05)
        for metric, text, low, high in (
            ("interval_coverage", "coverage of the 90 % intervals, %", 88, 92),
            ("lowest_coverage", "in the worst 200 m after 100 m, %", 80, 100),
            *(
                (
                    f"miss_of_healthy_{name}",
                    f"RMS miss of {name.replace('_', ' ')}, of healthy gauges",
                    0,
                    1.5,
                )
                for _, name, _ in targets(line)
            ),
            ("suspect_named", "seeds with the right gauge named within 60 m, share", 0.95, 1),
            ("false_alarms_per_1000_m", "false alarms per 1 000 m", 0, 0.2),
            ("constraint_violations", "constraint violations", 0, 0),
        ):
            values = pairs.of("twin", metric)
            demand(text, None if values is None else pairs.figure(values), low, high)
    return found
