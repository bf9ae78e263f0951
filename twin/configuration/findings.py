"""Collecting what the checks find."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

from twin.configuration.models import LineConfiguration, TagConfiguration
from twin.configuration.problems import one_of
from twin.units import same_dimension, to_si


@dataclass(frozen=True, slots=True)
class Finding:
    """Something wrong at a key of the configuration."""

    path: tuple[str, ...]
    """The keys that lead to it."""
    what: str
    remedy: str


class Findings:
    """What the checks of one configuration found."""

    def __init__(self, configuration: LineConfiguration) -> None:
        self.configuration = configuration
        self._found: list[Finding] = []

    def __iter__(self) -> Iterator[Finding]:
        return iter(self._found)

    def add(self, path: tuple[str, ...], what: str, remedy: str) -> None:
        self._found.append(Finding(path, what, remedy))

    def known(self, path: tuple[str, ...], kind: str, name: str, names: Collection[str]) -> bool:
        """Whether the name is one of the names; noted where it is not."""
        if name in names:
            return True
        self.add(path, f"{kind} {name!r} is not declared", one_of(name, names, kind))
        return False

    def tag(self, path: tuple[str, ...], name: str | None) -> TagConfiguration | None:
        """The tag of the name; noted where a name is given that no tag has."""
        tags = self.configuration.tags
        if name is None or not self.known(path, "tag", name, tags):
            return None
        return tags[name]

    def unit(self, path: tuple[str, ...], unit: str) -> None:
        """Note an unknown unit."""
        if not unit_known(unit):
            self.add(
                path,
                f"unknown unit {unit!r}",
                "write a unit such as m/min, um, degC, g/m^2, percent or dimensionless",
            )

    def dimension(self, path: tuple[str, ...], name: str, unit: str, wanted: str) -> None:
        """Note a tag or output whose unit does not measure what the wanted unit does."""
        if unit_known(unit) and unit_known(wanted) and not same_dimension(unit, wanted):
            self.add(
                path,
                f"{name} is in {unit}, which is not a quantity in {wanted}",
                f"name one in {wanted}, or correct the unit",
            )

    def ascending(
        self, path: tuple[str, ...], name: str, limits: tuple[float, float] | None
    ) -> bool:
        """Whether limits, where there are any, are low and high; noted where not."""
        if limits is None or limits[0] < limits[1]:
            return True
        self.add(
            path,
            f"{name} are [{limits[0]:g}, {limits[1]:g}]: the first is not below the second",
            "write the lower one first",
        )
        return False


def unit_known(unit: str) -> bool:
    """Whether pint knows the unit."""
    try:
        to_si(unit)
    except ValueError:
        return False
    return True
