"""Values, times and status codes as OPC UA has them, and as the twin has them."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Final

import numpy as np
from asyncua import ua
from numpy.typing import NDArray

from twin.samples import BAD_NO_DATA, BAD_TYPE_MISMATCH, Bools

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LATEST: Final = (1 << 63) - 1
_INTEGERS: Final = {
    ua.VariantType.SByte: (-(1 << 7), (1 << 7) - 1),
    ua.VariantType.Byte: (0, (1 << 8) - 1),
    ua.VariantType.Int16: (-(1 << 15), (1 << 15) - 1),
    ua.VariantType.UInt16: (0, (1 << 16) - 1),
    ua.VariantType.Int32: (-(1 << 31), (1 << 31) - 1),
    ua.VariantType.UInt32: (0, (1 << 32) - 1),
    ua.VariantType.Int64: (-(1 << 63), (1 << 63) - 1),
    ua.VariantType.UInt64: (0, (1 << 64) - 1),
}
"""With the least and the largest that each holds."""
_ABOUT_OVERFLOW: Final = 0x0C80
"""The bits of a status code that tell whether it is one of a data value, and the bit Overflow."""
_OVERFLOW: Final = 0x0480
_FLOAT: Final = float(np.finfo(np.float32).max)


def nanoseconds(moment: datetime) -> int:
    """Nanoseconds since the epoch; a moment without zone is UTC, as OPC UA has it.

    The years 1601 and 9999, which servers send for "never", become the nearest that 64 bits hold.
    """
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    past = moment - _EPOCH
    time = (past.days * 86_400 + past.seconds) * 1_000_000_000 + past.microseconds * 1_000
    return min(max(time, 0), _LATEST)


def number(value: ua.DataValue | None) -> tuple[float, int]:
    """Value in the server's unit and status code; NaN and a bad code where there is no number."""
    if value is None:
        return math.nan, BAD_NO_DATA
    quality = 0 if value.StatusCode is None else value.StatusCode.value
    content = None if value.Value is None else value.Value.Value
    if isinstance(content, (float, int)):
        if math.isfinite(content) or quality >> 31:
            return float(content), quality
        return math.nan, BAD_NO_DATA
    if quality >> 31:
        return math.nan, quality
    return math.nan, BAD_NO_DATA if content is None else BAD_TYPE_MISMATCH


def overflowed(quality: NDArray[np.uint32]) -> Bools:
    """Which status codes say that the server's queue was full and that values are lost."""
    lost: Bools = (quality & _ABOUT_OVERFLOW) == _OVERFLOW
    return lost


def span(kind: ua.VariantType) -> tuple[float, float]:
    """The least and the largest value of a type; that of a Double where it is no number."""
    if kind is ua.VariantType.Float:
        return -_FLOAT, _FLOAT
    return _INTEGERS.get(kind, (-math.inf, math.inf))


def as_type(value: float, kind: ua.VariantType) -> float | int | bool:
    if kind is ua.VariantType.Boolean:
        return bool(round(value))
    if kind in _INTEGERS:
        return round(value)
    return value
