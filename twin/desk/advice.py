"""Recommendations as people read them, from the core and from the ledger."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from twin.configuration.models import LineConfiguration
from twin.conformal import GAUSSIAN
from twin.core import Core
from twin.desk.views import (
    Advice,
    ExpectedEffect,
    JudgementView,
    SetpointChange,
    StateChange,
    WriteView,
    moment,
    present,
)
from twin.ingest import NANOSECONDS
from twin.intervention import Wrote
from twin.ledger import Row
from twin.promise import Judgement
from twin.recommendation import Recommendation
from twin.units import to_si


class AdviceBook:
    """Reads recommendation documents, and remembers what became of the latest.

    Args:
        core: gives the core as it is now: another configuration may be loaded.
        most: recommendations that are remembered.
    """

    def __init__(self, core: Callable[[], Core], most: int = 200) -> None:
        self._core = core
        self._most = most
        self._writes: dict[str, tuple[WriteView, ...]] = {}
        self._judged: dict[str, tuple[JudgementView, ...]] = {}
        self._states: dict[str, list[StateChange]] = {}

    @property
    def _line(self) -> LineConfiguration:
        return self._core().line

    @property
    def _units(self) -> dict[str, tuple[float, float, str]]:
        return {
            f"{step}.{output}": (*to_si(made.unit), made.unit)
            for step, config in self._line.steps.items()
            for output, made in config.outputs.items()
        }

    def document(self, recommendation: Recommendation) -> dict[str, Any]:
        """A recommendation as it is published."""
        return recommendation.document(self._core().tags, self._units)

    def wrote(self, wrote: Wrote) -> None:
        """Remember what became of the writes of a recommendation."""
        writes = []
        for outcome in wrote.outcomes:
            tag = self._core().tags[outcome.write.tag]
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

    def judged(self, judgement: Judgement) -> None:
        """Remember what the material did after a recommendation."""
        view = self._judgement(asdict(judgement), judgement.kept)
        before = self._judged.get(judgement.recommendation, ())
        others = (each for each in before if each.parameter != view.parameter)
        self._remember(self._judged, judgement.recommendation, (*others, view))

    def _judgement(self, said: Mapping[str, Any], kept: bool) -> JudgementView:
        parameter = f"{said['step']}.{said['output']}"
        scale, offset, unit = self._units[parameter]
        promised, reach = (said["promised"] - offset) / scale, GAUSSIAN * said["sigma"] / scale
        return JudgementView(
            parameter=parameter,
            unit=unit,
            promised=promised,
            low=promised - reach,
            high=promised + reach,
            before=(said["before"] - offset) / scale,
            measured=(said["measured"] - offset) / scale,
            segments=said["segments"],
            kept=kept,
        )

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

    def recorded(self, row: Row) -> Advice:
        """A recommendation as the ledger keeps it, which may be a moment behind what was told."""
        known = [
            each for each in row["judged"] if f"{each['step']}.{each['output']}" in self._units
        ]
        judged = tuple(self._judgement(each, each["kept"]) for each in known)
        advice = self.view(row, row["history"], judged)
        last = advice.history[-1]
        expires = advice.expires if last.state == "proposed" else None
        now = {"state": last.state, "by": last.by, "note": last.note, "expires": expires}
        return advice.model_copy(update=now)

    def view(
        self,
        document: Mapping[str, Any],
        history: Sequence[Row] = (),
        judged: tuple[JudgementView, ...] = (),
    ) -> Advice:
        """A document as it is published, with its history as far as it is known."""
        identity, time = str(document["id"]), int(document["time_ns"])
        states = [
            StateChange(
                time=moment(row["time"]), state=row["state"], by=row["decided_by"], note=row["note"]
            )
            for row in history
        ]
        recorded = {(each.state, each.by) for each in states}
        told = self._states.get(identity, ())
        states += [each for each in told if (each.state, each.by) not in recorded]
        judgements = (*judged, *self._judged.get(identity, ()))
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
            history=tuple(states),
            writes=self._writes.get(identity, ()),
            judged=tuple({each.parameter: each for each in judgements}.values()),
        )

    def _change(self, change: Mapping[str, Any]) -> SetpointChange:
        step = self._line.steps.get(change["step"])
        setpoints = {} if step is None else {each.tag: each for each in step.setpoints.values()}
        setpoint = setpoints.get(change["setpoint"])
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
