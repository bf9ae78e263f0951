"""What is known of slurry batches: what the models said of them, their recipes, the laboratory."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from twin.configuration.models import LineConfiguration
from twin.genealogy import MOST_KEPT, BatchReleased
from twin.ports import Surrogate
from twin.samples import Floats, Ints
from twin.snapshot import Snapshot

_Key = TypeVar("_Key")
_Value = TypeVar("_Value")


@dataclass(frozen=True, slots=True)
class BatchPrediction:
    """What the mixing surrogate says of a slurry batch."""

    step: str
    batch: int
    time: int
    mean: Floats
    in_domain: bool


class Batches:
    """Predicts slurry batches, and remembers as many of them as the hose does."""

    def __init__(self, line: LineConfiguration, surrogates: Mapping[str, Surrogate]) -> None:
        self._surrogates = surrogates
        self._known: dict[str, dict[int, tuple[int, Floats]]] = {
            name: {} for name, step in line.steps.items() if step.runs_on in line.batches
        }
        self._revised: dict[tuple[str, int], tuple[int, float]] = {}

    def predict(self, step: str, released: BatchReleased) -> BatchPrediction:
        """Predict the structure parameters of a batch."""
        said = self._surrogates[step].predict(released.inputs[None, :])
        # a recipe value that later steps read, such as the solids content, passes through
        known = released.time, np.concatenate([said.mean[0], released.inputs])
        _keep(self._known[step], released.number, known)
        return BatchPrediction(
            step, released.number, released.time, said.mean[0], bool(said.in_domain[0])
        )

    def revise(self, step: str, output: str, batch: int, value: float, time: int) -> None:
        """A laboratory value replaces the predicted one for material that passes from `time` on."""
        _keep(self._revised, (f"{step}.{output}", batch), (time, value))

    def said(self, step: str, name: str, batch: int) -> float:
        """What the model says of a batch, or its recipe, SI; NaN where not known."""
        known = self._known[step].get(batch)
        return math.nan if known is None else float(known[1][self._column(step, name)])

    def told(self, step: str, batch: int) -> list[float]:
        """The recipe of a batch: the inputs of its model, SI; NaN where not known."""
        known = self._known[step].get(batch)
        count = len(self._surrogates[step].inputs)
        return [math.nan] * count if known is None else known[1][-count:].tolist()

    def value(self, step: str, name: str, batches: Ints, time: Ints, revised: bool) -> Floats:
        """A parameter of n batches as known at n times, SI; NaN where not known.

        Args:
            step: mixes them.
            name: an output of its model, or a value of the recipe.
            batches: numbers.
            time: ns.
            revised: with what the laboratory found.
        """
        column = self._column(step, name)
        values = np.full(len(batches), np.nan)
        for batch in np.unique(batches).tolist():
            known = self._known[step].get(batch)
            if known is None:
                continue
            here = (batches == batch) & (time >= known[0])
            values[here] = known[1][column]
            newer = self._revised.get((f"{step}.{name}", batch)) if revised else None
            if newer is not None:
                values[here & (time >= newer[0])] = newer[1]
        return values

    def _column(self, step: str, name: str) -> int:
        surrogate = self._surrogates[step]
        return [*surrogate.outputs, *surrogate.inputs].index(name)

    def snapshot(self) -> Snapshot:
        """Batches and their laboratory values."""
        return {
            "known": {
                step: {
                    "numbers": np.array(list(batches), np.int64),
                    "time": np.array([time for time, _ in batches.values()], np.int64),
                    "values": np.array([values for _, values in batches.values()]),
                }
                for step, batches in self._known.items()
            },
            "revised": [[*of, *revised] for of, revised in self._revised.items()],
        }

    def restore(self, state: Snapshot) -> None:
        """Take what others gave for the same steps, inputs and outputs."""
        for step in self._known:
            batches = state["known"][step]
            known = zip(batches["time"].tolist(), batches["values"], strict=True)
            self._known[step] = dict(zip(batches["numbers"].tolist(), known, strict=True))
        self._revised = {
            (name, batch): (time, value) for name, batch, time, value in state["revised"]
        }


def _keep(known: dict[_Key, _Value], of: _Key, value: _Value) -> None:
    """Put the newest last, and forget the oldest with the batches that the hose forgets."""
    known.pop(of, None)
    known[of] = value
    if len(known) > MOST_KEPT:
        del known[next(iter(known))]
