"""Edited advice: what a person changes about a recommendation before accepting it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from twin.chain import Chain, standing
from twin.design import starting
from twin.recommendation import Change, Effect, Recommendation

if TYPE_CHECKING:
    from twin.core import Core


class EditRefusedError(ValueError):
    """The guard refuses the setpoints that a person chose; the recommendation goes on waiting."""

    def __init__(self, objections: Sequence[str]) -> None:
        super().__init__("; ".join(objections))
        self.objections = tuple(objections)


def edited(
    core: Core, recommendation: Recommendation, setpoints: Sequence[tuple[int, float]]
) -> Recommendation:
    """The recommendation with other setpoints, and what is expected of them.

    A setpoint that it does not hold yet joins it, from the value that the machine has now; one that
    is left where it is drops out.

    Args:
        core: as it is now.
        recommendation: an open one.
        setpoints: tags and values, SI.
    """
    owners = {
        core.tags.index(setpoint.tag): step
        for step, config in core.line.steps.items()
        for setpoint in config.setpoints.values()
    }
    changes = {change.tag: change for change in recommendation.changes}
    for tag, value in setpoints:
        known = changes.get(tag)
        before = float(core.latest[tag]) if known is None else known.before
        changes[tag] = Change(owners.get(tag, ""), tag, before, value)
    kept = tuple(each for each in changes.values() if each.after != each.before)
    said = ", ".join(
        f"{tag.name} {tag.from_si(change.after):.6g} {tag.unit}"
        for change in kept
        for tag in (core.tags[change.tag],)
        if change not in recommendation.changes
    )
    return replace(
        recommendation,
        changes=kept,
        effects=_effects(core, recommendation, kept),
        note=f"edited: {said or 'fewer setpoints'}",
    )


def _effects(
    core: Core, recommendation: Recommendation, changes: Sequence[Change]
) -> tuple[Effect, ...]:
    """The effects that the chain of models gives the changed setpoints, from where the line is."""
    if not recommendation.effects:
        return ()
    names = [f"{effect.step}.{effect.output}" for effect in recommendation.effects]
    known = standing(core)
    chain = Chain(core.line, core.surrogates, names, known.corrections)
    start, _ = starting(chain, {}, known.values)
    columns = _columns(core, chain)
    rows = np.vstack([start, start])
    for change in (*recommendation.changes, *changes):
        if change.tag in columns:
            rows[:, columns[change.tag]] = change.before
    for change in changes:
        if change.tag in columns:
            rows[1, columns[change.tag]] = change.after
    before, after = chain(rows).mean[:, [chain.outputs.index(name) for name in names]]
    return tuple(
        replace(effect, after=effect.before + float(gain))
        for effect, gain in zip(recommendation.effects, after - before, strict=True)
        if np.isfinite(gain)
    )


def _columns(core: Core, chain: Chain) -> Mapping[int, int]:
    """By setpoint's tag the variable of the chain that it moves."""
    owner = {name: column for column, each in enumerate(chain.variables) for name in each.inputs}
    return {
        core.tags.index(setpoint.tag): owner[f"{step}.{name}"]
        for step, config in core.line.steps.items()
        for name, setpoint in config.setpoints.items()
        if f"{step}.{name}" in owner
    }
