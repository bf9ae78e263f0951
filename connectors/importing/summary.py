"""What an import understood: files, signals, times, gaps."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True)


class FileSummary(_Part):
    """One file as it was read."""

    file: str
    layout: str
    understood: dict[str, str]
    """What was found out about it, by the key of the mapping that would say it."""
    zone: str
    rows: int
    out_of_order: int
    """Rows older than one before them."""


class SignalSummary(_Part):
    """One column, name or series as it was understood; numbers are in the tag's own unit."""

    origin: str
    tag: str
    unit: str
    """In the file."""
    si: str
    shown_in: str
    """The tag's own unit."""
    values: int
    missing: int
    duplicates: int
    """Values of the same tag and time, of which the last was kept."""
    low: float | None
    """None where there is no value."""
    mean: float | None
    high: float | None
    outside: float | None
    """Share of the values outside the tag's limits; None where it has none."""
    interval: float | None
    """Median time from value to value, s."""
    laboratory: bool = False


class GapSummary(_Part):
    """A time without values, more than ten times as long as usual."""

    since: int
    """ns since the epoch (UTC)."""
    until: int
    what: str


class Summary(_Part):
    """What an import understood."""

    files: tuple[FileSummary, ...]
    signals: tuple[SignalSummary, ...]
    unseen: tuple[str, ...]
    """Names and series of the mapping that no file has, and patterns that no file's name has."""
    samples: int
    first: int | None
    """Source time, ns since the epoch (UTC)."""
    last: int | None
    gaps: tuple[GapSummary, ...]
