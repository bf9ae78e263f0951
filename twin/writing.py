"""Sets of setpoints, written as a whole: noted before, read back, taken back where one fails."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import structlog

from twin.alarms import Report
from twin.ledger import WRITE_BEGINS, WRITE_ENDS
from twin.ports import Sink, Write, WriteOutcome
from twin.recommendation import Change, Recommendation
from twin.resuming import End, outcomes
from twin.tags import Tag, TagTable

log = structlog.get_logger()
Note = Callable[[str, str, Mapping[str, Any]], Awaitable[None]]
"""Adds who, what and details to the audit trail; durable when it returns."""


class SetWriter:
    """Writes the setpoints of a recommendation, and leaves no machine with half a set.

    What will be written is in the audit trail before the first machine is asked: a set that was
    interrupted, by whatever, is found there. What cannot be noted is not written.

    Args:
        tags: the tag table.
        sinks: which connector writes a tag: the allow-list, by tag index.
        open_interlocks: why a setpoint must not be written at this moment.
        note: adds to the audit trail.
    """

    def __init__(
        self,
        tags: TagTable,
        sinks: Mapping[int, Sink],
        open_interlocks: Callable[[Change], list[str]],
        note: Note,
    ) -> None:
        self._tags = tags
        self._sinks = sinks
        self._open_interlocks = open_interlocks
        self._note = note
        self.begun: set[tuple[str, int]] = set()
        """Recommendations that this run wrote, by id and time."""

    async def write(self, recommendation: Recommendation) -> tuple[WriteOutcome, ...]:
        """Write a set: the outcomes forward up to the first that failed, and of what stayed so."""
        self.begun.add((recommendation.id, recommendation.time))
        about = {"recommendation": recommendation.id, "made": recommendation.time}
        begins = {
            **about,
            "steps": list(dict.fromkeys(change.step for change in recommendation.changes)),
            "changes": [self._in_words(change) for change in recommendation.changes],
        }
        try:
            await self._note(recommendation.by, WRITE_BEGINS, begins)
        except Exception as error:  # a database may fail in any way; then nothing is written
            log.exception("write", recommendation=recommendation.id)
            write = Write(recommendation.changes[0].tag, recommendation.changes[0].after)
            said = str(error) or "the ledger does not answer"
            reason = f"it cannot be noted in the audit trail: {said}"
            forward = [WriteOutcome(write, "denied", math.nan, reason)]
            back: list[WriteOutcome] = []
        else:
            forward, back = await self._write(recommendation)
        await self._end(recommendation, forward, back)
        return (*forward, *(outcome for outcome in back if outcome.status != "applied"))

    async def settle(
        self, recommendation: Recommendation, ends: Sequence[End | None], take_back: bool
    ) -> tuple[WriteOutcome, ...]:
        """Say what became of a set that the end of the service interrupted.

        It has its end in the audit trail where no machine has half of it any more.

        Args:
            recommendation: the set.
            ends: at which end of its change each setpoint stands; None where nobody knows.
            take_back: half a set is taken back, as that of a write that fails.
        """
        forward = outcomes(recommendation, ends)
        back: list[WriteOutcome] = []
        whole = len(set(ends)) == 1 and ends[0] in ("before", "after")
        if not whole and take_back and None not in ends:
            ended = zip(recommendation.changes, ends, strict=True)
            back = await self._undo([change for change, end in ended if end == "after"])
            whole = all(outcome.status == "applied" for outcome in back)
        if whole:
            await self._end(recommendation, forward, back)
        return (*forward, *(outcome for outcome in back if outcome.status != "applied"))

    async def _end(
        self,
        recommendation: Recommendation,
        forward: Sequence[WriteOutcome],
        back: Sequence[WriteOutcome],
    ) -> None:
        wrong = [outcome for outcome in (*forward, *back) if outcome.status != "applied"]
        ends = {
            "recommendation": recommendation.id,
            "made": recommendation.time,
            "writes": [self._said(outcome) for outcome in forward],
            "taken back": [self._said(outcome) for outcome in back],
        }
        try:
            await self._note(recommendation.by, WRITE_ENDS[bool(wrong)], ends)
        except Exception as error:  # as above; the next start will tell of a set without an end
            log.error("ledger", problem=f"the end of a write is not noted: {error}")

    async def _write(
        self, recommendation: Recommendation
    ) -> tuple[list[WriteOutcome], list[WriteOutcome]]:
        """The outcomes on the way forward, and on the way back where one failed."""
        forward: list[WriteOutcome] = []
        for change in recommendation.changes:
            forward.append(await self.write_one(change, change.after))
            if forward[-1].status != "applied":
                break
        else:
            forward = await self._confirmed(forward)
            if all(outcome.status == "applied" for outcome in forward):
                return forward, []
        # only a denied write surely changed nothing
        tried = len(forward) - (forward[-1].status == "denied")
        return forward, await self._undo(recommendation.changes[:tried])

    async def _confirmed(self, outcomes: Sequence[WriteOutcome]) -> list[WriteOutcome]:
        """The outcomes of a set, of what was applied as the machines have it a little later."""
        found = {outcome.write.tag: outcome for outcome in outcomes}
        by_sink: dict[Sink, list[Write]] = {}
        for outcome in outcomes:
            if outcome.status == "applied":
                by_sink.setdefault(self._sinks[outcome.write.tag], []).append(outcome.write)
        for later in await asyncio.gather(*(_look(*each) for each in by_sink.items())):
            found.update({outcome.write.tag: outcome for outcome in later})
        return list(found.values())

    async def _undo(self, changes: Sequence[Change]) -> list[WriteOutcome]:
        back = [await self.write_one(change, change.before) for change in changes]
        return [self._undone(outcome) for outcome in await self._confirmed(back)]

    def _undone(self, undone: WriteOutcome) -> WriteOutcome:
        if undone.status == "applied":
            return undone
        name = self._tags[undone.write.tag].name
        log.error("not taken back", setpoint=name, problem=undone.reason)
        reason = f"not taken back: {undone.reason}"
        return WriteOutcome(undone.write, undone.status, undone.read_back, reason)

    async def write_one(self, change: Change, value: float) -> WriteOutcome:
        """Write one setpoint of a change: `after`, or `before` to take it back. Never raises."""
        write, nothing = Write(change.tag, value), math.nan
        sink = self._sinks.get(change.tag)
        if sink is None:
            return WriteOutcome(write, "denied", nothing, "no connector may write it")
        # what was closed when it was decided may be open by now, on the way back too
        if objections := self._open_interlocks(change):
            return WriteOutcome(write, "denied", nothing, "; ".join(objections))
        try:
            return await sink.write(write)
        except Exception as error:  # whatever a sink raises, the set must be taken back
            log.exception("write", setpoint=self._tags[change.tag].name)
            return WriteOutcome(write, "failed", nothing, str(error) or type(error).__name__)

    def _in_words(self, change: Change) -> dict[str, Any]:
        tag = self._tags[change.tag]
        return {
            "setpoint": tag.name,
            "unit": tag.unit,
            "from": _rounded(tag, change.before),
            "to": _rounded(tag, change.after),
        }

    def _said(self, outcome: WriteOutcome) -> dict[str, Any]:
        tag = self._tags[outcome.write.tag]
        return {
            "setpoint": tag.name,
            "unit": tag.unit,
            "to": _rounded(tag, outcome.write.value),
            "status": outcome.status,
            "read back": _rounded(tag, outcome.read_back),
            "reason": outcome.reason,
        }


async def _look(sink: Sink, writes: Sequence[Write]) -> Sequence[WriteOutcome]:
    try:
        return await sink.confirm(writes)
    except Exception as error:  # as above
        log.exception("confirm")
        said = str(error) or type(error).__name__
        return [WriteOutcome(write, "failed", math.nan, said) for write in writes]


def interruption(begun: Mapping[str, Any]) -> str:
    """What is known of a set that was begun and never ended, as a sentence."""
    changes = ", ".join(
        f"{each['setpoint']} from {each['from']:g} to {each['to']:g} {each['unit']}"
        for each in begun["changes"]
    )
    return (
        f"the twin ended while it wrote {begun['recommendation']}, accepted by {begun['who']} "
        f"({changes}): compare with the machine, then set the mode again"
    )


def half_written(step: str, said: str, now: int, active: bool = True) -> Report:
    """The alarm of a step whose machine may have half a set; over once a person sets the mode."""
    return Report(now, "trust", "half written", step, active, "critical", "", (said,))


def _rounded(tag: Tag, value: float) -> float:
    """In the tag's unit, without what the arithmetic of units adds."""
    return float(f"{tag.from_si(value):.12g}")
