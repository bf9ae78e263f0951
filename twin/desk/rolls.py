"""Roll maps: structure parameters along a roll, and the stretches of it to cut out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import numpy as np

from twin.configuration.models import LineConfiguration, OutputConfiguration
from twin.desk.trends import join
from twin.desk.views import RollMap, RollParameter, RollView, Stretch, moment, present
from twin.ledger import Row
from twin.material import Roll
from twin.ports import Historian
from twin.samples import Floats, SampleBatch
from twin.tags import TagTable
from twin.tracking import Tracker

LATER: Final = 30 * 86_400 * 10**9
"""How long after a roll was begun its material is looked for at later machines, ns."""
EARLIER: Final = 1800 * 10**9
"""How long before a roll was begun its material may have passed the first gauge, ns."""
KINDS: Final = ("predicted", "measured", "residual")


def recorded(row: Row) -> Roll:
    """A roll of the ledger; NaN where its ends are not known."""
    start, end = row["start"], row["end"]
    return Roll(
        row["web"],
        row["number"],
        math.nan if start is None else start,
        math.nan if end is None else end,
        row["wound"] or 0,
    )


def roll_view(roll: Roll, tracker: Tracker, began: int = 0) -> RollView:
    """A roll; one that is still wound is as long as the web since its start."""
    length = roll.end - roll.start
    if math.isnan(length):
        state = tracker.web_state(roll.web)
        length = state.metre if state.roll == roll.number else math.nan
    return RollView(
        web=roll.web,
        number=roll.number,
        start=present(roll.start),
        length=present(length),
        began=moment(began),
        wound=moment(roll.wound),
    )


def roll_map(
    historian: Historian,
    line: LineConfiguration,
    tags: TagTable,
    roll: RollView,
    since: int,
    until: int,
) -> RollMap:
    """What is stored of the material of a roll; on the store's thread.

    Args:
        historian: with the derived series.
        line: the configuration.
        tags: its tag table.
        roll: which; it has a start.
        since: when it was begun, ns.
        until: up to when its material is looked for, ns.
    """
    start = roll.start or 0.0
    end = start + (roll.length or 0.0)
    outputs = {
        f"{step}.{output}": made
        for step, config in line.steps.items()
        if config.runs_on in line.webs
        for output, made in config.outputs.items()
    }
    wanted = [tags.index(f"{name}.{kind}") for name in outputs for kind in (*KINDS, "position")]
    read = historian.read(wanted, since, until)
    parameters: list[RollParameter] = []
    outside: list[Stretch] = []
    for name, made in outputs.items():
        columns = _columns(read, tags, name, start, end)
        if columns is None:
            continue
        metre, found = columns
        parameters.append(
            RollParameter(
                name=name,
                unit=made.unit,
                target=made.target,
                limits=made.limits,
                metre=tuple(metre.tolist()),
                predicted=_values(found[0]),
                measured=_values(found[1]),
                residual=_values(found[2]),
            )
        )
        outside += _outside(name, made, metre, found[1], line.segment)
    outside.sort(key=lambda each: (each.begin, each.parameter))
    return RollMap(
        roll=roll, segment=line.segment, parameters=tuple(parameters), outside=tuple(outside)
    )


def _columns(
    read: SampleBatch, tags: TagTable, name: str, start: float, end: float
) -> tuple[Floats, list[Floats]] | None:
    """Metres of a roll and the values there, by kind; None where nothing is stored."""
    position = tags.index(f"{name}.position")
    parts = []
    for kind in KINDS:
        tag = tags.index(f"{name}.{kind}")
        at, value = join(read, tag, position)
        here = (at >= start) & (at <= end)
        parts.append((at[here], tags[tag].in_unit(value[here])))
    every = np.unique(np.concatenate([at for at, _ in parts]))
    if not len(every):
        return None
    found = []
    for at, value in parts:
        column = np.full(len(every), np.nan)
        column[np.searchsorted(every, at)] = value
        found.append(column)
    return every - start, found


def _outside(
    name: str, made: OutputConfiguration, metre: Floats, measured: Floats, segment: float
) -> Sequence[Stretch]:
    if made.limits is None:
        return []
    low, high = made.limits
    with np.errstate(invalid="ignore"):
        bad = (measured < low) | (measured > high)
    rows = np.flatnonzero(bad)
    if not len(rows):
        return []
    # segments in a row make one stretch
    breaks = np.flatnonzero(np.diff(metre[rows]) > 1.5 * segment) + 1
    found = []
    for part in np.split(rows, breaks):
        value = measured[part]
        worst = value[np.argmax(np.maximum(low - value, value - high))]
        found.append(
            Stretch(
                parameter=name,
                unit=made.unit,
                begin=max(float(metre[part[0]]) - segment / 2, 0.0),
                end=float(metre[part[-1]]) + segment / 2,
                worst=float(worst),
                limits=made.limits,
            )
        )
    return found


def _values(column: Floats) -> tuple[float | None, ...]:
    return tuple(None if np.isnan(value) else value for value in column.tolist())
