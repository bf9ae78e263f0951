"""Units as machines spell them: UNECE display names beside pint's."""

from __future__ import annotations

import math
from functools import cache
from typing import Final

from twin.units import same_dimension, to_si

_SPELLINGS: Final = {
    "": "dimensionless",
    "1": "dimensionless",
    "-": "dimensionless",
    "%": "percent",
    "°": "degree",
    "°C": "degC",
    "℃": "degC",
    "C": "degC",
    "°F": "degF",
    "r/min": "rpm",
    "rev/min": "rpm",
    "U/min": "rpm",
    "min-1": "1/min",
    "min⁻¹": "1/min",
}
_SIGNS: Final = str.maketrans({"µ": "u", "μ": "u", "²": "^2", "³": "^3", "·": "*", "Ω": "ohm"})


def pint_name(spelling: str) -> str:
    """The unit in the spelling that pint reads."""
    plain = spelling.strip()
    return _SPELLINGS.get(plain) or plain.translate(_SIGNS)


@cache
def mismatch(theirs: str, ours: str) -> str | None:
    """Why a peer's unit is not the configured one; None where both are the same."""
    name = pint_name(theirs)
    try:
        scale, offset = to_si(name)
    except ValueError:
        return f"the unit {theirs!r} is not known; the configuration says {ours!r}"
    if not same_dimension(name, ours):
        return f"the unit is {theirs!r}, another dimension than the configured {ours!r}"
    our_scale, our_offset = to_si(ours)
    if math.isclose(scale, our_scale, rel_tol=1e-9) and math.isclose(
        offset, our_offset, rel_tol=1e-9, abs_tol=1e-12
    ):
        return None
    return f"the unit is {theirs!r}, not the configured {ours!r}"
