"""The spool: what connectors delivered waits on disk until a historian has it for good."""

from __future__ import annotations

import fcntl
import json
import os
import re
import time
import zlib
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Final, Self

import numpy as np
import structlog

from twin.ingest import NANOSECONDS
from twin.ports import Event
from twin.samples import SampleBatch
from twin.spool_record import HEAD, MOST, Record, encode, find, rows, written
from twin.telling import Telling

log = structlog.get_logger()

SEGMENT: Final = 1_000_000
"""Bytes after which a file ends: what is read and delivered anew after a crash is about as much."""
_NAME: Final = re.compile(r"(\d{20})\.spool")
_TABLE: Final = re.compile(r"tags-([0-9a-f]{8})\.json")
_REFUSED_BYTES: Final = 16_000_000


class SpoolError(Exception):
    """The spool could not be opened."""


@dataclass(frozen=True, slots=True, order=True)
class Position:
    """A place between two records."""

    segment: int
    """The file, by the number of its first row."""
    offset: int
    """Bytes."""
    row: int
    """Number of the row that comes next."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """What a historian gets next."""

    batch: SampleBatch
    events: tuple[Event, ...]
    end: Position
    """Tell it to `Spool.delivered`."""


@dataclass(slots=True)
class _Segment:
    size: int
    newest: int
    """When its last record was written, ns since the epoch."""


class Spool:
    """Rows on disk, in order, in files of about a megabyte.

    Rows are samples, laboratory values and events, numbered as they come; a file is named by the
    number of its first row. What is damaged is skipped and counted, the rest is read. Not
    thread-safe: give it a thread of its own.

    Args:
        folder: for this spool alone; created where missing.
        tags: names of the tags; what was spooled under another numbering is found by name.
        settles: for how long what was delivered is kept, s: as `ports.Historian` says.
        limit: size at which the oldest file is dropped, bytes.
        age: age at which it is dropped, s: no more than the historian keeps anyway.
        segment: size at which a file ends and another begins, bytes.
        wall: time since the epoch, ns.
        steady: time that is never set, s.

    Raises:
        SpoolError: another process uses the folder, or it cannot be used at all.
    """

    def __init__(
        self,
        folder: Path,
        tags: Sequence[str],
        settles: float = 0.0,
        limit: int = 2_000_000_000,
        age: float = 90 * 86_400.0,
        segment: int = SEGMENT,
        wall: Callable[[], int] = time.time_ns,
        steady: Callable[[], float] = time.monotonic,
    ) -> None:
        self._folder = folder
        self._tags = tuple(tags)
        self._settles = settles
        self._age = int(age * NANOSECONDS)
        self._wall = wall
        self._steady = steady
        self._segment = segment
        self._segments: dict[int, _Segment] = {}
        self._file: int | None = None
        self._settling: deque[tuple[float, Position]] = deque()
        self._out = False
        self._telling = Telling(steady)
        self.bytes = 0
        """Size of the files."""
        self.limit = limit
        """Size at which the oldest file is dropped, bytes."""
        self.dropped = 0
        """Rows dropped because the spool was full or too old."""
        self.damaged = 0
        """Rows that are missing from damaged files."""
        self.torn = 0
        """Ends of the last file that were cut off: writes that a crash had cut short."""
        self.refused = 0
        """Rows set aside."""
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._lock = _locked(folder)
            self._tables = self._read_tables()
            self._end = self._open_segments()
        except OSError as error:
            raise SpoolError(f"the spool {folder} cannot be used: {error}") from error
        self._seen = next(iter(self._segments), self._end)
        self._taken = self._at = Position(self._seen, 0, self._seen)
        self._oldest = self._written(self._taken)
        if self.undelivered:
            log.info("samples wait in the spool", folder=str(folder), rows=self.undelivered)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def undelivered(self) -> int:
        """Rows that the historian has not taken."""
        return self._end - self._taken.row

    @property
    def oldest(self) -> float:
        """Age of the oldest row that the historian has not taken, s; 0 where there is none."""
        oldest = self._oldest
        return 0.0 if oldest is None else max(0, self._wall() - oldest) / NANOSECONDS

    def append(self, batch: SampleBatch, events: Sequence[Event] = ()) -> None:
        """On disk when it returns.

        Raises:
            OSError: the disk does not take it; nothing of it is kept.
        """
        count = rows(batch, events)
        if not count:
            return
        now = self._wall()
        data = b"".join(encode(batch, events, self._end, now, self._table))
        if self._file is None or self._segments[self._last].size >= self._segment:
            self._begin()
        segment = self._segments[self._last]
        assert self._file is not None
        try:
            _write(self._file, data, segment.size)
            os.fdatasync(self._file)
        except OSError:
            self._abandon()
            raise
        segment.size += len(data)
        segment.newest = now
        self.bytes += len(data)
        self._end += count
        if self._oldest is None:
            self._oldest = now
        self._bound()

    def read(self) -> Chunk | None:
        """What comes next, from one file; None where everything was read.

        Raises:
            OSError: the disk does not give it.
        """
        while True:
            at, segment = self._at, self._segments.get(self._at.segment)
            if segment is None or at.offset >= segment.size:
                following = self._following(at.segment)
                self._miss(self._end if following is None else following)
                if following is None:
                    self._at = Position(at.segment, at.offset, self._end)
                    self._taken = self._taken if self._out else self._at
                    return None
                self._at = Position(following, 0, following)
            else:
                data = self._bytes(at, segment.size)
                batches: list[SampleBatch] = []
                events: list[Event] = []
                count = end = 0
                row = at.row
                while count < MOST and (record := find(data, end)) is not None:
                    self._miss(record.first)
                    batches.append(self._renumbered(record))
                    events += record.events
                    row = max(row, record.first + record.rows)
                    self._seen = max(self._seen, row)
                    count, end = count + record.rows, record.end
                # behind the last whole record there is nothing, or damage
                offset = at.offset + end if count >= MOST else segment.size
                self._at = Position(at.segment, offset, row)
                if count:
                    self._out = True
                    return Chunk(SampleBatch.concatenate(batches), tuple(events), self._at)
            self._taken = self._taken if self._out else self._at

    def delivered(self, end: Position) -> None:
        """A historian has taken everything up to `end`."""
        now = self._steady()
        # what lies behind this place was delivered now
        self._settling.append((now, self._taken))
        self._taken, self._out = end, False
        while self._settling and self._settling[0][0] <= now - self._settles:
            self._settling.popleft()
        settled = self._settling[0][1] if self._settling else self._taken
        while len(self._segments) > 1:
            first = next(iter(self._segments))
            if (settled.segment, settled.offset) < (first, self._segments[first].size):
                break
            self._remove(first)
        self._oldest = self._written(self._taken)
        self._bound()

    def rewind(self) -> None:
        """A delivery failed: what was not delivered, or has not settled, is read again."""
        start = self._settling[0][1] if self._settling else self._taken
        self._settling.clear()
        first = next(iter(self._segments), start.segment)
        self._taken = self._at = max(start, Position(first, 0, first))
        self._out = False
        self._oldest = self._written(self._taken)
        self._bound()

    def set_aside(self, batch: SampleBatch, events: Sequence[Event], reason: str) -> None:
        """Keep what a historian refuses in refused.jsonl, for people.

        Raises:
            OSError: the disk does not take it.
        """
        self._set_aside(self._tags, batch, events, reason)

    def close(self) -> None:
        """Let go of the folder; what was delivered for good is deleted."""
        if self._file is not None:
            os.close(self._file)
            self._file = None
        if not self.undelivered and not self._settling:
            for first in tuple(self._segments):
                self._remove(first)
        os.close(self._lock)

    @property
    def _last(self) -> int:
        return next(reversed(self._segments))

    def _following(self, first: int) -> int | None:
        return next((each for each in self._segments if each > first), None)

    def _path(self, first: int) -> Path:
        return self._folder / f"{first:020}.spool"

    def _read_tables(self) -> dict[int, tuple[str, ...]]:
        """The tag tables by which records may be numbered; this one is written where it is new."""
        content = json.dumps(self._tags).encode()
        self._table = zlib.crc32(content)
        found = {self._table: self._tags}
        for path in self._folder.iterdir():
            name = _TABLE.fullmatch(path.name)
            data = path.read_bytes() if name is not None else b""
            if data and name is not None and zlib.crc32(data) == int(name[1], 16):
                found[int(name[1], 16)] = tuple(json.loads(data))
        path = self._folder / f"tags-{self._table:08x}.json"
        if not path.exists() or path.read_bytes() != content:
            _put(path, content)
            self._sync_folder()
        return found

    def _open_segments(self) -> int:
        """Find the files and cut a torn end off; the number of the next row."""
        for name in sorted(path.name for path in self._folder.iterdir()):
            if _NAME.fullmatch(name):
                status = (self._folder / name).stat()
                self._segments[int(name[:20])] = _Segment(status.st_size, status.st_mtime_ns)
                self.bytes += status.st_size
        if not self._segments:
            return 0
        last = self._last
        data = self._path(last).read_bytes()
        end, row = 0, last
        while (record := find(data, end)) is not None:
            end, row = record.end, max(row, record.first + record.rows)
        if end < len(data) or not data:
            self.torn += 1
            log.warning(
                "the end of the spool was torn and is cut off",
                file=str(self._path(last)),
                bytes=len(data) - end,
            )
            os.truncate(self._path(last), end)
            self._segments[last].size = end
            self.bytes -= len(data) - end
        if not end:
            self._remove(last)
        return row

    def _begin(self) -> None:
        """End the last file and begin another."""
        if self._file is not None:
            os.close(self._file)
            self._file = None
        file = os.open(self._path(self._end), os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            self._sync_folder()
        except OSError:
            os.close(file)
            raise
        self._file = file
        self._segments[self._end] = _Segment(0, self._wall())

    def _abandon(self) -> None:
        """Take half a write back; a file whose disk failed is not written again."""
        assert self._file is not None
        file, self._file = self._file, None
        size = self._segments[self._last].size
        try:
            os.ftruncate(file, size)
        except OSError as error:
            log.warning("half a write stays in the spool", problem=str(error))
        finally:
            os.close(file)
        if not size:
            self._remove(self._last)

    def _sync_folder(self) -> None:
        folder = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def _remove(self, first: int) -> None:
        self.bytes -= self._segments.pop(first).size
        self._path(first).unlink(missing_ok=True)

    def _bound(self) -> None:
        """Drop the oldest files of a spool that is too large or too old; never the last.

        What is being delivered is not dropped: it may arrive yet.
        """
        oldest = self._wall() - self._age
        while len(self._segments) > 1 and not self._out:
            first = next(iter(self._segments))
            if self.bytes <= self.limit and self._segments[first].newest >= oldest:
                return
            following = self._following(first)
            assert following is not None
            if self._at.segment <= first:
                lost = max(0, following - self._at.row)
                self.dropped += lost
                if lost:
                    self._telling.error(
                        "samples are lost: the spool is full, or its oldest is too old",
                        folder=str(self._folder),
                        bytes=self.bytes,
                        so_far=self.dropped,
                    )
                self._taken = self._at = Position(following, 0, following)
                self._seen = max(self._seen, following)
            self._remove(first)
            self._oldest = self._written(self._taken)

    def _miss(self, row: int) -> None:
        """Count the rows before `row` that should have come."""
        if row > self._seen:
            self.damaged += row - self._seen
            self._seen = row
            self._telling.error("samples are lost: the spool is damaged", so_far=self.damaged)

    def _bytes(self, at: Position, size: int) -> bytes:
        """A file from a place to its end; nothing where the file is gone."""
        try:
            with self._path(at.segment).open("rb") as file:
                file.seek(at.offset)
                return file.read(size - at.offset)
        except FileNotFoundError:
            return b""

    def _written(self, at: Position) -> int | None:
        """When the record at a place was written, ns; None where there is none."""
        segment = self._segments.get(at.segment)
        if segment is None or at.offset >= segment.size:
            following = self._following(at.segment)
            if following is None:
                return None
            at, segment = Position(following, 0, following), self._segments[following]
        found = written(self._bytes(at, min(segment.size, at.offset + HEAD)))
        return segment.newest if found is None else found

    def _renumbered(self, record: Record) -> SampleBatch:
        """The rows of a record by this spool's tags; those of tags that are gone are set aside."""
        batch = record.batch
        if record.table == self._table:
            return batch
        new = record.first + record.rows > self._seen
        names = self._tables.get(record.table)
        if names is None:
            if new:
                self.damaged += len(batch) + len(batch.offline)
                self._telling.error(
                    "samples are lost: the spool's list of their tags is damaged",
                    so_far=self.damaged,
                )
            return SampleBatch.of([], [], [])
        index = {name: number for number, name in enumerate(self._tags)}
        numbers = np.array([index.get(name, -1) for name in names], np.int32)
        tag = numbers[batch.tag]
        gone = SampleBatch(
            batch.tag,
            batch.time,
            batch.value,
            batch.quality,
            tuple(entry for entry in batch.offline if numbers[entry.tag] < 0),
        ).where(tag < 0)
        if new and (len(gone) or gone.offline):
            self._set_aside(names, gone, (), "the configuration has no such tag any more")
        offline = tuple(
            replace(entry, tag=int(numbers[entry.tag]))
            for entry in batch.offline
            if numbers[entry.tag] >= 0
        )
        return SampleBatch(tag, batch.time, batch.value, batch.quality, offline).where(tag >= 0)

    def _set_aside(
        self, names: Sequence[str], batch: SampleBatch, events: Sequence[Event], reason: str
    ) -> None:
        columns = (batch.time, batch.value, batch.quality)
        entry = {
            "set_aside": self._wall(),
            "reason": reason,
            "samples": [
                [names[tag], *values]
                for tag, *values in zip(
                    batch.tag.tolist(), *(column.tolist() for column in columns), strict=True
                )
            ],
            "laboratory": [{**asdict(each), "tag": names[each.tag]} for each in batch.offline],
            "events": [asdict(event) for event in events],
        }
        path = self._folder / "refused.jsonl"
        if path.exists() and path.stat().st_size > _REFUSED_BYTES:
            path.replace(self._folder / "refused.old.jsonl")
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")
            file.flush()
            os.fsync(file.fileno())
        self.refused += rows(batch, events)
        self._telling.error(
            "samples are set aside", reason=reason, file=str(path), so_far=self.refused
        )


def _locked(folder: Path) -> int:
    lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        raise SpoolError(
            f"{folder} is in use by another twin; stop it, or give this one another folder"
        ) from None
    return lock


def _write(file: int, data: bytes, offset: int) -> None:
    left = memoryview(data)
    while left:
        count = os.pwrite(file, left, offset)
        left, offset = left[count:], offset + count


def _put(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
