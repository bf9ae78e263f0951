"""Imported values as one stream: in order of time, without duplicates, written as a recording."""

from __future__ import annotations

import itertools
import math
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from connectors.importing.found import FileRead, Laboratory, Piece, Qualities
from connectors.importing.mapping import ImportMapping
from connectors.importing.problems import refuse
from connectors.importing.reading import read_file, unseen
from connectors.importing.summary import FileSummary, GapSummary, SignalSummary, Summary
from connectors.recorder import RecordingWriter
from twin.configuration.models import LineConfiguration
from twin.intervention import Arrivals
from twin.samples import Floats, Ints, OfflineMeasurement, SampleBatch
from twin.tags import Tag
from twin.units import si_unit

Progress = Callable[[str, float], None]
"""Is told what is being done, and which share of it is."""
_GAP: Final = 10
"""Times the median interval."""
_WINDOW: Final = 1_000_000
"""Samples that are put in order at once."""


_Number = TypeVar("_Number", np.float64, np.uint32)


@dataclass(frozen=True, slots=True)
class _Series:
    """All values of one tag, in order of time, no time twice."""

    tag: str
    number: int
    """Index in the tag table."""
    origin: str
    unit: str
    time: Ints
    value: Floats
    quality: Qualities
    delay: int
    duplicates: int


class Imported:
    """Foreign data as they were understood, ready to be written.

    Attributes:
        summary: what was understood.
    """

    def __init__(
        self,
        line: LineConfiguration,
        series: Sequence[_Series],
        laboratory: Sequence[OfflineMeasurement],
        summary: Summary,
    ) -> None:
        self.summary = summary
        self._line = line
        self._series = series
        self._laboratory = sorted(laboratory, key=lambda each: each.known)

    def write(self, folder: Path, progress: Progress) -> None:
        """Write a recording; a folder that could not be finished is emptied again.

        Raises:
            RecordingError: the folder holds something.
            OSError: the disk refuses.
        """
        there = folder.exists()
        origin = ", ".join(Path(each.file).name for each in self.summary.files)
        writer = RecordingWriter(folder, self._line, f"imported from {origin}", live=False)
        try:
            done = 0
            for arrivals in self._arrivals():
                writer.append(arrivals)
                done += len(arrivals.batch)
                progress("writing", done / max(self.summary.samples, 1))
            for gap in self.summary.gaps:
                writer.gap(gap.since, gap.until, gap.what)
            writer.close()
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            if there:
                folder.mkdir()
            raise

    def _arrivals(self) -> Iterator[Arrivals]:
        """Samples by arrival, laboratory values behind what came before them."""
        waiting = list(self._laboratory)
        for batch, arrived in self._windows():
            start = 0
            while waiting and waiting[0].known < arrived[-1]:
                end = int(np.searchsorted(arrived, waiting[0].known, "right"))
                yield Arrivals(_cut(batch, start, end), arrived[start:end])
                yield _alone(waiting.pop(0))
                start = end
            yield Arrivals(_cut(batch, start, len(batch)), arrived[start:])
        yield from map(_alone, waiting)

    def _windows(self) -> Iterator[tuple[SampleBatch, Ints]]:
        """A million samples or so at a time, by arrival; at one time in the order of the file."""
        series = [each for each in self._series if len(each.time)]
        if not series:
            return
        first = min(int(each.time[0]) + each.delay for each in series)
        last = max(int(each.time[-1]) + each.delay for each in series)
        count = math.ceil(sum(len(each.time) for each in series) / _WINDOW)
        edges = [first + (last + 1 - first) * number // count for number in range(count + 1)]
        for start, end in itertools.pairwise(edges):
            parts = []
            arrived = []
            for each in series:
                low, high = np.searchsorted(each.time, [start - each.delay, end - each.delay])
                part = slice(int(low), int(high))
                tag = np.full(high - low, each.number, np.int32)
                parts.append(
                    SampleBatch(tag, each.time[part], each.value[part], each.quality[part])
                )
                arrived.append(each.time[part] + each.delay)
            batch = SampleBatch.concatenate(parts)
            if not len(batch):
                continue
            moments = np.concatenate(arrived)
            order = np.argsort(moments, kind="stable")
            yield (
                SampleBatch(
                    batch.tag[order], batch.time[order], batch.value[order], batch.quality[order]
                ),
                moments[order],
            )


def import_files(
    files: Sequence[Path], mapping: ImportMapping, line: LineConfiguration, progress: Progress
) -> Imported:
    """Read files and put their values in order; nothing is written.

    Raises:
        DataError: a file cannot be used; with the first mistake of every column.
    """
    found: list[FileRead] = []
    rows: dict[int, int] = {}
    for file in files:
        source = mapping.source_of(file)
        if source is None:
            patterns = ", ".join(each.files for each in mapping.sources)
            what = f"no source of {mapping.file} has a pattern that fits its name: {patterns}"
            raise refuse(file, what, "add one under sources, or leave the file out")
        label = f"reading {file.name}"
        progress(label, 0.0)
        done = rows.get(id(source), 0)
        read = read_file(file, source, line, done, partial(progress, label))
        rows[id(source)] = done + read.rows
        found.append(read)
    series = _in_order([piece for read in found for piece in read.pieces], list(line.tags))
    laboratory = [each for read in found for each in read.laboratory]
    names = []
    for source in mapping.sources:
        its = [read for read in found if mapping.source_of(read.file) is source]
        names += unseen(source, its) if its else [source.files]
    summary = _summary(found, series, laboratory, names, line)
    values = [value for each in laboratory for value in each.values]
    return Imported(line, series, values, summary)


class _Order:
    """How the rows of files with these times come into order; shared by all their columns."""

    def __init__(self, times: Sequence[Ints]) -> None:
        self._times = times
        joined = times[0] if len(times) == 1 else np.concatenate(times)
        self._order: Ints | None = None
        self._keep: Ints | None = None
        if np.any(joined[1:] < joined[:-1]):
            self._order = np.argsort(joined, kind="stable")
            joined = joined[self._order]
        last = np.append(joined[1:] != joined[:-1], True) if len(joined) else np.ones(0, np.bool_)
        self.duplicates = int(len(last) - np.count_nonzero(last))
        if self.duplicates:
            self._keep = np.flatnonzero(last)
            joined = joined[self._keep]
        self.time = joined

    def of(self, times: Sequence[Ints]) -> bool:
        """Whether these are the very same times."""
        return len(times) == len(self._times) and all(
            one is other for one, other in zip(times, self._times, strict=True)
        )

    def values(self, pieces: Sequence[NDArray[_Number]]) -> NDArray[_Number]:
        """Values or qualities in order, of each time the last."""
        joined = pieces[0] if len(pieces) == 1 else np.concatenate(pieces)
        if self._order is not None:
            joined = joined[self._order]
        return joined if self._keep is None else joined[self._keep]


def _in_order(pieces: Sequence[Piece], tags: Sequence[str]) -> list[_Series]:
    numbers = {name: number for number, name in enumerate(tags)}
    groups: dict[tuple[str, int], list[Piece]] = {}
    for piece in pieces:
        groups.setdefault((piece.tag, piece.delay), []).append(piece)
    found: list[_Series] = []
    order: _Order | None = None
    for (tag, delay), group in groups.items():
        times = [piece.time for piece in group]
        if order is None or not order.of(times):
            order = _Order(times)
        found.append(
            _Series(
                tag,
                numbers[tag],
                ", ".join(dict.fromkeys(piece.origin for piece in group)),
                ", ".join(dict.fromkeys(piece.unit for piece in group)),
                order.time,
                order.values([piece.value for piece in group]),
                order.values([piece.quality for piece in group]),
                delay,
                order.duplicates,
            )
        )
    return found


def _alone(measurement: OfflineMeasurement) -> Arrivals:
    nothing = SampleBatch.of([], [], [])
    return Arrivals(replace(nothing, offline=(measurement,)), nothing.time)


def _cut(batch: SampleBatch, start: int, end: int) -> SampleBatch:
    return SampleBatch(
        batch.tag[start:end],
        batch.time[start:end],
        batch.value[start:end],
        batch.quality[start:end],
    )


def _summary(
    found: Sequence[FileRead],
    series: Sequence[_Series],
    laboratory: Sequence[Laboratory],
    names: Sequence[str],
    line: LineConfiguration,
) -> Summary:
    tags = {tag.name: tag for tag in line.measured_tags()}
    signals = []
    gaps: dict[tuple[int, int], list[str]] = {}
    spaced: tuple[Ints, float | None, list[tuple[int, int]]] | None = None
    for each in series:
        if spaced is None or spaced[0] is not each.time:
            spaced = (each.time, *_spacing(each.time))
        _, interval, missing = spaced
        signals.append(
            _signal(tags[each.tag], each.origin, each.unit, each.value, each.duplicates, interval)
        )
        for gap in missing:
            gaps.setdefault(gap, []).append(each.tag)
    for lab in laboratory:
        values = np.array([*(one.value for one in lab.values), *([math.nan] * lab.missing)])
        signal = _signal(tags[lab.tag], lab.origin, lab.unit, values, 0, None)
        signals.append(signal.model_copy(update={"laboratory": True}))
    times = [each.time for each in series if len(each.time)]
    sampled = [one.sampled for lab in laboratory for one in lab.values]
    return Summary(
        files=tuple(
            FileSummary(
                file=str(read.file),
                layout=read.layout,
                understood=read.understood,
                zone=read.zone,
                rows=read.rows,
                out_of_order=read.out_of_order,
            )
            for read in found
        ),
        signals=tuple(signals),
        unseen=tuple(names),
        samples=sum(len(each.time) for each in series),
        first=min([*(int(time[0]) for time in times), *sampled], default=None),
        last=max([*(int(time[-1]) for time in times), *sampled], default=None),
        gaps=tuple(
            GapSummary(since=since, until=until, what=_missing(whose, len(series)))
            for (since, until), whose in sorted(gaps.items())
        ),
    )


def _missing(tags: Sequence[str], all_of_them: int) -> str:
    if len(tags) == all_of_them:
        return "the imported files have no rows"
    shown = ", ".join(tags[:5]) + (f" and {len(tags) - 5} more" if len(tags) > 5 else "")
    return f"the imported files have no values of {shown}"


def _spacing(time: Ints) -> tuple[float | None, list[tuple[int, int]]]:
    """Median interval, s, and the gaps."""
    if len(time) < 2:
        return None, []
    steps = np.diff(time)
    median = float(np.median(steps))
    long = np.flatnonzero(steps > _GAP * median)
    return median / 1e9, [(int(time[at]), int(time[at + 1])) for at in long]


def _signal(
    tag: Tag, origin: str, unit: str, value: Floats, duplicates: int, interval: float | None
) -> SignalSummary:
    given = value[~np.isnan(value)]
    bounded = math.isfinite(tag.low) or math.isfinite(tag.high)
    outside = np.count_nonzero((given < tag.low) | (given > tag.high)) if bounded else 0

    def shown(number: float) -> float | None:
        return tag.from_si(number) if len(given) else None

    return SignalSummary(
        origin=origin,
        tag=tag.name,
        unit=unit,
        si=si_unit(tag.unit),
        shown_in=tag.unit,
        values=len(given),
        missing=len(value) - len(given),
        duplicates=duplicates,
        low=shown(float(given.min()) if len(given) else math.nan),
        mean=shown(float(given.mean()) if len(given) else math.nan),
        high=shown(float(given.max()) if len(given) else math.nan),
        outside=outside / len(given) if bounded and len(given) else None,
        interval=interval,
    )
