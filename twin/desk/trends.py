"""Trends from the historian at the resolution of a screen, along time or along the web."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from twin.desk.errors import UnknownError
from twin.ports import Buckets, Historian
from twin.samples import Bools, Floats, Ints, SampleBatch
from twin.tags import Tag, TagTable

Along = Literal["time", "web"]
MOST_POINTS: Final = 10_000
MOST_SERIES: Final = 24
KINDS: Final = (
    "predicted", "low", "high", "measured", "residual", "ewma", "cusum", "challenger",
)  # fmt: skip
"""Of derived series: what can be drawn along the web."""


@dataclass(frozen=True, slots=True)
class Series:
    """A series downsampled: equally long columns, in the unit of people."""

    name: str
    unit: str
    at: Ints | Floats
    """Beginnings of the buckets: ns since the epoch (UTC), or m along the coated web."""
    minimum: Floats
    mean: Floats
    maximum: Floats
    count: Ints


@dataclass(frozen=True, slots=True)
class Trend:
    """Series over one stretch of time."""

    along: Along
    start: int
    """ns."""
    end: int
    """ns; excluded."""
    series: tuple[Series, ...]


def chosen(tags: TagTable, names: Sequence[str], along: Along) -> list[int]:
    """The tags of some series.

    Raises:
        UnknownError: a name that no tag has.
        ValueError: too many, or one that does not lie along the web.
    """
    if not names or len(names) > MOST_SERIES:
        raise ValueError(f"ask for 1 to {MOST_SERIES} series, not {len(names)}")
    found = []
    for name in names:
        if name not in tags:
            raise UnknownError(f"there is no series {name}")
        parameter, _, kind = name.rpartition(".")
        if along == "web" and (kind not in KINDS or f"{parameter}.position" not in tags):
            kinds = ", ".join(KINDS)
            raise ValueError(
                f"{name} does not lie along the web; choose from STEP.PARAMETER. and {kinds}"
            )
        found.append(tags.index(name))
    return list(dict.fromkeys(found))


def nothing(tags: TagTable, wanted: Sequence[int], start: int, end: int, along: Along) -> Trend:
    """Series without a point."""
    return Trend(along, start, end, tuple(_nothing(tags[tag], along) for tag in wanted))


def _nothing(tag: Tag, along: Along) -> Series:
    empty, none = np.empty(0), np.empty(0, np.int64)
    at = none if along == "time" else empty
    return Series(tag.name, tag.unit, at, empty, empty, empty, none)


def along_time(
    historian: Historian, tags: TagTable, wanted: Sequence[int], start: int, end: int, points: int
) -> Trend:
    """Minimum, mean and maximum of `points` equal stretches of time."""
    found = historian.buckets(wanted, start, end, points)
    return Trend("time", start, end, tuple(_series(tags[tag], found[tag]) for tag in wanted))


def _series(tag: Tag, buckets: Buckets) -> Series:
    return Series(
        tag.name,
        tag.unit,
        buckets.time,
        tag.in_unit(buckets.minimum),
        tag.in_unit(buckets.mean),
        tag.in_unit(buckets.maximum),
        buckets.count,
    )


def along_web(
    historian: Historian, tags: TagTable, wanted: Sequence[int], start: int, end: int, points: int
) -> Trend:
    """The same material on the same abscissa: the stretch of web that was read in this time."""
    positions = {tag: tags.index(f"{tags[tag].name.rpartition('.')[0]}.position") for tag in wanted}
    read = historian.read([*wanted, *dict.fromkeys(positions.values())], start, end)
    joined = {tag: join(read, tag, positions[tag]) for tag in wanted}
    every = np.concatenate([at for at, _ in joined.values()])
    if not len(every):
        return nothing(tags, wanted, start, end, "web")
    low = float(every.min())
    width = max((float(every.max()) - low) / points, 1e-9) * (1 + 1e-9)
    return Trend(
        "web",
        start,
        end,
        tuple(_binned(tags[tag], *joined[tag], low, width) for tag in wanted),
    )


def join(read: SampleBatch, tag: int, position: int) -> tuple[Floats, Floats]:
    """Positions and values of the samples of a tag that lie somewhere, in order of position."""
    where, what = read.tag == position, read.tag == tag
    _, here, there = np.intersect1d(
        read.time[where], read.time[what], assume_unique=True, return_indices=True
    )
    at, value = read.value[where][here], read.value[what][there]
    known: Bools = np.isfinite(value)
    order = np.argsort(at[known], kind="stable")
    return at[known][order], value[known][order]


def _binned(tag: Tag, at: Floats, value: Floats, low: float, width: float) -> Series:
    bins = ((at - low) // width).astype(np.int64)
    starts = np.flatnonzero(np.diff(bins, prepend=-1))
    if not len(starts):
        return _nothing(tag, "web")
    count = np.diff(starts, append=len(bins))
    return Series(
        tag.name,
        tag.unit,
        np.asarray(low + bins[starts] * width, np.float64),
        tag.in_unit(np.minimum.reduceat(value, starts)),
        tag.in_unit(np.add.reduceat(value, starts) / count),
        tag.in_unit(np.maximum.reduceat(value, starts)),
        count,
    )
