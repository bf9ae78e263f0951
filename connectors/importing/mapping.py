"""The mapping file: what the columns, names or series of foreign data are to the line."""

from __future__ import annotations

import zoneinfo
from collections.abc import Mapping
from datetime import date, datetime
from fnmatch import fnmatch
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    PositiveInt,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic import Tag as Choice

from connectors.importing.explaining import explain
from connectors.importing.series import key_of
from connectors.unit_names import pint_name
from twin.configuration.models import LineConfiguration
from twin.configuration.problems import ConfigurationError, Problem, one_of
from twin.configuration.yaml_text import Document, Location, read_yaml
from twin.units import Duration, same_dimension, to_si

Layout = Literal["wide", "long", "line protocol", "annotated csv"]
Severity = Literal["good", "uncertain", "bad"]
MISSING: Final = ("", "NA", "NaN", "nan", "null")
_FORMATS: Final = ("iso", "s", "ms", "us", "ns", "excel")
_DELIMITERS: Final = {"tab": "\t", "whitespace": " "}


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def _text(value: object) -> object:
    """YAML reads a number or a date where a text is meant."""
    if isinstance(value, bool):
        raise ValueError(f"YAML reads this as {value}; put it in quotes")
    if isinstance(value, datetime | date):
        return value.isoformat()
    return str(value) if isinstance(value, int | float) else value


Word = Annotated[str, BeforeValidator(_text)]


def _list(value: object) -> object:
    return value if isinstance(value, list) else [value]


class TimeMapping(_Section):
    """Where the time of a row stands and how it is written."""

    column: Annotated[tuple[Word, ...], BeforeValidator(_list)] = Field(
        (), description="column of the time; several, such as date and time, are joined by a blank"
    )
    format: str | None = Field(
        None,
        description="iso, a pattern such as '%d.%m.%Y %H:%M:%S', a number since 1970 in s, ms, us "
        "or ns, or excel for days since 1900; iso without it, ns in line protocol",
    )
    zone: str | None = Field(
        None, description="IANA name of the zone of times that do not say theirs, e.g. UTC"
    )
    fold: Literal["earlier", "later"] | None = Field(
        None, description="which one is meant where the clock is set and a time is none or two"
    )
    start: Word | None = Field(None, description="time of the first row, where no column has it")
    every: Duration | None = Field(None, gt=0, description="from row to row, with start")
    delay: Duration = Field(0.0, ge=0, description="from source to arrival")

    @field_validator("zone")
    @classmethod
    def _known(cls, zone: str | None) -> str | None:
        names = zoneinfo.available_timezones()
        if zone is not None and zone not in names:
            raise ValueError(f"there is no time zone {zone!r}; {_zone_remedy(zone, names)}")
        return zone

    @field_validator("format")
    @classmethod
    def _readable(cls, pattern: str | None) -> str | None:
        if pattern is not None and pattern not in _FORMATS and "%" not in pattern:
            raise ValueError(
                f"{pattern!r} is no format; write iso, s, ms, us, ns, excel, or a pattern such as "
                "'%d.%m.%Y %H:%M:%S'"
            )
        return pattern

    @model_validator(mode="after")
    def _together(self) -> TimeMapping:
        if (self.start is None) != (self.every is None):
            raise ValueError("start and every go together; give both, or a column")
        if self.start is not None and self.column:
            raise ValueError("the time is given twice; keep either column, or start and every")
        return self


def _zone_remedy(zone: str, names: set[str]) -> str:
    last = {name.rpartition("/")[2].lower(): name for name in sorted(names)}
    found = last.get(zone.rpartition("/")[2].lower())
    return f"did you mean {found!r}?" if found else one_of(zone, ["UTC", *sorted(names)], "zone")


class SignalMapping(_Section):
    """What a column, a name or a series is to the line."""

    tag: str = Field(description="tag of the line")
    unit: str | None = Field(None, description="unit in the file; that of the tag without it")
    quality: str | None = Field(None, description="column of its quality")


def _short(value: object) -> object:
    return {"tag": value} if isinstance(value, str) else value


Signal = Annotated[SignalMapping, BeforeValidator(_short)]


class ConstantMapping(_Section):
    """A tag that the data do not have, with the same value all the time."""

    value: float = Field(description="in unit")
    unit: str | None = Field(None, description="that of the tag without it")
    at: Literal["every row", "once"] = Field("every row", description="how often it is recorded")


def _line_or_none(value: object) -> object:
    if value != "none" and (not isinstance(value, int) or value < 1):
        raise ValueError(f"{value!r} is no line; write its number, from 1, or none")
    return value


class LongColumns(_Section):
    """Columns of a file with one value per row."""

    name: Word = Field(description="column of the name of the signal")
    value: Word = Field(description="column of the value")
    unit: Word | None = Field(None, description="column of the unit")
    quality: Word | None = Field(None, description="column of the quality")


class LaboratoryColumns(_Section):
    """Columns that say which material a laboratory value is of; its time is when it was sampled."""

    roll: Word | None = Field(None, description="column of the roll")
    metre: Word | None = Field(None, description="column of the metre in the roll, as wound")
    batch: Word | None = Field(None, description="column of the slurry batch")
    known: Word | None = Field(None, description="column of the time at which it became known")

    @model_validator(mode="after")
    def _material(self) -> LaboratoryColumns:
        if (self.roll is None) != (self.metre is None) or (self.roll is None) == (
            self.batch is None
        ):
            raise ValueError("a laboratory value is of one material; give roll and metre, or batch")
        return self


class SourceMapping(_Section):
    """How files of one kind are read."""

    files: str = Field("*", description="pattern of their names")
    layout: Layout | None = Field(None, description="follows from columns, long or series")
    delimiter: str | None = Field(
        None, description="a character, tab or whitespace; found in the first line without it"
    )
    encoding: str = Field("utf-8", description="e.g. cp1252 for many a Windows program")
    decimal: Literal[".", ","] = Field(".", description="decimal point or comma")
    thousands: Literal[".", ",", " ", "'"] | None = Field(
        None, description="what separates thousands"
    )
    header: Annotated[PositiveInt | Literal["none"], BeforeValidator(_line_or_none)] = Field(
        1, description="line of the column names; none where columns are numbered '1', '2', ..."
    )
    first_row: PositiveInt | None = Field(
        None, description="line of the first values; the one after the header without it"
    )
    transposed: bool = Field(False, description="rows are signals and columns are times")
    sheet: str | None = Field(None, description="of a workbook; the first without it")
    missing: tuple[Word, ...] = Field(MISSING, description="words that stand for no value")
    time: TimeMapping = Field(default_factory=lambda: TimeMapping.model_validate({}))
    columns: dict[str, Signal] = Field(
        default_factory=dict, description="wide: signals by the name of their column"
    )
    long: LongColumns | None = Field(None, description="long: which column is what")
    names: dict[str, Signal] = Field(
        default_factory=dict, description="long: signals by their name in the file"
    )
    series: dict[str, Signal] = Field(
        default_factory=dict,
        description="InfluxDB: signals by 'measurement,tag=value field', escaped as in line "
        "protocol; tags that are not named may have any value",
    )
    laboratory: LaboratoryColumns | None = Field(None, description="long: material of the values")
    qualities: dict[str, Severity] = Field(
        default_factory=dict, description="what the words of quality columns mean"
    )
    constants: dict[str, ConstantMapping] = Field(
        default_factory=dict, description="by tag, for what the data do not have"
    )
    ignore: tuple[Word, ...] = Field((), description="columns, names or series to leave out")
    rest: Literal["error", "ignore"] = Field("error", description="what is not named here")

    @field_validator("delimiter")
    @classmethod
    def _character(cls, value: str | None) -> str | None:
        plain = _DELIMITERS.get(value or "", value)
        if plain is not None and len(plain) != 1:
            raise ValueError(f"{value!r} is no delimiter; write one character, tab or whitespace")
        return plain

    @field_validator("encoding")
    @classmethod
    def _codec(cls, value: str) -> str:
        try:
            "".encode(value)
        except LookupError:
            raise ValueError(
                f"there is no encoding {value!r}; write utf-8, utf-16 or cp1252"
            ) from None
        return value

    @model_validator(mode="after")
    def _one_layout(self) -> SourceMapping:
        kinds = [key for key in ("columns", "names", "series") if getattr(self, key)]
        if len(kinds) != 1:
            said = " and ".join(kinds) or "neither columns, names nor series"
            raise ValueError(
                f"the mapping has {said}; give columns for a wide file, names for a long one, or "
                "series for InfluxDB"
            )
        key = {"wide": "columns", "long": "names"}.get(self.layout or "", "series")
        if self.layout is not None and key != kinds[0]:
            raise ValueError(f"the layout is {self.layout}, but {kinds[0]} is given; give {key}")
        if (self.long is not None) != (kinds[0] == "names"):
            raise ValueError("names and long go together; say in long which column is what")
        if self.laboratory is not None and self.long is None:
            raise ValueError("laboratory values stand one per row; use names and long for them")
        if kinds[0] != "series" and not self.time.column and self.time.start is None:
            raise ValueError("the rows have no time; add 'time: {column: ...}', or start and every")
        if self.thousands == self.decimal:
            raise ValueError("thousands and decimals are separated alike; change one of the two")
        return self

    @property
    def signals(self) -> Mapping[str, SignalMapping]:
        """By column, name or series."""
        return self.columns or self.names or self.series

    @property
    def kind(self) -> Literal["columns", "names", "series"]:
        """Where the signals stand in the mapping file."""
        return "columns" if self.columns else "names" if self.names else "series"


class _Sources(_Section):
    sources: list[SourceMapping] = Field(min_length=1, description="one for each kind of file")


def _kind_of_mapping(value: object) -> str:
    return "sources" if isinstance(value, dict) and "sources" in value else "one"


class _Root(BaseModel):
    content: Annotated[
        Annotated[_Sources, Choice("sources")] | Annotated[SourceMapping, Choice("one")],
        Discriminator(_kind_of_mapping),
    ]


class ImportMapping:
    """A mapping file, checked against the line.

    Attributes:
        file: where it was read.
        sources: how files are read, by kind; most mapping files have one.
    """

    def __init__(self, file: Path, sources: list[SourceMapping]) -> None:
        self.file = file
        self.sources = tuple(sources)

    def source_of(self, file: Path) -> SourceMapping | None:
        """How a file is read: the first kind whose pattern its name has."""
        return next((each for each in self.sources if fnmatch(file.name, each.files)), None)


def load_mapping(path: Path, line: LineConfiguration) -> ImportMapping:
    """Read a mapping file and check it against the line.

    Raises:
        ConfigurationError: the file cannot be used; it holds every problem found.
    """
    document = read_yaml(path)
    try:
        content = _Root.model_validate({"content": document.data}).content
    except ValidationError as error:
        raise ConfigurationError(explain(error, document, _models())) from error
    several = isinstance(content, _Sources)
    sources = content.sources if isinstance(content, _Sources) else [content]
    problems = [
        problem
        for number, source in enumerate(sources)
        for problem in _check(source, ("sources", number) if several else (), line, document)
    ]
    if problems:
        raise ConfigurationError(sorted(problems, key=lambda problem: problem.line))
    return ImportMapping(path, sources)


def _models() -> Mapping[str, type[BaseModel]]:
    """The model of every section, by its key."""
    signal = dict.fromkeys(("columns", "names", "series"), SignalMapping)
    return {
        "": SourceMapping,
        "time": TimeMapping,
        "long": LongColumns,
        "laboratory": LaboratoryColumns,
        "constants": ConstantMapping,
        **signal,
    }


def _check(
    source: SourceMapping, path: Location, line: LineConfiguration, document: Document
) -> list[Problem]:
    problems: list[Problem] = []
    seen: dict[str, str] = {}

    def add(where: Location, what: str, remedy: str) -> None:
        problems.append(document.problem((*path, *where), what, remedy))

    def check_tag(where: Location, name: str, unit: str | None) -> None:
        tag = line.tags.get(name)
        if tag is None:
            add(where, f"the line has no tag {name!r}", one_of(name, line.tags, "tag"))
            return
        if unit is not None:
            here = (*where, "unit")
            try:
                to_si(pint_name(unit))
            except ValueError:
                add(here, f"unknown unit {unit!r}", f"write it as in {tag.unit!r} or 'g/m^2'")
                return
            if not same_dimension(pint_name(unit), tag.unit):
                add(
                    here,
                    f"{unit!r} is of another dimension than {tag.unit!r}, the unit of {name!r}",
                    f"write the unit that the file has, e.g. {tag.unit!r}, or name another tag",
                )
        if tag.role == "laboratory" and (source.laboratory is None or where[0] == "constants"):
            add(
                where,
                f"{name!r} is a laboratory value, and nothing says of which material",
                "give names, long and laboratory, with the columns of roll and metre or of batch",
            )
        elif tag.role != "laboratory" and source.laboratory is not None:
            add(
                where,
                f"{name!r} is no laboratory value, but the mapping says laboratory",
                "give it a mapping of its own under sources",
            )

    for key, signal in source.signals.items():
        where = (source.kind, key)
        check_tag(where, signal.tag, signal.unit)
        if source.kind == "series":
            try:
                key_of(key)
            except ValueError as error:
                what, _, remedy = str(error).partition("; ")
                add(where, what, remedy)
        if signal.quality is not None and source.kind != "columns":
            add(
                (*where, "quality"),
                "a quality column per signal is for wide files",
                "name the column of the quality once, in long",
            )
        if source.kind == "columns" and signal.tag in seen:
            add(
                where,
                f"the tag {signal.tag!r} is also that of column {seen[signal.tag]!r}",
                "keep one of the two and ignore the other",
            )
        seen[signal.tag] = key
    for name, constant in source.constants.items():
        check_tag(("constants", name), name, constant.unit)
        if name in seen:
            add(
                ("constants", name),
                f"{name!r} has a constant and stands in the data",
                "delete one of the two",
            )
    return problems
