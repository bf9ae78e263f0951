"""What a run was worth, by the truth of the virtual line and not by its gauges."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from simulators.scenario import Scenario
from twin.cli.assessment.wire import Move
from twin.comparison import Comparison
from twin.configuration.models import LineConfiguration
from twin.prediction import Prediction
from twin.samples import Bools, Floats, Ints
from twin.units import to_si

TRUTH_UNITS: Final = {
    "wet_thickness": "um",
    "mass_loading": "g/m^2",
    "web_temperature": "degC",
    "residual_solvent": "dimensionless",
    "dry_thickness": "um",
    "dry_porosity": "dimensionless",
    "adhesion": "N/m",
    "calendered_thickness": "um",
    "porosity": "dimensionless",
    "line_load": "N/mm",
}
"""Structure parameters in the truth, and its units."""
SMOOTHED: Final = 2.5
"""Web over which a structure parameter is averaged before it is said to have settled, m."""
INTERVAL: Final = 1.645
"""Sigma of a normal 90 % interval."""

Columns = Mapping[str, NDArray[np.generic]]


@dataclass(frozen=True, slots=True)
class Metric:
    """What a figure is."""

    name: str
    label: str
    unit: str


def metrics(line: LineConfiguration) -> list[Metric]:
    """The figures of an assessment of a line, in the order in which people read them."""
    found = [Metric("metres_out_of_specification", "out of specification", "m")]
    for _, name, unit in _targets(line):
        found.append(Metric(f"std_{name}", f"std of {_words(name)}", unit))
    for _, name, _ in _targets(line):
        found.append(Metric(f"settling_{name}", f"settling of {_words(name)}", "m"))
    for _, name, unit in _targets(line):
        found.append(Metric(f"overshoot_{name}", f"overshoot of {_words(name)}", unit))
    return [
        *found,
        Metric("interval_coverage", "measured in the 90 % interval", "%"),
        Metric("constraint_violations", "constraint violations", ""),
        Metric("moves", "moves", ""),
        Metric("milliseconds_per_decision", "CPU time per decision", "ms"),
    ]


def _words(name: str) -> str:
    return name.replace("_", " ")


def _targets(line: LineConfiguration) -> Iterator[tuple[str, str, str]]:
    """Steps and structure parameters with a target that the truth holds, and their units."""
    for step_name, step in line.steps.items():
        for name, output in step.outputs.items():
            if output.target is not None and name in TRUTH_UNITS:
                yield step_name, name, output.unit


def in_unit(line: LineConfiguration, step: str, name: str, segments: Columns) -> Floats:
    """A structure parameter of all segments by the truth, in the unit of the configuration."""
    scale, offset = to_si(TRUTH_UNITS[name])
    to_scale, to_offset = to_si(line.steps[step].outputs[name].unit)
    value = np.asarray(segments[name], np.float64)
    return (value * scale + offset - to_offset) / to_scale


def judge_truth(
    line: LineConfiguration, scenario: Scenario, segments: Columns, start: int
) -> dict[str, float]:
    """The figures that rest on the truth alone.

    Args:
        line: its targets and specification.
        scenario: what happened, and when first.
        segments: of the truth.
        start: line time of the line's start, ns.
    """
    length = scenario.plant.segment_m
    made = np.isfinite(np.asarray(segments["calendered_thickness"], np.float64))
    inside = made.copy()
    for step_name, step in line.steps.items():
        for name, output in step.outputs.items():
            if output.limits is not None and name in TRUTH_UNITS:
                value = in_unit(line, step_name, name, segments)
                inside &= (value >= output.limits[0]) & (value <= output.limits[1])
    found = {"metres_out_of_specification": float((made & ~inside).sum()) * length}
    coated = np.asarray(segments["coated"], np.int64)
    calendered = np.asarray(segments["calendered"], np.int64)
    first = _first_action(scenario, coated, start)
    position = np.asarray(segments["position"], np.float64)
    late = made & (position >= 0.5 * position[-1])
    for step_name, name, _ in _targets(line):
        value = in_unit(line, step_name, name, segments)
        found[f"std_{name}"] = float(np.std(value[late])) if late.any() else math.nan
        on_roll = name in ("calendered_thickness", "porosity", "line_load")
        time = calendered if on_roll else coated
        order = np.argsort(time, kind="stable")
        after = order[(time[order] >= first) & np.isfinite(value[order])]
        settling, overshoot = _response(line, step_name, name, value[after], length)
        found[f"settling_{name}"] = settling
        found[f"overshoot_{name}"] = overshoot
    return found


def _first_action(scenario: Scenario, coated: Ints, start: int) -> int:
    """Line time at which the scenario first does something; its start where it does nothing."""
    times = []
    for action in scenario.actions:
        if action.at.time is not None:
            times.append(start + round(action.at.time * 1e9))
        elif action.at.metre is not None and len(coated):
            index = min(int(action.at.metre / scenario.plant.segment_m), len(coated) - 1)
            times.append(int(coated[index]))
    return min(times, default=start)


def _response(
    line: LineConfiguration, step: str, name: str, value: Floats, length: float
) -> tuple[float, float]:
    """Metres until the smoothed value stays within limits, and how far it goes to the other side.

    Values in the order in which they were made. Where it never stays, all metres that there are.
    """
    config = line.steps[step].outputs[name]
    target = config.target or 0.0
    low, high = config.limits or (0.98 * target, 1.02 * target)
    width = max(round(SMOOTHED / length), 1)
    if len(value) < width:
        return math.nan, math.nan
    smooth = np.convolve(value, np.full(width, 1.0 / width), "valid")
    outside = np.flatnonzero((smooth < low) | (smooth > high))
    settled = float(outside[-1] + width) * length if len(outside) else 0.0
    missed = smooth - target
    peak = int(np.abs(missed).argmax())
    opposite = -np.sign(missed[peak]) * missed[peak:]
    return settled, max(float(opposite.max()), 0.0)


def violations(line: LineConfiguration, moves: Sequence[Move]) -> int:
    """Moves that leave a setpoint's limits or exceed its largest step, or of no setpoint at all."""
    index = {name: number for number, name in enumerate(line.tags)}
    rules = {}
    for step in line.steps.values():
        for setpoint in step.setpoints.values():
            scale, offset = to_si(line.tags[setpoint.tag].unit)
            low, high = (limit * scale + offset for limit in setpoint.limits)
            rules[index[setpoint.tag]] = low, high, setpoint.max_step * scale
    count = 0
    for move in moves:
        if move.tag not in rules:
            count += 1
            continue
        low, high, largest = rules[move.tag]
        slack = 1e-6 * largest
        within = low - slack <= move.after <= high + slack
        count += not (within and abs(move.after - move.before) <= largest + slack)
    return count


class Coverage:
    """Share of the gauges' measurements inside the intervals stated for the same material.

    Args:
        outputs: names of each step's predicted columns.
        line: says which structure parameters a gauge reads.
    """

    def __init__(self, outputs: Mapping[str, Sequence[str]], line: LineConfiguration) -> None:
        self._columns = {
            (step, name): list(outputs[step]).index(name)
            for step, config in line.steps.items()
            for name, output in config.outputs.items()
            if output.measured_by is not None
        }
        self._sigma: defaultdict[str, dict[int, Floats]] = defaultdict(dict)
        self._inside = self._all = 0

    def note(self, event: Prediction | Comparison) -> None:
        """Take a prediction, or the comparison that follows it."""
        if isinstance(event, Prediction):
            rows = zip(event.segments.tolist(), event.sigma, strict=True)
            self._sigma[event.step].update(rows)
            return
        column = self._columns.get((event.step, event.output))
        if column is None:
            return
        stated = self._sigma[event.step]
        none = np.full(column + 1, np.nan)
        sigma = np.array([stated.get(at, none)[column] for at in event.segments.tolist()])
        known: Bools = np.isfinite(sigma) & np.isfinite(event.residual)
        inside = np.abs(event.residual[known]) <= INTERVAL * sigma[known]
        self._all += int(known.sum())
        self._inside += int(inside.sum())

    @property
    def percent(self) -> float:
        """So far; NaN where nothing was compared."""
        return 100.0 * self._inside / self._all if self._all else math.nan
