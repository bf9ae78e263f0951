"""What charts fetch: history at the resolution of the screen, roll maps, a CSV to cut by."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from typing import Any, Final, Literal

import numpy as np

from twin.chain import readable
from twin.control_chart import CUSUM_LIMIT, EWMA_LIMIT
from twin.desk.trends import Along, Series
from twin.desk.views import Parameter, RollMap, RollParameter
from twin.ingest import NANOSECONDS
from twin.samples import Floats
from twin.screen.feed import KINDS
from twin.screen.parts import decimals
from twin.screen.visit import Source
from twin.screen.words import Words, digits

POINTS: Final = 900
"""Of a series: about one for two pixels."""
CONTROL: Final = 3.0
"""Half width of the control limits in sigmas (Shewhart, 1931)."""
Z90: Final = 1.6449
QUIET: Final = 0.03
"""Share of a value that colours a roll from end to end where it has no limits."""
MOST_CELLS: Final = 1200
"""Along a roll; longer rolls show the worst of each stretch."""


async def trend(reader: Source, name: str, along: Along, seconds: float) -> dict[str, Any]:
    """A parameter's history as rows: abscissa, predicted, low, high, measured, residual, charts.

    Args:
        reader: of the line or of a recording.
        name: `step.output`.
        along: time or the web.
        seconds: how far back.

    Raises:
        ValueError, UnknownError: no such parameter.
    """
    step = await reader.step(name.partition(".")[0])
    parameter = next((each for each in step.overview.parameters if each.name == name), None)
    if parameter is None:
        raise ValueError(f"there is no parameter {name}")
    known = reader.series()
    kinds = [kind for kind in KINDS if f"{name}.{kind}" in known]
    now = await _now(reader)
    start = max(now - int(seconds * NANOSECONDS), 1)
    end = max(now + 1, start + 1)
    found = await reader.trend([f"{name}.{kind}" for kind in kinds], start, end, POINTS, along)
    scale = 1e-6 if along == "time" else 1.0
    rows = _rows({each.name.rpartition(".")[2]: each for each in found.series}, scale)
    return {
        "unit": _unit(parameter),
        "digits": decimals(parameter),
        "target": parameter.target,
        "limits": parameter.limits,
        "control": _control(rows),
        "charts": {"ewma": EWMA_LIMIT, "cusum": CUSUM_LIMIT},
        "end": end * 1e-6,
        "points": rows,
    }


async def _now(reader: Source) -> int:
    """Line time, ns."""
    return round((await reader.line()).time.timestamp() * 1e6) * 1000


def _unit(parameter: Parameter) -> str:
    return readable(parameter.unit)


def _rows(series: dict[str, Series], scale: float) -> list[list[float | None]]:
    """One row per bucket that has something; the residual that is farthest from 0 in it."""
    every = [each.at for each in series.values() if len(each.at)]
    if not every:
        return []
    at = np.unique(np.concatenate(every))
    columns = []
    for kind in KINDS:
        column = np.full(len(at), np.nan)
        found = series.get(kind)
        if found is not None and len(found.at):
            column[np.searchsorted(at, found.at)] = _drawn(kind, found)
        columns.append(column)
    table = np.column_stack([at * scale, *columns])
    return [[_number(value) for value in row] for row in table.tolist()]


def _drawn(kind: str, found: Series) -> Floats:
    if kind not in ("residual", "ewma", "cusum"):
        return found.mean
    # what sticks out must not vanish in a mean
    return np.where(np.abs(found.minimum) > np.abs(found.maximum), found.minimum, found.maximum)


def _number(value: float) -> float | None:
    return float(f"{value:.10g}") if math.isfinite(value) else None


def _control(rows: Sequence[Sequence[float | None]]) -> dict[str, float] | None:
    """Limits within which the residual wanders by chance, as the twin itself states: 3 sigma."""
    halves = [(row[3] - row[2]) / 2 for row in rows if row[2] is not None and row[3] is not None]
    if not halves:
        return None
    sigma = float(np.median(halves)) / Z90
    return {"center": 0.0, "low": -CONTROL * sigma, "high": CONTROL * sigma}


async def series(
    reader: Source, words: Words, names: Sequence[str], seconds: float
) -> dict[str, Any]:
    """Any series over time, e.g. six of a day.

    Raises:
        ValueError, UnknownError: no such series, or too many.
    """
    now = await _now(reader)
    start = max(now - int(seconds * NANOSECONDS), 1)
    found = await reader.trend(list(names), start, max(now + 1, start + 1), POINTS, "time")
    return {
        "start": start * 1e-6,
        "end": now * 1e-6,
        "series": [
            {
                "name": each.name,
                "label": words.last(each.name),
                "unit": words.unit(each.unit),
                "points": [
                    [at * 1e-6, _number(value)]
                    for at, value in zip(each.at.tolist(), each.mean.tolist(), strict=True)
                ],
            }
            for each in found.series
        ],
    }


def roll_cells(found: RollMap, name: str, kind: Literal["measured", "residual"]) -> dict[str, Any]:
    """A parameter along a roll as cells of a heat map, coloured from limit to limit.

    Args:
        found: the roll.
        name: `step.output`.
        kind: what was measured, or how far that is from what was predicted.

    Raises:
        ValueError: the roll has no such parameter.
    """
    parameter = next((each for each in found.parameters if each.name == name), None)
    if parameter is None:
        raise ValueError(f"nothing is known of {name} on this roll")
    column = parameter.measured if kind == "measured" else parameter.residual
    measured = np.array([math.nan if value is None else value for value in column])
    metre = np.array(parameter.metre)
    low, high = _ends(parameter, measured, kind)
    at, value = _binned(metre, measured, (low + high) / 2)
    return {
        "unit": readable(parameter.unit),
        "digits": digits(low, high),
        "low": low,
        "high": high,
        "x": [round(each, 2) for each in at.tolist()],
        "limited": kind == "measured" and parameter.limits is not None,
        "lanes": [""],
        "cells": [
            [index, 0, _number(each)]
            for index, each in enumerate(value.tolist())
            if math.isfinite(each)
        ],
    }


def _ends(
    parameter: RollParameter, measured: Floats, kind: Literal["measured", "residual"]
) -> tuple[float, float]:
    """Between which values the colour goes: noise has to stay grey."""
    if parameter.limits is not None:
        reach = (parameter.limits[1] - parameter.limits[0]) / 2
        return parameter.limits if kind == "measured" else (-reach, reach)
    known = measured[np.isfinite(measured)]
    if not len(known):
        return 0.0, 1.0
    middle = float(np.median(known)) if kind == "measured" else 0.0
    reach = max(float(np.ptp(known)) / 2, QUIET * abs(float(np.median(known))), 1e-12)
    return middle - reach, middle + reach


def _binned(metre: Floats, value: Floats, middle: float) -> tuple[Floats, Floats]:
    """The value farthest from the middle of each stretch."""
    if len(metre) <= MOST_CELLS:
        return metre, value
    edges = np.linspace(0, len(metre), MOST_CELLS + 1).astype(int)[:-1]
    far = np.where(np.isfinite(value), np.abs(value - middle), -1.0)
    worst = np.array(
        [
            start + int(np.argmax(part))
            for start, part in zip(edges, np.split(far, edges[1:]), strict=True)
        ]
    )
    return metre[edges], value[worst]


def roll_csv(found: RollMap) -> str:
    """The stretches to cut out, metres from the inner end of the roll: for the slitter."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(
        ["roll", "from_m", "to_m", "parameter", "worst", "unit", "low_limit", "high_limit"]
    )
    for each in found.outside:
        writer.writerow(
            [
                found.roll.number,
                f"{each.begin:.2f}",
                f"{each.end:.2f}",
                each.parameter,
                f"{each.worst:.6g}",
                each.unit,
                f"{each.limits[0]:g}",
                f"{each.limits[1]:g}",
            ]
        )
    return text.getvalue()
