"""The audit trail: every row holds the hash of the one before, so that no change goes unseen."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

FIRST: Final = "0" * 64
"""The hash before the first row."""


@dataclass(frozen=True, slots=True)
class AuditRow:
    """What somebody did, as it is stored."""

    number: int
    """From 1; rows are chained in this order."""
    time: int
    """ns since the epoch (UTC)."""
    who: str
    what: str
    details: str
    """JSON, as `canonical` writes it."""
    previous: str
    """Hash of the row before."""
    hash: str

    @property
    def right_hash(self) -> str:
        """The hash that the row must have, by what it says."""
        return chained(self.time, self.who, self.what, self.details, self.previous)


def canonical(details: Mapping[str, Any]) -> str:
    """One and only one JSON text for equal details.

    Raises:
        ValueError: a number is not finite.
    """
    return json.dumps(
        details, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )


def chained(time: int, who: str, what: str, details: str, previous: str) -> str:
    """SHA-256 of a row and of all before it, hexadecimal."""
    # as a list: no two rows have the same text, wherever a field ends
    text = json.dumps([previous, time, who, what, details], ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether an audit trail is as it was written."""

    rows: int
    head: str
    """Hash of the last row: who noted it elsewhere can prove that nothing before was touched."""
    problems: tuple[str, ...]
    """Sentences that name the rows; empty where all is as it was written."""


def verify(rows: Iterable[AuditRow], last: tuple[int, str], noted: str | None = None) -> Verdict:
    """Follow the chain from its first row to its last.

    Args:
        rows: in the order of their numbers.
        last: number and hash of the last row, as the ledger keeps it beside the trail.
        noted: a hash that was the trail's head at some time; it must be there.
    """
    problems: list[str] = []
    before = AuditRow(0, 0, "", "", "", "", FIRST)
    seen = {FIRST: 0}
    count = 0
    for row in rows:
        count += 1
        if row.hash in seen and row.hash == row.right_hash:
            problems.append(f"row {row.number} was inserted: it is a copy of row {seen[row.hash]}")
            continue
        if row.previous != before.hash:
            problems.append(_broken(before, row, seen))
        if row.hash != row.right_hash:
            problems.append(
                f"row {row.number} was changed: what it says ({row.who}, {row.what}) is not what "
                "was written"
            )
        else:
            seen[row.hash] = row.number
        before = row
    number, head = last
    if before.hash != head:
        if head in seen and seen[head] < before.number:
            problems.append(f"rows after row {seen[head]} were inserted: the trail ended there")
        elif before.number == number:
            problems.append(f"row {number} was changed together with its hash")
        else:
            problems.append(
                f"rows at the end were removed: the trail ends at row {before.number}, and did at "
                f"row {number}"
            )
    if noted is not None and noted not in seen:
        problems.append(f"the trail that ended with {noted} is not a part of this one")
    return Verdict(count, before.hash, tuple(problems))


def _broken(before: AuditRow, row: AuditRow, seen: Mapping[str, int]) -> str:
    """Why a row does not follow the row before it."""
    if row.previous in seen:
        after = seen[row.previous]
        inserted = (
            f"row {before.number} was"
            if before.number == after + 1
            else f"rows {after + 1} to {before.number} were"
        )
        return f"{inserted} inserted: row {row.number} follows row {after}"
    if row.number == before.number + 1:
        return f"row {before.number} was changed together with its hash"
    missing = (
        f"row {before.number + 1} is"
        if row.number == before.number + 2
        else f"rows between {before.number} and {row.number} are"
    )
    return f"{missing} missing: row {row.number} follows another one"
