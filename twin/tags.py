"""Tags: the named signals of the line, and the table that numbers them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from twin.samples import Floats
from twin.units import to_si

ParameterClass = Literal["MP", "PP", "SP"]
Role = Literal["setpoint", "actual", "measurement", "laboratory", "counter", "derived"]


@dataclass(frozen=True, slots=True)
class Tag:
    """A named signal of a station, e.g. `coater.line_speed`."""

    name: str
    unit: str
    """The unit at the border; inside, values are SI."""
    parameter_class: ParameterClass
    """MP machine, PP process, SP structure parameter."""
    role: Role
    station: str | None = None
    low: float = float("-inf")
    """Lowest plausible value, SI."""
    high: float = float("inf")
    """Highest plausible value, SI."""

    def from_si(self, value: float) -> float:
        """The value in the tag's own unit."""
        scale, offset = to_si(self.unit)
        return (value - offset) / scale

    def to_si(self, value: float) -> float:
        """The SI value of one in the tag's own unit."""
        scale, offset = to_si(self.unit)
        return value * scale + offset

    def in_unit(self, values: Floats) -> Floats:
        """SI values in the tag's own unit."""
        scale, offset = to_si(self.unit)
        return (values - offset) / scale


class TagTable:
    """All tags of a line in a fixed order: the position is the tag's index in every batch."""

    def __init__(self, tags: Sequence[Tag]) -> None:
        self._tags = tuple(tags)
        self._index = {tag.name: index for index, tag in enumerate(self._tags)}
        if len(self._index) != len(self._tags):
            raise ValueError("a tag is named twice")

    def __getitem__(self, index: int) -> Tag:
        return self._tags[index]

    def __len__(self) -> int:
        return len(self._tags)

    def __iter__(self) -> Iterator[Tag]:
        return iter(self._tags)

    def __contains__(self, name: str) -> bool:
        return name in self._index

    def index(self, name: str) -> int:
        """Raises KeyError where no tag has the name."""
        return self._index[name]

    def named(self, name: str) -> Tag:
        """Raises KeyError where no tag has the name."""
        return self._tags[self._index[name]]
