"""Causes: what may be wrong on a web, with the signature that each has in what its gauges read.

Derived from the declared chain: a gauge that is wrong moves its own reading, a machine or a batch
that is not what it says moves all that follows from it, by the sensitivities of the models.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from twin.chain import Chain, Variable
from twin.configuration.models import LineConfiguration
from twin.evidence import Cause
from twin.ports import Surrogate
from twin.prediction import station_web
from twin.samples import Bools, Floats

PROBE: Final = 0.01
"""Share of a variable's domain over which a sensitivity is taken."""
BENT: Final = (1.0, 1.0 / 3.0, 3.0)
"""Factors by which slopes may be wrong where the zero of an input is not known."""
FELT: Final = 2e-5
"""Share by which a probe must move some gauge to be a cause at all."""
MOST_NAMED: Final = 2
"""Further causes that are named with one that looks the same."""
ALIKE: Final = 0.998
"""Cosine of two signatures beyond which two causes cannot be told apart."""


class Causes:
    """The causes that the gauges of one web can show.

    Args:
        line: the configuration.
        surrogates: the model of every step; looked up anew each time.
        gauges: `step.output` of each gauge, by column, and its tag.
    """

    def __init__(
        self,
        line: LineConfiguration,
        surrogates: Mapping[str, Surrogate],
        gauges: Mapping[str, str],
    ) -> None:
        self._line = line
        self._surrogates = surrogates
        self._gauges = gauges
        self._smear = {
            variable.name: self._extent(variable.inputs)
            for variable in Chain(line, surrogates, gauges).variables
        }

    def of(self, told: Mapping[str, float]) -> list[Cause]:
        """All causes at a state of the line.

        Args:
            told: by `step.input`, what machines and batches say, SI.
        """
        chain = Chain(self._line, self._surrogates, self._gauges)
        columns = [chain.outputs.index(name) for name in self._gauges]
        values = np.array(
            [
                told.get(each.name, np.nan) if each.constant is None else each.constant
                for each in chain.variables
            ]
        )
        spans = np.array([each.high - each.low for each in chain.variables])
        probes = np.vstack([values, values + np.diag(PROBE * spans)])
        said = chain(probes).mean[:, columns]
        with np.errstate(invalid="ignore", divide="ignore"):
            moved = np.nan_to_num((said[1:] - said[0]) / np.abs(said[0]))
        firm = self._firm(chain.variables, moved)
        found = []
        for column, tag in enumerate(self._gauges.values()):
            # where slopes are not known, a reading that moves alone accuses nobody
            accused = column if firm[column] else None
            found.append(Cause(tag, accused, np.eye(len(columns))[column]))
        for variable, signature in zip(chain.variables, moved, strict=True):
            step = variable.name.partition(".")[0]
            brewed = self._line.steps[step].runs_on in self._line.batches
            if variable.constant is not None or np.abs(signature).max() < FELT:
                continue
            smear = self._smear[variable.name]
            for factor in (1.0,) if firm.all() else BENT:
                bent = _unit(np.where(firm, signature, factor * signature))
                _merge(found, Cause(variable.name, None, bent, smear, brewed))
        for name, column in self._calculated():
            signature = np.eye(len(columns))[column]
            smear = self._extent(
                [f"{name.partition('.')[0]}.{each}" for each in self._inputs(name)]
            )
            if smear > 1.0:
                _merge(found, Cause(name, None, signature, smear))
        return found

    def _firm(self, variables: Sequence[Variable], moved: Floats) -> Bools:
        """Gauges whose slopes are known.

        Where nobody knows the zero of an input, models are asked at a wrong place: what depends on
        that input far more steeply than another gauge does has slopes that are known by a factor.
        """
        unknown = {
            f"{step}.{made.correction}"
            for step, config in self._line.steps.items()
            for made in config.outputs.values()
        }
        rows = [not unknown.isdisjoint(variable.inputs) for variable in variables]
        steep = np.abs(moved[rows]).max(axis=0, initial=0.0)
        felt = steep[steep >= FELT]
        return np.asarray(steep <= BENT[-1] * felt.min(initial=np.inf))

    def _inputs(self, output: str) -> Sequence[str]:
        return self._surrogates[output.partition(".")[0]].inputs

    def _calculated(self) -> list[tuple[str, int]]:
        """Structure parameters that are known from one of the gauges alone, and its column."""
        names = list(self._gauges)
        return [
            (f"{step}.{output}", names.index(made.calculated_from.thickness))
            for step, config in self._line.steps.items()
            for output, made in config.outputs.items()
            if made.calculated_from is not None and made.calculated_from.thickness in names
        ]

    def _extent(self, inputs: Sequence[str]) -> float:
        """Rows over which the machine behind these inputs acts: what changes there comes slowly."""
        places = []
        for full in inputs:
            step, _, name = full.partition(".")
            source = self._line.source_of(step, name)
            if source.tag is None or self._line.steps[step].runs_on not in self._line.webs:
                continue
            station = source.at or self._line.tags[source.tag].station
            if station is not None:
                places.append(station_web(self._line, station)[1:])
        if not places or any(start == end for start, end in places):
            return 0.0
        return (max(e for _, e in places) - min(s for s, _ in places)) / self._line.segment


def _unit(signature: Floats) -> Floats:
    largest: Floats = signature / signature[np.argmax(np.abs(signature))]
    return largest


def _merge(found: list[Cause], cause: Cause) -> None:
    """Add a cause, unless one of the process looks the same."""
    for index, other in enumerate(found):
        if other.gauge is None and alike(other, cause) and other.batch == cause.batch:
            smear = min(other.smear, cause.smear)
            name = other.name
            if cause.name not in name and name.count(" or ") < MOST_NAMED:
                name = f"{name} or {cause.name}"
            found[index] = Cause(name, None, other.signature, smear, other.batch)
            return
    found.append(cause)


def alike(one: Cause, other: Cause) -> bool:
    """Whether the gauges cannot tell two causes apart but by how fast they come."""
    a, b = one.signature, other.signature
    return bool(abs(a @ b) > ALIKE * np.sqrt((a @ a) * (b @ b)))
