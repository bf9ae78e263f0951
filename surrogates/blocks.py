"""Blocks of material that are held out together: rolls, else stretches of the web.

Neighbouring segments share the slurry, the drift of the machines and the error of a gauge, so rows
that are drawn at random from the same metre would be asked of a model that has seen their twins.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from sklearn.model_selection import GroupKFold

from twin.dataset import NO_ROLL, StepData
from twin.samples import Ints

FOLDS: Final = 5
"""Most parts that are held out in turn."""
FEWEST_ROLLS: Final = 3
"""With fewer rolls stretches of the web are held out instead."""
GAP: Final = 10
"""Segments beside held-out ones that are not learnt from: 5 m of the default line."""


@dataclass(frozen=True, slots=True)
class Fold:
    """Rows to learn from and rows that are held out meanwhile."""

    learn: Ints
    held_out: Ints


@dataclass(frozen=True, slots=True)
class Folds:
    """Every row is held out once."""

    folds: tuple[Fold, ...]
    text: str
    """How they were made."""
    rolls: int
    """Rolls of known genealogy."""


def folds(data: StepData) -> Folds:
    """Hold whole rolls out, or stretches of the web where there are fewer than three.

    Raises:
        ValueError: too little material for two blocks.
    """
    rolls = np.unique(data.roll[data.roll != NO_ROLL])
    if len(rolls) >= FEWEST_ROLLS:
        group = data.roll
        count = min(FOLDS, len(np.unique(group)))
        splits = GroupKFold(count).split(data.position, groups=group)
        parts = [held_out for _, held_out in splits]
        text = f"{len(rolls)} rolls in {count} parts"
    else:
        count = min(FOLDS, len(data) // (2 * GAP))
        if count < 2:
            raise ValueError(
                f"{len(data)} segments are too few to hold any out; record at least {4 * GAP}"
            )
        order = np.lexsort((data.position, data.recording))
        parts = [np.sort(part) for part in np.array_split(order, count)]
        text = f"{count} stretches of the web"
    gap = GAP * data.segment
    found = tuple(Fold(_apart(data, part, gap), part) for part in parts)
    return Folds(found, f"{text}, {gap:g} m between them not learnt from", len(rolls))


def _apart(data: StepData, held_out: Ints, gap: float) -> Ints:
    """Rows at least `gap` away from all that are held out of the same recording."""
    near = np.zeros(len(data), np.bool_)
    near[held_out] = True
    for recording in np.unique(data.recording[held_out]).tolist():
        here = np.flatnonzero(data.recording == recording)
        taken = np.sort(data.position[held_out[data.recording[held_out] == recording]])
        where = data.position[here]
        above = np.searchsorted(taken, where).clip(max=len(taken) - 1)
        below = (np.searchsorted(taken, where) - 1).clip(min=0)
        distance = np.minimum(np.abs(taken[above] - where), np.abs(where - taken[below]))
        near[here] |= distance < gap
    return np.flatnonzero(~near)
