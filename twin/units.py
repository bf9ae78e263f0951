"""Units at the border: SI inside, the customary unit outside."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Annotated, Final

import pint
from pydantic import BeforeValidator, PlainSerializer, WithJsonSchema

REGISTRY: Final[pint.UnitRegistry[float]] = pint.UnitRegistry(
    autoconvert_offset_to_baseunit=True, cache_folder=None
)
REGISTRY.define("percent = 0.01 = %")


NANOSECONDS_PER: Final = {"s": 1_000_000_000, "ms": 1_000_000, "us": 1_000, "ns": 1}
"""Of a unit in which times are counted since the epoch."""
_LONGEST: Final = 60
_POWER: Final = re.compile(r"\*\*|\^")
_MODEST_POWER: Final = re.compile(
    r"(\*\*|\^)\s*\(?\s*[-+]?\d{1,2}(\.\d{1,3})?(?![\d.]|\s*(\*\*|\^))"
)


def _modest(unit: str) -> bool:
    """Whether a text is one that pint may work out: it would go on for ever at 9**9**9**9."""
    powers = len(_POWER.findall(unit))
    return (
        len(unit) <= _LONGEST
        and powers == len(_MODEST_POWER.findall(unit)) <= 6
        and len(re.findall(r"\)\s*(\*\*|\^)", unit)) <= 1
        and not re.search(r"\d{7}", unit)
    )


@lru_cache(maxsize=1000)
def to_si(unit: str) -> tuple[float, float]:
    """Scale and offset with which `value * scale + offset` is the value in SI base units.

    Raises:
        ValueError: the unit is not known.
    """
    if not _modest(unit):
        raise ValueError(f"unknown unit {unit[:_LONGEST]!r}")
    try:
        parsed = REGISTRY.parse_units(unit)
        zero = REGISTRY.Quantity(0.0, parsed).to_base_units().magnitude
        one = REGISTRY.Quantity(1.0, parsed).to_base_units().magnitude
    except Exception as error:  # pint raises its own, Python's and its parser's errors
        raise ValueError(f"unknown unit {unit!r}") from error
    return float(one - zero), float(zero)


@lru_cache(maxsize=1000)
def si_unit(unit: str) -> str:
    """The SI base unit of what a unit measures, e.g. kg/m²: that of the value inside.

    Raises:
        ValueError: the unit is not known.
    """
    to_si(unit)
    base = REGISTRY.Quantity(1.0, REGISTRY.parse_units(unit)).to_base_units().units
    return f"{base:~P}" or "dimensionless"


@lru_cache(maxsize=1000)
def difference_unit(unit: str) -> str:
    """The unit of a difference of two values in `unit`: K apart, where a value is in degC.

    Raises:
        ValueError: the unit is not known.
    """
    return si_unit(unit) if to_si(unit)[1] else unit


@lru_cache(maxsize=1000)
def same_dimension(one: str, other: str) -> bool:
    """Whether both units measure the same kind of quantity."""
    return bool(
        REGISTRY.parse_units(one).dimensionality == REGISTRY.parse_units(other).dimensionality
    )


def parse(text: str, unit: str) -> float:
    """The SI value of a quantity in words, such as "0.5 m"; it must have the dimension of `unit`.

    Raises:
        ValueError: no number, no unit, or a unit of another dimension.
    """
    text = text.strip()
    words = text.split(maxsplit=1)
    try:
        number = float(words[0])
    except (ValueError, IndexError):
        raise ValueError(
            f"{text!r} is no quantity; write a number and a unit, e.g. '1 {unit}'"
        ) from None
    if len(words) < 2:
        raise ValueError(f"{text!r} has no unit; write e.g. '{words[0]} {unit}'")
    scale, offset = to_si(words[1])
    if not same_dimension(words[1], unit):
        raise ValueError(f"{text!r} is not a quantity in {unit}")
    return number * scale + offset


def _quantity(unit: str) -> BeforeValidator:
    def read(value: object) -> object:
        if isinstance(value, str):
            return parse(value, unit)
        raise ValueError(f"write a number and a unit, e.g. '{value} {unit}'")

    return BeforeValidator(read)


def _schema(unit: str) -> WithJsonSchema:
    return WithJsonSchema({"type": "string", "description": f"number and unit, e.g. '1 {unit}'"})


def in_words(unit: str) -> PlainSerializer:
    """Writes an SI value so that `parse` reads the very same number again."""
    return PlainSerializer(lambda value: f"{value!r} {unit}", return_type=str, when_used="json")


Length = Annotated[float, _quantity("m"), in_words("m"), _schema("m")]
Duration = Annotated[float, _quantity("s"), in_words("s"), _schema("s")]
Volume = Annotated[float, _quantity("liter"), in_words("m^3"), _schema("liter")]
