"""The embedded historian: time series, laboratory values and events in one DuckDB file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import duckdb
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from twin.ports import Buckets, Event, HistorianError
from twin.samples import OfflineMeasurement, SampleBatch
from twin.tags import TagTable

_NEVER: Final = np.iinfo(np.int64).min
_FIRST_LOOK_BACK: Final = 600 * 10**9
_MINUTE: Final = 60 * 10**9
_HOUR: Final = 60 * _MINUTE

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS tags (id INTEGER PRIMARY KEY, name VARCHAR NOT NULL UNIQUE);
CREATE TABLE IF NOT EXISTS samples (
    tag INTEGER NOT NULL, time BIGINT NOT NULL, value DOUBLE NOT NULL, quality UINTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS offline (
    tag INTEGER NOT NULL, time BIGINT NOT NULL, value DOUBLE NOT NULL,
    roll BIGINT, metre DOUBLE, batch BIGINT);
ALTER TABLE offline ADD COLUMN IF NOT EXISTS known BIGINT DEFAULT 0;
CREATE TABLE IF NOT EXISTS thinned (until BIGINT NOT NULL);
CREATE TABLE IF NOT EXISTS events (
    time BIGINT NOT NULL, kind VARCHAR NOT NULL, subject VARCHAR NOT NULL, text VARCHAR NOT NULL);
"""


class DuckDBHistorian:
    """`ports.Historian` in one DuckDB file. Not thread-safe: give it a thread of its own.

    The file keeps tags by name, so that another run may number them otherwise; a name that the
    tag table no longer has keeps its samples, which come back with the name.

    Every `append` is one transaction, and durable when it returns. A sample newer than all of its
    tag cannot be in the file yet and is only inserted; any other first deletes what the file has
    at its (tag, time). That keeps one row per sample, so that reads need no de-duplication, and
    costs late and repeated samples a look through the row groups of their time range.

    Samples of tag -1 are not stored. Times are ns since the epoch, values SI and may be NaN or
    infinite. Laboratory values are kept with the material that they were taken from.

    Raises:
        HistorianError: from every method, where DuckDB refuses: disk full, file locked or damaged.
    """

    settles: Final = 0.0

    def __init__(self, path: Path, tags: TagTable, *, memory_mb: int = 64) -> None:
        """Open or create the file.

        Args:
            memory_mb: bound of DuckDB's own memory, MB; the system caches the file, too.
        """
        self._path = path
        self._tags = tags
        self._memory_mb = memory_mb
        self._invalid = False
        with self._reporting():
            path.parent.mkdir(parents=True, exist_ok=True)
            self._open()

    def _open(self) -> None:
        self._database = duckdb.connect(
            str(self._path), config={"threads": 1, "memory_limit": f"{self._memory_mb}MB"}
        )
        self._database.execute(_SCHEMA)
        stored = self._database.execute("SELECT name, id FROM tags").fetchall()
        self._next_id = 1 + max((int(number) for _, number in stored), default=-1)
        self._id = np.full(len(self._tags), -1, np.int32)
        self._index: dict[int, int] = {}
        for name, number in stored:
            if name in self._tags:
                self._know(self._tags.index(name), number)
        self._last = SampleBatch(
            np.arange(len(self._tags), dtype=np.int32),
            np.full(len(self._tags), _NEVER, np.int64),
            np.full(len(self._tags), np.nan),
            np.zeros(len(self._tags), np.uint32),
        )
        self._find_last()

    def _open_anew(self) -> None:
        """What became of the last commit is not known: what the file has counts."""
        self._invalid = False
        try:
            with suppress(duckdb.Error):
                self._database.close()
            self._open()
        except BaseException:
            self._invalid = True
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Write everything into the main file and let other processes open it."""
        self._database.close()

    def append(self, batch: SampleBatch, events: Sequence[Event] = ()) -> None:
        """Durable when it returns; see `ports.Historian`."""
        batch = batch.one_per_time()
        offline = {_identity(entry): entry for entry in batch.offline if entry.tag >= 0}
        if not (len(batch) or offline or events):
            return
        with self._reporting(), self._transaction():
            late = batch.time <= self._last.time[batch.tag]
            new = self._add_tags(
                [*np.unique(batch.tag).tolist(), *(entry.tag for entry in offline.values())]
            )
            ids = self._id.copy()
            for index, number in new.items():
                ids[index] = number
            if late.any():
                self._delete_stored(ids, batch.where(late))
            if len(batch):
                self._insert("samples", _columns(ids, batch))
            if offline:
                self._replace_offline(ids, list(offline.values()))
            if events:
                self._insert_events(events)
        for index, number in new.items():
            self._know(index, number)
        self._remember(batch)

    def read(self, tags: Sequence[int], start: int, end: int) -> SampleBatch:
        """Samples with start <= time < end, ordered by time, then tag; with laboratory values."""
        ids = self._ids_of(tags)
        if not ids:
            return SampleBatch.of([], [], [])
        chosen = _listed(ids)
        span = "time >= $start AND time < $end"
        bounds = {"start": start, "end": end}
        with self._reporting():
            columns = self._database.execute(
                f"SELECT tag, time, value, quality FROM samples WHERE {span} AND tag IN ({chosen})",
                bounds,
            ).fetchnumpy()
            offline = self._database.execute(
                f"SELECT tag, time, value, roll, metre, batch, known FROM offline"
                f" WHERE {span} AND tag IN ({chosen}) ORDER BY time, rowid",
                bounds,
            ).fetchall()
        index = self._indices(columns["tag"])
        order = np.lexsort((index, columns["time"]))
        return SampleBatch(
            index[order],
            columns["time"][order],
            columns["value"][order],
            columns["quality"][order],
            tuple(OfflineMeasurement(self._index[tag], *values) for tag, *values in offline),
        )

    def span(self) -> tuple[int, int] | None:
        """Time of the oldest and of the newest sample, ns; None where there is none."""
        with self._reporting():
            row = self._database.execute("SELECT min(time), max(time) FROM samples").fetchone()
        return None if row is None or row[0] is None else (int(row[0]), int(row[1]))

    def latest(self, tags: Sequence[int]) -> SampleBatch:
        """The last sample of each tag that has one, from memory."""
        chosen = np.asarray(tags, np.int64)
        chosen = chosen[self._last.time[chosen] != _NEVER]
        last = self._last
        return SampleBatch(
            last.tag[chosen], last.time[chosen], last.value[chosen], last.quality[chosen]
        )

    def buckets(self, tags: Sequence[int], start: int, end: int, count: int) -> dict[int, Buckets]:
        """See `ports.Historian`.

        The width is rounded up to whole ns, so that the last bucket may be shorter by `count` ns.

        Raises:
            ValueError: no bucket or no time asked for.
        """
        if count < 1 or end <= start:
            raise ValueError("ask for at least one bucket over a time that ends after it starts")
        width = -(-(end - start) // count)
        ids = self._ids_of(tags)
        found: dict[int, Buckets] = {}
        if ids:
            with self._reporting():
                columns = self._database.execute(
                    "SELECT tag, (time - $start) // $width AS bucket, min(value) AS minimum,"
                    " avg(value) AS mean, max(value) AS maximum, count(*) AS count FROM samples"
                    f" WHERE time >= $start AND time < $end AND tag IN ({_listed(ids)})"
                    " AND quality < 1073741824 AND isfinite(value)"
                    " GROUP BY tag, bucket ORDER BY tag, bucket",
                    {"start": start, "end": end, "width": width},
                ).fetchnumpy()
            index = self._indices(columns["tag"])
            times = columns["bucket"].astype(np.int64) * width + start
            for tag in np.unique(index).tolist():
                rows = index == tag
                found[tag] = Buckets(
                    times[rows],
                    columns["minimum"][rows],
                    columns["mean"][rows],
                    columns["maximum"][rows],
                    columns["count"][rows],
                )
        nothing = np.empty(0)
        nowhere = np.empty(0, np.int64)
        empty = Buckets(nowhere, nothing, nothing, nothing, nowhere)
        return {tag: found.get(tag, empty) for tag in tags}

    def events(self, start: int, end: int) -> list[Event]:
        """Events with start <= time < end, ordered by time, then as they were appended."""
        with self._reporting():
            rows = self._database.execute(
                "SELECT time, kind, subject, text FROM events"
                " WHERE time >= $start AND time < $end ORDER BY time, rowid",
                {"start": start, "end": end},
            ).fetchall()
        return [Event(*row) for row in rows]

    def retain(self, since: int) -> int:
        """Delete everything older than `since` and give the room back; how many samples went."""
        with self._reporting():
            with self._transaction():
                row = self._database.execute(
                    "DELETE FROM samples WHERE time < $since", {"since": since}
                ).fetchone()
                for table in ("offline", "events"):
                    self._database.execute(
                        f"DELETE FROM {table} WHERE time < $since", {"since": since}
                    )
            self._database.execute("CHECKPOINT")
        self._last.time[self._last.time < since] = _NEVER
        return int(row[0]) if row else 0

    def thin(self, before: int) -> bool:
        """Replace up to an hour of samples older than `before` by one per tag and minute.

        Of good values it is their mean, of setpoints and counters the last; of a minute with none
        it is the first bad one. It bears the minute's start as its time.

        Returns:
            Whether there may be more to do: called again, it goes on.
        """
        with self._reporting():
            row = self._database.execute("SELECT max(until) FROM thinned").fetchone()
            until = None if row is None or row[0] is None else int(row[0])
            start = self._database.execute(
                "SELECT min(time) FROM samples WHERE time >= $until", {"until": until or 0}
            ).fetchone()
            if start is None or start[0] is None:
                return False
            first = int(start[0]) // _HOUR * _HOUR
            end = min(first + _HOUR, before // _MINUTE * _MINUTE)
            if end <= first or end <= (until or 0):
                return False
            span = {"start": max(first, until or 0), "end": end, "minute": _MINUTE}
            with self._transaction():
                self._database.execute(
                    "CREATE TEMP TABLE means AS SELECT samples.tag AS tag,"
                    " time // $minute * $minute AS time,"
                    " coalesce(if(any_value(holds), arg_max(value, time) FILTER (usable),"
                    " avg(value) FILTER (usable)), 'nan'::DOUBLE) AS value,"
                    " if(count(*) FILTER (usable) > 0, 0, arg_min(quality, time))::UINTEGER"
                    " AS quality"
                    " FROM (SELECT *, quality < 1073741824 AND NOT isnan(value) AS usable,"
                    f" tag IN ({_listed(self._holding())}) AS holds FROM samples"
                    "  WHERE time >= $start AND time < $end) AS samples"
                    " GROUP BY samples.tag, samples.time // $minute",
                    span,
                )
                self._database.execute(
                    "DELETE FROM samples WHERE time >= $start AND time < $end",
                    {"start": span["start"], "end": end},
                )
                self._database.execute("INSERT INTO samples SELECT * FROM means")
                self._database.execute("DROP TABLE means")
                self._database.execute("DELETE FROM thinned")
                self._database.execute("INSERT INTO thinned VALUES (?)", [end])
        return True

    def _holding(self) -> set[int]:
        """Ids of tags of which a mean says nothing; -1 is none's."""
        held = (n for n, tag in enumerate(self._tags) if tag.role in ("setpoint", "counter"))
        return {-1, *(int(self._id[index]) for index in held)}

    def backup(self, folder: Path) -> list[Path]:
        """Copy everything into a file in this folder, as it is now; for any thread.

        Returns:
            The files made.
        """
        file = folder / self._path.name
        name = file.as_posix().replace("'", "''")
        with self._reporting(), self._database.cursor() as cursor:
            source = cursor.execute("SELECT current_database()").fetchone()
            cursor.execute(f"ATTACH '{name}' AS backup")
            try:
                cursor.execute(f'COPY FROM DATABASE "{source[0] if source else ""}" TO backup')
            finally:
                cursor.execute("DETACH backup")
        return [file]

    def _know(self, index: int, number: int) -> None:
        self._id[index] = number
        self._index[number] = index

    def _ids_of(self, tags: Sequence[int]) -> list[int]:
        return [int(self._id[tag]) for tag in tags if self._id[tag] >= 0]

    def _indices(self, ids: NDArray[np.int32]) -> NDArray[np.int32]:
        table = np.full(self._next_id, -1, np.int32)
        table[self._id[self._id >= 0]] = np.flatnonzero(self._id >= 0)
        return table[ids]

    def _add_tags(self, tags: Sequence[int]) -> dict[int, int]:
        new = sorted({tag for tag in tags if self._id[tag] < 0})
        numbers = {tag: self._next_id + position for position, tag in enumerate(new)}
        for tag, number in numbers.items():
            self._database.execute("INSERT INTO tags VALUES (?, ?)", [number, self._tags[tag].name])
        self._next_id += len(numbers)
        return numbers

    def _delete_stored(self, ids: NDArray[np.int32], late: SampleBatch) -> None:
        with self._registered({"tag": ids[late.tag], "time": late.time}):
            self._database.execute(
                "DELETE FROM samples USING incoming WHERE samples.tag = incoming.tag"
                " AND samples.time = incoming.time AND samples.time BETWEEN $first AND $last",
                {"first": int(late.time.min()), "last": int(late.time.max())},
            )

    def _replace_offline(
        self, ids: NDArray[np.int32], offline: Sequence[OfflineMeasurement]
    ) -> None:
        for entry in offline:
            row = [int(ids[entry.tag]), entry.sampled, entry.roll, entry.metre, entry.batch]
            self._database.execute(
                "DELETE FROM offline WHERE tag = ? AND time = ? AND roll IS NOT DISTINCT FROM ?"
                " AND metre IS NOT DISTINCT FROM ? AND batch IS NOT DISTINCT FROM ?",
                row,
            )
            self._database.execute(
                "INSERT INTO offline (tag, time, roll, metre, batch, value, known)"
                " VALUES (?, ?, ?, ?, ?, ?, ?)",
                [*row, entry.value, entry.known],
            )

    def _insert_events(self, events: Sequence[Event]) -> None:
        times = [event.time for event in events]
        known = set(self.events(min(times), max(times) + 1))
        new = [event for event in dict.fromkeys(events) if event not in known]
        self._insert(
            "events",
            {
                "time": np.asarray([event.time for event in new], np.int64),
                "kind": [event.kind for event in new],
                "subject": [event.subject for event in new],
                "text": [event.text for event in new],
            },
        )

    def _insert(self, table: str, columns: Mapping[str, object]) -> None:
        with self._registered(columns):
            self._database.execute(f"INSERT INTO {table} SELECT * FROM incoming")

    def _remember(self, batch: SampleBatch) -> None:
        if not len(batch):
            return
        ends = np.flatnonzero(np.append(batch.tag[1:] != batch.tag[:-1], True))
        newest = batch.rows(ends)
        newest = newest.where(newest.time >= self._last.time[newest.tag])
        self._last.time[newest.tag] = newest.time
        self._last.value[newest.tag] = newest.value
        self._last.quality[newest.tag] = newest.quality

    def _find_last(self) -> None:
        """Look back from the newest sample, further and further, until every tag is found."""
        span = self.span()
        if span is None:
            return
        oldest, end = span[0], span[1] + 1
        missing = set(self._index)
        width = _FIRST_LOOK_BACK
        while missing and end > oldest:
            rows = self._database.execute(
                "SELECT tag, max(time), arg_max(value, time), arg_max(quality, time) FROM samples"
                f" WHERE time >= $start AND time < $end AND tag IN ({_listed(missing)})"
                " GROUP BY tag",
                {"start": end - width, "end": end},
            ).fetchall()
            for number, time, value, quality in rows:
                index = self._index[number]
                self._last.time[index] = time
                self._last.value[index] = value
                self._last.quality[index] = quality
                missing.discard(number)
            end, width = end - width, width * 10

    @contextmanager
    def _registered(self, columns: Mapping[str, object]) -> Iterator[None]:
        self._database.register("incoming", pa.table(dict(columns)))
        try:
            yield
        finally:
            self._database.unregister("incoming")

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._database.begin()
        try:
            yield
        except BaseException:
            self._database.rollback()
            raise
        self._database.commit()

    @contextmanager
    def _reporting(self) -> Iterator[None]:
        try:
            if self._invalid:
                self._open_anew()
            yield
        except (duckdb.Error, OSError) as error:
            # DuckDB that cannot write its file refuses everything until it is opened anew
            self._invalid |= isinstance(error, duckdb.FatalException)
            raise HistorianError(str(self._path), str(error)) from error


def _columns(ids: NDArray[np.int32], batch: SampleBatch) -> dict[str, object]:
    return {
        "tag": ids[batch.tag],
        "time": batch.time,
        "value": batch.value,
        "quality": batch.quality,
    }


def _identity(entry: OfflineMeasurement) -> tuple[int, int, int | None, float | None, int | None]:
    return entry.tag, entry.sampled, entry.roll, entry.metre, entry.batch


def _listed(ids: Sequence[int] | set[int]) -> str:
    return ", ".join(map(str, ids))
