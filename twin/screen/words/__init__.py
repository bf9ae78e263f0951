"""What the screen says, in the languages of those who read it: one table per language."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, tzinfo
from typing import Final

from twin.chain import readable
from twin.desk.views import SetpointChange
from twin.screen.words import de, en

_TABLES: Final = {"en": en, "de": de}
_UNITS: Final = [
    (re.compile(rf"(?<=\d ){plain}(?![\w/^])"), sign)
    for plain, sign in (
        ("um", "µm"),
        (r"g/m\^2", "g/m²"),
        (r"kg/m\^3", "kg/m³"),
        ("percent", "%"),
        ("degC", "°C"),
        (r"Pa\*s", "Pa s"),
        (" ?dimensionless", ""),
    )
]
"""Units as they stand in sentences of the twin, and as people write them."""
_IDENTIFIER: Final = re.compile(r"\b(?:[a-z0-9_]+\.)?[a-z0-9]+(?:_[a-z0-9]+)+\b")
"""A name, perhaps with what it belongs to."""
_TYPED: Final = "%Y-%m-%dT%H:%M:%S"
"""How a browser's field of date and time writes a moment."""
LANGUAGES: Final = tuple(_TABLES)


@dataclass(frozen=True, slots=True)
class Words:
    """The words of one language, and the clock of the site.

    Args:
        language: one of `LANGUAGES`.
        zone: in which times are said and typed.
    """

    language: str
    zone: tzinfo = UTC
    table: Mapping[str, str] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "table", _TABLES[self.language].WORDS)

    def __call__(self, key: str, **values: object) -> str:
        """What is said for a key, with values filled in.

        Raises:
            KeyError: the table lacks the key, or a value is missing.
        """
        return self.table[key].format(**values)

    def name(self, identifier: str) -> str:
        """A step, parameter, station or tag as people call it; its own name where none is known."""
        known: str | None = _TABLES[self.language].NAMES.get(identifier)
        if known is not None:
            return known
        plain = identifier.replace("_", " ")
        return plain[:1].upper() + plain[1:]

    def full(self, identifier: str) -> str:
        """`step.parameter` as people call it: the parameter, then what it belongs to."""
        owner, _, name = identifier.rpartition(".")
        return f"{self.name(name)} ({self.name(owner)})" if owner else self.name(name)

    def last(self, identifier: str) -> str:
        """Only the parameter of `step.parameter`."""
        return self.name(identifier.rpartition(".")[2])

    def act(self, what: str) -> str:
        """What somebody did, as the audit names it."""
        acts = _TABLES[self.language].ACTS
        refused = what.removeprefix("refused: ")
        said: str = acts.get(refused, refused)
        return str(said) if refused == what else self("was_refused", what=said)

    def sentence(self, text: str) -> str:
        """A sentence of the twin in this language; as it is where no phrase fits it."""
        said = "; ".join(self._phrase(part) for part in text.split("; "))
        said = re.sub(r"-(?=\d)", "−", said)
        said = _IDENTIFIER.sub(lambda found: self._within(found[0]), said)
        for plain, sign in _UNITS:
            said = plain.sub(sign, said)
        return said[:1].upper() + said[1:]

    def _within(self, identifier: str) -> str:
        """A name inside a sentence, and in brackets what it belongs to."""
        owner, _, name = identifier.rpartition(".")
        known: str = _TABLES[self.language].NAMES.get(name, name.replace("_", " "))
        return f"{known} ({self._within(owner)})" if owner else known

    def _phrase(self, text: str) -> str:
        for pattern, template in _TABLES[self.language].PHRASES:
            found = re.fullmatch(pattern, text)
            if found is not None:
                said = {key: self._part(key, value) for key, value in found.groupdict().items()}
                return str(template.format(**said))
        return text

    def _part(self, key: str, value: str) -> str:
        if key.startswith("name"):
            return self.name(value.strip().replace(" ", "_"))
        if key.startswith("tag"):
            return ", ".join(map(self.full, value.split(", ")))
        if key.startswith("number"):
            return value.replace(".", ",") if self.language == "de" else value
        if key.startswith("rest"):
            return self.sentence(value)
        return self.unit(value) if key.startswith("unit") else value

    def number(self, value: float | None, digits: int) -> str:
        """A number as it is written here; a dash where there is none."""
        if value is None or not math.isfinite(value):
            return "–"
        text = f"{0.0 if abs(value) < 0.5 * 10.0**-digits else value:,.{digits}f}"
        if self.language == "de":
            text = text.translate(str.maketrans(",.", ".,"))
        return text.replace("-", "−")

    def small(self, value: float) -> str:
        """An error, which may be next to nothing."""
        places = digits(value)
        least = 10.0**-places
        return self.number(value, places) if value >= least else f"< {self.number(least, places)}"

    def between(self, ends: tuple[float, float], places: int) -> str:
        """From one number to another."""
        return f"{self.number(ends[0], places)} – {self.number(ends[1], places)}"

    def value(self, value: float | None, places: int, unit: str) -> str:
        """A number with its unit."""
        return f"{self.number(value, places)} {self.unit(unit)}".rstrip()

    def change(self, change: SetpointChange) -> str:
        """A setpoint from what it is to what it is to be."""
        places = digits(change.before, change.after)
        after = self.value(change.after, places, change.unit)
        return f"{self.last(change.setpoint)} {self.number(change.before, places)} → {after}"

    def unit(self, unit: str) -> str:
        """A unit as people write it."""
        return readable(unit)

    def time(self, moment: datetime | None, date: bool = True) -> str:
        """A moment by the clock of the site; a dash where there is none."""
        if moment is None:
            return "–"
        form = {"de": "%d.%m.%Y %H:%M:%S", "en": "%Y-%m-%d %H:%M:%S"}[self.language]
        return moment.astimezone(self.zone).strftime(form if date else "%H:%M:%S")

    def typed(self, moment: datetime) -> str:
        """A moment as a field of date and time holds it."""
        return moment.astimezone(self.zone).strftime(_TYPED)

    def moment(self, typed: str) -> datetime:
        """The moment that somebody typed by the clock of the site.

        Raises:
            ValueError, TypeError: it is none.
        """
        return datetime.fromisoformat(typed).replace(tzinfo=self.zone)


def digits(*scale: float | None) -> int:
    """Decimals that give the largest number of a scale three or four figures."""
    largest = max((abs(each) for each in scale if each is not None), default=0.0)
    if largest == 0.0 or not math.isfinite(largest):
        return 2
    power = math.floor(math.log10(largest))
    return 0 if power >= 3 else 1 if power >= 1 else min(2 - power, 6)


def meaningful(uncertainty: float) -> int:
    """Decimals that an uncertainty gives a meaning to."""
    return min(6, max(0, math.ceil(-math.log10(uncertainty / 2))))
