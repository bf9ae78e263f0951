"""Sensitivity of structure parameters to machine parameters: Sobol indices through the chain."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from twin.chain import Chain
from twin.design import Free
from twin.samples import Bools, Floats

STILL: Final = 1e-9
"""Share of its size below which a variation is rounding."""


@dataclass(frozen=True, slots=True)
class Sensitivity:
    """Shares of the variance of structure parameters that machine parameters cause."""

    outputs: tuple[str, ...]
    variables: tuple[str, ...]
    first: Floats
    """(outputs, variables) by the variable alone; NaN where the output does not vary."""
    total: Floats
    """(outputs, variables) with all that it does together with others."""
    spread: Floats
    """(outputs,) standard deviation over the ranges, SI."""
    in_domain: float
    """Share of the samples on which every model was asked inside its domain."""


def sobol(
    chain: Chain,
    outputs: Sequence[str],
    free: Sequence[Free],
    start: Floats,
    samples: int = 1024,
    seed: int = 1,
) -> Sensitivity:
    """First-order and total indices with every free variable even over its range.

    By Saltelli's design of `samples` x (variables + 2) rows (Saltelli et al. 2010), in one call of
    every model. Estimates scatter by a few hundredths and may fall just below 0.

    Args:
        chain: the steps.
        outputs: `step.output`.
        free: the variables that vary; the others stand at `start`, SI.
        start: (variables) SI.
        samples: a power of 2.
        seed: of the design.
    """
    from scipy.stats import sobol_indices, uniform  # takes a second to load

    columns = [chain.outputs.index(name) for name in outputs]
    made: list[Floats] = []
    inside: list[Bools] = []

    def function(points: Floats) -> Floats:
        rows = np.tile(start, (points.shape[1], 1))
        rows[:, [each.column for each in free]] = points.T
        said = chain(rows)
        made.append(said.mean[:, columns])
        inside.append(np.asarray(said.in_domain.all(axis=1)))
        return made[-1].T.copy()

    ranges: list[Any] = [uniform(loc=each.low, scale=each.high - each.low) for each in free]
    found = sobol_indices(
        func=function,
        n=samples,
        dists=ranges,
        rng=seed,
    )
    spread = np.concatenate(made).std(axis=0)
    still = spread <= STILL * np.abs(np.concatenate(made)).max(axis=0)
    shape = len(columns), len(free)
    first, total = (
        np.where(still[:, None], np.nan, np.reshape(indices, shape))
        for indices in (found.first_order, found.total_order)
    )
    return Sensitivity(
        tuple(outputs),
        tuple(chain.variables[each.column].name for each in free),
        first,
        total,
        spread,
        float(np.concatenate(inside).mean()),
    )
