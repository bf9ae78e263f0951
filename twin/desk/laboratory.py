"""Laboratory values that people enter: which there are, and whether they are plausible."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from twin.configuration.models import LineConfiguration
from twin.core import Core
from twin.desk.views import LaboratoryChoice, LaboratoryEntry, moment
from twin.ledger import Row
from twin.samples import OfflineMeasurement
from twin.units import same_dimension, si_unit, to_si

FAR: Final = 2.0
"""Factor from what is predicted beyond which a value is doubted: wrong units and slips."""


class ImplausibleError(ValueError):
    """A laboratory value that is taken only if somebody says that it is meant."""

    def __init__(self, doubts: Sequence[str]) -> None:
        super().__init__("; ".join(doubts))
        self.doubts = tuple(doubts)


@dataclass(frozen=True, slots=True)
class Entry:
    """What a person enters."""

    tag: str
    value: float
    unit: str
    sampled: int
    """ns since the epoch (UTC)."""
    roll: int | None = None
    metre: float | None = None
    """From the inner end of the roll."""
    batch: int | None = None
    note: str = ""


def parameters(line: LineConfiguration) -> dict[str, tuple[str, str]]:
    """Step and parameter that every laboratory tag is of."""
    found: dict[str, tuple[str, str]] = {}
    for step, config in line.steps.items():
        for output, made in config.outputs.items():
            if made.laboratory is not None:
                found[made.laboratory] = step, output
        for name in config.inputs:
            source = line.source_of(step, name)
            if source.laboratory is not None:
                found[source.laboratory] = step, name
    return found


def choices(line: LineConfiguration) -> tuple[LaboratoryChoice, ...]:
    """What can be entered."""
    found = []
    for tag, (step, name) in parameters(line).items():
        config = line.tags[tag]
        made = line.steps[step].outputs.get(name)
        units = [config.unit, *([made.unit] if made else []), si_unit(config.unit)]
        found.append(
            LaboratoryChoice(
                tag=tag,
                parameter=f"{step}.{name}",
                unit=config.unit,
                units=tuple(dict.fromkeys(units)),
                material="batch" if line.steps[step].runs_on in line.batches else "roll",
                limits=config.limits,
            )
        )
    return tuple(found)


def measurement(core: Core, entry: Entry) -> OfflineMeasurement:
    """An entry as the core takes it.

    Raises:
        ValueError: no such laboratory value, another dimension, or the material is not named.
    """
    known = parameters(core.line)
    if entry.tag not in known:
        raise ValueError(
            f"there is no laboratory value {entry.tag}; choose from {', '.join(known)}"
        )
    config, (step, _) = core.line.tags[entry.tag], known[entry.tag]
    scale, offset = to_si(entry.unit)
    if not same_dimension(entry.unit, config.unit):
        raise ValueError(f"{entry.tag} is entered in {config.unit} or the like, not {entry.unit}")
    if not np.isfinite(entry.value):
        raise ValueError(f"{entry.tag} has to be a number")
    of_batch = core.line.steps[step].runs_on in core.line.batches
    if of_batch and (entry.batch is None or entry.roll is not None or entry.metre is not None):
        raise ValueError(f"{entry.tag} is of a slurry batch; name its number, no roll or metre")
    if not of_batch and (entry.roll is None or entry.metre is None or entry.batch is not None):
        raise ValueError(f"{entry.tag} is of a metre of a roll; name both, no batch")
    if entry.metre is not None and not 0 <= entry.metre < 1e6:
        raise ValueError("the metre counts from the inner end of the roll, from 0 on")
    return OfflineMeasurement(
        core.tags.index(entry.tag),
        entry.sampled,
        entry.value * scale + offset,
        entry.roll,
        entry.metre,
        entry.batch,
    )


def doubts(core: Core, measured: OfflineMeasurement) -> list[str]:
    """What speaks against a value, as sentences."""
    tag = core.tags[measured.tag]
    step, name = parameters(core.line)[tag.name]
    if measured.batch is not None:
        where = f"batch {measured.batch}"
        predicted = core.predictor.batches.said(step, name, measured.batch)
    else:
        where = f"metre {measured.metre:g} of roll {measured.roll}"
        segment = core.tracker.segment_of(measured.roll or 0, measured.metre or 0.0)
        predicted = float("nan")
        if segment is not None:
            (predicted,) = core.table.value(f"{step}.{name}", np.array([segment])).tolist()
    if not np.isfinite(predicted):
        return [f"nothing is predicted of {where}: it is not known, or too long ago"]
    said, expected = tag.from_si(measured.value), tag.from_si(predicted)
    if not expected / FAR <= said <= expected * FAR:
        return [
            f"{said:.4g} {tag.unit} is far from the {expected:.4g} {tag.unit} that are predicted "
            f"of {where}"
        ]
    return []


def entry_view(line: LineConfiguration, row: Row, corrected_by: int | None) -> LaboratoryEntry:
    """An entry of the ledger."""
    step, name = parameters(line).get(row["tag"], ("", ""))
    entered, sampled = moment(row["time"]), moment(row["sampled"])
    assert entered is not None
    assert sampled is not None
    return LaboratoryEntry(
        id=row["row"],
        entered=entered,
        by=row["by"],
        tag=row["tag"],
        parameter=f"{step}.{name}",
        unit=row["unit"],
        value=row["value"],
        sampled=sampled,
        roll=row["roll"],
        metre=row["metre"],
        batch=row["batch"],
        note=row["note"],
        corrects=row["corrects"],
        corrected_by=corrected_by,
    )
