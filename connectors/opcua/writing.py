"""Setpoints: written, read back and compared."""

from __future__ import annotations

import math
from typing import Final

from asyncua import ua
from asyncua.client.ua_session import UaSession
from asyncua.ua.attribute_ids import AttributeIds
from asyncua.ua.status_codes import StatusCodes

from connectors.opcua.values import as_type, number
from twin.ports import Write, WriteOutcome, WriteStatus
from twin.tags import Tag
from twin.units import to_si

_DENIED: Final = frozenset(
    {
        StatusCodes.BadOutOfRange,
        StatusCodes.BadUserAccessDenied,
        StatusCodes.BadNotWritable,
        StatusCodes.BadWriteNotSupported,
    }
)


async def write_and_read_back(
    remote: UaSession, tag: Tag, node: ua.NodeId, kind: ua.VariantType, write: Write
) -> WriteOutcome:
    """Write a setpoint to its node, as a value of that kind, and compare what is there then.

    Raises:
        OSError, UaError: the server was lost, or answered nonsense.
    """
    value = as_type(tag.from_si(write.value), kind)
    (status,) = await remote.write_attributes([node], [ua.DataValue(ua.Variant(value, kind))])
    if not status.is_good():
        outcome: WriteStatus = "denied" if status.value in _DENIED else "failed"
        reason = f"the server answers {status.name}: {status.doc}"
        return WriteOutcome(write, outcome, math.nan, reason)
    (read,) = await remote.read_attributes([node], AttributeIds.Value)
    found, quality = number(read)
    scale, offset = to_si(tag.unit)
    back = found * scale + offset
    if quality >> 30:
        return WriteOutcome(write, "failed", back, f"read back with status 0x{quality:08X}")
    if not math.isclose(found, float(value), rel_tol=1e-6, abs_tol=1e-9):
        reason = f"wrote {value:g} {tag.unit}, read back {found:g} {tag.unit}"
        return WriteOutcome(write, "failed", back, reason)
    return WriteOutcome(write, "applied", back)
