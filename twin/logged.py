"""What enters the core beside samples, as a recording and the ledger keep it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, Final

from twin.alarms import Acknowledged, Report, Shelved
from twin.intervention import Decided, FellSilent, Intervention, ModelUsed, ModeSet, Wrote
from twin.ports import Write, WriteOutcome
from twin.samples import OfflineMeasurement

Logged = OfflineMeasurement | Intervention
_KINDS: Final[
    dict[str, type[ModeSet | FellSilent | ModelUsed | Report | Acknowledged | Shelved]]
] = {
    "mode set": ModeSet,
    "fell silent": FellSilent,
    "model used": ModelUsed,
    "report": Report,
    "acknowledged": Acknowledged,
    "shelved": Shelved,
}


def entry_of(logged: Logged, names: Sequence[str]) -> dict[str, Any]:
    """As JSON-able values: tags by name, so that another line may number them otherwise."""
    content = asdict(logged)
    if isinstance(logged, OfflineMeasurement):
        return {"kind": "laboratory", **content, "tag": names[logged.tag]}
    if isinstance(logged, Wrote):
        outcomes = [
            {
                "tag": names[outcome.write.tag],
                "value": outcome.write.value,
                "status": outcome.status,
                "read_back": outcome.read_back if math.isfinite(outcome.read_back) else None,
                "reason": outcome.reason,
            }
            for outcome in logged.outcomes
        ]
        return {"kind": "wrote", **content, "outcomes": outcomes}
    if isinstance(logged, Decided):
        setpoints = [[names[tag], value] for tag, value in logged.setpoints]
        return {"kind": "decided", **content, "setpoints": setpoints}
    kind = next(name for name, each in _KINDS.items() if isinstance(logged, each))
    if isinstance(logged, Report):
        content = {"report": content}
    return {"kind": kind, **content}


def logged_in(entry: dict[str, Any], index: Mapping[str, int]) -> Logged | None:
    """What an entry says, whatever place in a log it has; None where the line has no such tag.

    Raises:
        KeyError, TypeError: the entry is none.
    """
    content = {name: value for name, value in entry.items() if name not in ("after", "kind")}
    if entry["kind"] == "laboratory":
        tag = index.get(content.pop("tag"))
        return None if tag is None else OfflineMeasurement(tag, **content)
    if entry["kind"] == "wrote":
        outcomes = tuple(
            WriteOutcome(
                Write(index.get(each["tag"], -1), each["value"]),
                each["status"],
                math.nan if each["read_back"] is None else each["read_back"],
                each["reason"],
            )
            for each in content.pop("outcomes")
        )
        return Wrote(**content, outcomes=outcomes)
    if entry["kind"] == "decided":
        # recordings of before have none
        setpoints = [(index.get(name, -1), value) for name, value in content.pop("setpoints", ())]
        return Decided(**content, setpoints=tuple(setpoints))
    if entry["kind"] == "report":
        said = content["report"]
        return Report(**{**said, "evidence": tuple(said["evidence"])})
    return _KINDS[entry["kind"]](**content)
