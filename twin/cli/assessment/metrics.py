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
from twin.alarms import Alarm
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
STEADY: Final = 0.25
"""Last part of the coated web, on which a line is taken to be steady."""
SETTLED: Final = 100.0
"""Web before the windows in which coverage is looked at, m."""
WINDOW: Final = 200.0
"""Length of such a window, m."""

FOREVER: Final = 2**62

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
    for _, name, unit in targets(line):
        found.append(Metric(f"std_{name}", f"std of {_words(name)}", unit))
    for _, name, unit in targets(line):
        found.append(Metric(f"steady_std_{name}", f"steady std of {_words(name)}", unit))
    for _, name, _ in targets(line):
        found.append(Metric(f"settling_{name}", f"settling of {_words(name)}", "m"))
    for _, name, unit in targets(line):
        found.append(Metric(f"overshoot_{name}", f"overshoot of {_words(name)}", unit))
    return [
        *found,
        Metric("interval_coverage", "measured in the 90 % interval", "%"),
        Metric("lowest_coverage", "the same in the worst 200 m", "%"),
        Metric("detection_delay", "from the first action to an alarm", "m"),
        Metric("suspect_named", "right gauge named within 60 m", ""),
        Metric("false_alarms_per_1000_m", "false alarms per 1 000 m", ""),
        Metric("constraint_violations", "constraint violations", ""),
        Metric("moves", "moves", ""),
        Metric("milliseconds_per_decision", "CPU time per decision", "ms"),
        Metric("waste_of_none", "out of specification relative to none", ""),
        Metric("waste_of_feedback", "relative to the better of ewma and pi", ""),
        Metric("waste_of_oracle", "relative to oracle", ""),
        Metric("waste_of_hindsight", "relative to hindsight", ""),
        *(
            Metric(f"steady_std_{name}_of_none", f"steady std of {_words(name)}, of none", "")
            for _, name, _ in targets(line)
        ),
        *(
            Metric(f"miss_of_healthy_{name}", f"RMS miss of {_words(name)}, of healthy gauges", "")
            for _, name, _ in targets(line)
        ),
    ]


def _words(name: str) -> str:
    return name.replace("_", " ")


def targets(line: LineConfiguration) -> Iterator[tuple[str, str, str]]:
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
    first = first_action(scenario, segments, start) or start
    position = np.asarray(segments["position"], np.float64)
    late = made & (position >= 0.5 * position[-1])
    last = made & (position >= (1.0 - STEADY) * position[-1])
    for step_name, name, _ in targets(line):
        value = in_unit(line, step_name, name, segments)
        found[f"std_{name}"] = float(np.std(value[late])) if late.any() else math.nan
        found[f"steady_std_{name}"] = float(np.std(value[last])) if last.any() else math.nan
        on_roll = name in ("calendered_thickness", "porosity", "line_load")
        time = calendered if on_roll else coated
        order = np.argsort(time, kind="stable")
        after = order[(time[order] >= first) & np.isfinite(value[order])]
        settling, overshoot = _response(line, step_name, name, value[after], length)
        found[f"settling_{name}"] = settling
        found[f"overshoot_{name}"] = overshoot
    return found


def first_action(scenario: Scenario, segments: Columns, start: int) -> int | None:
    """Line time at which the scenario first does something; None where it does nothing."""
    times = []
    coated = np.asarray(segments["coated"], np.int64)
    position = np.asarray(segments["position"], np.float64)
    for action in scenario.actions:
        if action.at.time is not None:
            times.append(start + round(action.at.time * 1e9))
        elif action.at.metre is not None and len(coated):
            times.append(round(float(np.interp(action.at.metre, position, coated))))
    return min(times, default=None)


def rms_misses(
    line: LineConfiguration, scenario: Scenario, segments: Columns, start: int
) -> dict[str, float]:
    """RMS distance of every target's parameter from it after the first action, in its unit."""
    coated = np.asarray(segments["coated"], np.int64)
    first = first_action(scenario, segments, start) or start
    found = {}
    for step, name, _ in targets(line):
        value = in_unit(line, step, name, segments)[coated >= first]
        missed = value[np.isfinite(value)] - (line.steps[step].outputs[name].target or 0.0)
        found[name] = float(np.sqrt(np.mean(missed**2))) if len(missed) else math.nan
    return found


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

    What a gauge reads while the twin does not follow it, with a high alarm, is no measurement.

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
        self._gauges = {
            (step, name): line.steps[step].outputs[name].measured_by for step, name in self._columns
        }
        self._sigma: defaultdict[str, dict[int, Floats]] = defaultdict(dict)
        self._read: defaultdict[str | None, list[tuple[Ints, Ints, Bools]]] = defaultdict(list)
        """By gauge: segments, when they were read, and whether the interval held."""
        self._named: defaultdict[str, dict[int, int]] = defaultdict(dict)
        """By suspect: when an alarm named it, and until when."""
        self._length = line.segment

    def note(self, event: Prediction | Comparison | Alarm) -> None:
        """Take a prediction, the comparison that follows it, or an alarm."""
        if isinstance(event, Alarm):
            if event.source == "diagnosis" and event.priority == "high":
                until = FOREVER if event.active else event.changed
                self._named[event.suspect][event.time] = until
            return
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
        gauge = self._gauges[event.step, event.output]
        self._read[gauge].append((event.segments[known], event.time[known], inside))

    def _trusted(self) -> tuple[Ints, Bools]:
        """Segments read by gauges that no alarm named then, and whether the interval held."""
        segments, inside = [np.empty(0, np.int64)], [np.empty(0, np.bool_)]
        for gauge, parts in self._read.items():
            of, time, held = (np.concatenate(each) for each in zip(*parts, strict=True))
            named = np.zeros(len(time), np.bool_)
            for since, until in self._named.get(gauge or "", {}).items():
                named |= (time >= since) & (time < until)
            segments.append(of[~named])
            inside.append(held[~named])
        return np.concatenate(segments), np.concatenate(inside)

    def percent(self) -> tuple[float, float]:
        """Over the whole web, and in the window of `WINDOW` behind `SETTLED` where it is lowest.

        NaN where nothing was compared, and where the web is too short for a window.
        """
        segments, inside = self._trusted()
        if not len(inside):
            return math.nan, math.nan
        position = (segments + 0.5) * self._length
        whole = 100.0 * float(inside.mean())
        edges = np.arange(0.0, position.max(initial=0.0) + self._length, self._length)
        hits, count = (
            np.append(0, np.cumsum(np.histogram(position, edges, weights=weights)[0]))
            for weights in (inside.astype(np.float64), np.ones(len(inside)))
        )
        first, width = round(SETTLED / self._length), round(WINDOW / self._length)
        if len(edges) <= first + width:
            return whole, math.nan
        of = (hits[width:] - hits[:-width])[first:] / (count[width:] - count[:-width])[first:]
        return whole, 100.0 * float(np.nanmin(of))
