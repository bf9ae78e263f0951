"""Units as machines spell them: UNECE display names beside pint's."""

from __future__ import annotations

import math
import re
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
    "Nm3/h": "m^3/h",
    "Nm³/h": "m^3/h",
    "mPas": "mPa*s",
    "Pas": "Pa*s",
    "%rF": "percent",
    "%rH": "percent",
    "%RH": "percent",
    "bar(g)": "bar",
    "barg": "bar",
    "mbar(g)": "mbar",
}
"""Also those that pint would read as something else: mPas as mPa, bar(g) as bar times gram."""
_POWER: Final = re.compile(r"\b([cdmk]?m)([23])\b")
"""Square and cubic metres as a plain keyboard has them: m3/h."""
_SPELLINGS_KEPT: Final = 16
_SIGNS: Final = str.maketrans({"µ": "u", "μ": "u", "²": "^2", "³": "^3", "·": "*", "Ω": "ohm"})


def pint_name(spelling: str) -> str:
    """The unit in the spelling that pint reads."""
    plain = spelling.strip()
    known = _SPELLINGS.get(plain) or _SPELLINGS.get(plain.replace(" ", ""))
    return known or _POWER.sub(r"\1^\2", plain.translate(_SIGNS))


def understood(spelling: str) -> bool:
    """Whether it is known which unit is meant."""
    try:
        to_si(pint_name(spelling))
    except ValueError:
        return False
    return True


def mismatch(theirs: str, ours: str) -> str | None:
    """Why a peer's unit is not the configured one; None where both are the same."""
    name = pint_name(theirs)
    if name == "1/min" and same_dimension(ours, "rpm") and to_si(ours) == to_si("rpm"):
        # of whatever turns, and pint has the whole turn as 2 pi
        return None
    if not understood(theirs):
        return f"the unit {theirs!r} is not known; the configuration says {ours!r}"
    scale, offset = to_si(name)
    if not same_dimension(name, ours):
        return f"the unit is {theirs!r}, another dimension than the configured {ours!r}"
    our_scale, our_offset = to_si(ours)
    if math.isclose(scale, our_scale, rel_tol=1e-9) and math.isclose(
        offset, our_offset, rel_tol=1e-9, abs_tol=1e-12
    ):
        return None
    return f"the unit is {theirs!r}, not the configured {ours!r}"


class UnitCheck:
    """Compares the units that a peer writes into its messages with the configured one.

    It remembers a few spellings, and beyond them asks no more: who sends another one every time
    sends nonsense.

    Args:
        ours: the configured unit.
    """

    def __init__(self, ours: str) -> None:
        self._ours = ours
        self._known: dict[str, str | None] = {}

    def __call__(self, theirs: str) -> str | None:
        """Why a unit is not the configured one; None where both are the same."""
        if theirs not in self._known:
            if len(self._known) >= _SPELLINGS_KEPT:
                return "there were too many different units already"
            self._known[theirs] = mismatch(theirs, self._ours)
        return self._known[theirs]
