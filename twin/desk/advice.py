"""Recommendations as people read them, from the core and from the ledger."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from twin.configuration.models import LineConfiguration, SetpointConfiguration
from twin.conformal import GAUSSIAN
from twin.desk.views import (
    Advice,
    ExpectedEffect,
    SetpointChange,
    StateChange,
    WriteView,
    moment,
    present,
)
from twin.ingest import NANOSECONDS
from twin.intervention import Wrote
from twin.ledger import Row
from twin.recommendation import Recommendation
from twin.tags import TagTable
from twin.units import to_si


class AdviceBook:
    """Reads recommendation documents, and remembers what became of the latest writes.

    Args:
        line: the configuration.
        tags: its tag table.
        most: recommendations whose writes are remembered.
    """

    def __init__(self, line: LineConfiguration, tags: TagTable, most: int = 200) -> None:
        self._line = line
        self._tags = tags
        self._most = most
        self._setpoints: dict[str, SetpointConfiguration] = {
            setpoint.tag: setpoint
            for step in line.steps.values()
            for setpoint in step.setpoints.values()
        }
        self._units = {
            f"{step}.{output}": (*to_si(made.unit), made.unit)
            for step, config in line.steps.items()
            for output, made in config.outputs.items()
        }
        self._writes: dict[str, tuple[WriteView, ...]] = {}
        self._states: dict[str, list[StateChange]] = {}

    def document(self, recommendation: Recommendation) -> dict[str, Any]:
        """A recommendation as it is published."""
        return recommendation.document(self._tags, self._units)

    def wrote(self, wrote: Wrote) -> None:
        """Remember what became of the writes of a recommendation."""
        writes = []
        for outcome in wrote.outcomes:
            tag = self._tags[outcome.write.tag]
            writes.append(
                WriteView(
                    setpoint=tag.name,
                    unit=tag.unit,
                    value=tag.from_si(outcome.write.value),
                    status=outcome.status,
                    read_back=present(tag.from_si(outcome.read_back)),
                    reason=outcome.reason,
                )
            )
        self._remember(self._writes, wrote.identity, tuple(writes))

    def became(self, recommendation: Recommendation, time: int) -> None:
        """Remember a state that a recommendation took at `time`, ns."""
        change = StateChange(
            time=moment(time),
            state=recommendation.state,
            by=recommendation.by,
            note=recommendation.note,
        )
        before = self._states.get(recommendation.id, [])
        self._remember(self._states, recommendation.id, [*before, change])

    def _remember(self, kept: dict[str, Any], identity: str, value: object) -> None:
        kept[identity] = value
        while len(kept) > self._most:
            del kept[next(iter(kept))]

    def decision(self, identity: str) -> StateChange | None:
        """The first state after it was proposed, if it is remembered."""
        found = [each for each in self._states.get(identity, ()) if each.state != "proposed"]
        return found[0] if found else None

    def view(self, document: Mapping[str, Any], history: Sequence[Row] = ()) -> Advice:
        """A document as it is published or as the ledger keeps it, with its history."""
        identity, time = str(document["id"]), int(document["time_ns"])
        states = [
            StateChange(
                time=moment(row["time"]), state=row["state"], by=row["decided_by"], note=row["note"]
            )
            for row in history
        ]
        made = moment(time)
        assert made is not None
        waits = document["state"] == "proposed"
        return Advice(
            id=identity,
            time=made,
            web=document["web"],
            state=document["state"],
            by=document["by"],
            reason=document["reason"],
            note=document["note"],
            changes=tuple(self._change(each) for each in document["changes"]),
            expected=tuple(self._effect(each) for each in document["expected"]),
            expires=moment(time + int(self._line.stale_after * NANOSECONDS)) if waits else None,
            history=tuple(states or self._states.get(identity, ())),
            writes=self._writes.get(identity, ()),
        )

    def _change(self, change: Mapping[str, Any]) -> SetpointChange:
        setpoint = self._setpoints.get(change["setpoint"])
        return SetpointChange(
            step=change["step"],
            setpoint=change["setpoint"],
            unit=change["unit"],
            before=change["from"],
            after=change["to"],
            limits=None if setpoint is None else setpoint.limits,
            max_step=None if setpoint is None else setpoint.max_step,
        )

    def _effect(self, effect: Mapping[str, Any]) -> ExpectedEffect:
        step, _, output = effect["parameter"].partition(".")
        made = self._line.steps[step].outputs.get(output) if step in self._line.steps else None
        expected, sigma = effect["expected"], effect["sigma"]
        reach = None if sigma is None or not math.isfinite(sigma) else GAUSSIAN * sigma
        return ExpectedEffect(
            parameter=effect["parameter"],
            unit=effect["unit"],
            now=effect["now"],
            expected=expected,
            low=None if reach is None else expected - reach,
            high=None if reach is None else expected + reach,
            target=effect["target"],
            limits=None if made is None else made.limits,
        )
