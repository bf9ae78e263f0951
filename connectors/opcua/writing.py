"""Setpoints: written, read back and compared."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from asyncua import ua
from asyncua.client.ua_session import UaSession
from asyncua.ua.status_codes import StatusCodes

from connectors.opcua.reading import present
from connectors.opcua.values import as_type, number
from twin.ports import Write, WriteOutcome, WriteStatus
from twin.tags import Tag

_AGAIN: Final = 0.05
"""Pause between two looks at what a machine has made of a write, s."""
_DENIED: Final = frozenset(
    {
        StatusCodes.BadOutOfRange,
        StatusCodes.BadUserAccessDenied,
        StatusCodes.BadNotWritable,
        StatusCodes.BadWriteNotSupported,
    }
)


@dataclass(frozen=True, slots=True)
class Written:
    """A setpoint of a machine, and what is written to it."""

    write: Write
    tag: Tag
    node: ua.NodeId
    kind: ua.VariantType

    @property
    def value(self) -> float | int | bool:
        """In the tag's unit, as the machine's type holds it."""
        return as_type(self.tag.from_si(self.write.value), self.kind)

    def outcome(self, status: WriteStatus, reason: str, back: float = math.nan) -> WriteOutcome:
        return WriteOutcome(self.write, status, back, reason)

    def compared(self, read: ua.DataValue) -> WriteOutcome:
        """What became of it, by what the machine says now."""
        found, quality = number(read)
        back = self.tag.to_si(found)
        if quality >> 30:
            return self.outcome("failed", f"read back with status 0x{quality:08X}", back)
        if not math.isclose(found, float(self.value), rel_tol=1e-6, abs_tol=1e-9):
            unit = self.tag.unit
            reason = f"wrote {self.value:g} {unit}, read back {found:g} {unit}"
            return self.outcome("failed", reason, back)
        return self.outcome("applied", "", back)


async def write_and_read_back(remote: UaSession, written: Written, patience: float) -> WriteOutcome:
    """Write a setpoint, and look at it until the machine has it or the patience (s) ends.

    Raises:
        OSError, UaError: the server was lost, or answered nonsense.
    """
    reason = f"no answer within {patience:g} s; it may have been written"
    outcome = written.outcome("timed out", reason)
    with suppress(TimeoutError):
        async with asyncio.timeout(patience):
            value = ua.DataValue(ua.Variant(written.value, written.kind))
            (status,) = await remote.write_attributes([written.node], [value])
            if not status.is_good():
                denied = status.value in _DENIED
                reason = f"the server answers {status.name}: {status.doc}"
                return written.outcome("denied" if denied else "failed", reason)
            while outcome.status != "applied":
                # one that takes its time (GoodCompletesAsynchronously) still says what was before
                await asyncio.sleep(0.0 if outcome.status == "timed out" else _AGAIN)
                _, (read,) = await present(remote, [written.node])
                outcome = written.compared(read)
    return outcome


async def look_again(
    remote: UaSession, written: Sequence[Written], pause: float, patience: float
) -> list[WriteOutcome]:
    """Whether what was written is still there after a pause (s): a machine may take it back.

    Raises:
        OSError, UaError: the server was lost, or answered nonsense.
    """
    try:
        async with asyncio.timeout(patience):
            await asyncio.sleep(pause)
            _, found = await present(remote, [each.node for each in written])
    except TimeoutError:
        reason = f"no answer within {patience:g} s; it was written, and may have been taken back"
        return [each.outcome("timed out", reason) for each in written]
    return [each.compared(read) for each, read in zip(written, found, strict=True)]
