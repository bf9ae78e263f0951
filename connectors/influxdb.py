"""The InfluxDB historian: versions 1, 2 and 3 Core through their common interfaces.

Samples are written as line protocol that is built here, column by column, and sent synchronously:
what `append` has returned from is in InfluxDB's write-ahead log. All versions are read by InfluxQL
over /query; they answer it alike, where Flux is only spoken by version 2.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

import numpy as np
import orjson
import urllib3
from influxdb_client.client.exceptions import InfluxDBError
from influxdb_client.client.influxdb_client import InfluxDBClient
from influxdb_client.client.write_api import SYNCHRONOUS
from influxdb_client.rest import ApiException

from connectors.line_protocol import (
    EVENTS,
    GOOD_LIMIT,
    LABORATORY,
    SAMPLES,
    Lines,
    decoded,
    key,
    quoted,
    sample_lines,
)
from connectors.outage import Outage
from connectors.store_tls import tls_context
from twin.configuration.historians import HistorianSecurity, InfluxHistorianConfiguration
from twin.ports import Buckets, Event, HistorianError, Refused
from twin.samples import OfflineMeasurement, SampleBatch
from twin.tags import TagTable

PORTION: Final = 20_000
"""Lines per request."""
HALVINGS: Final = 200
"""Requests that an append may spend on finding out which of its lines are refused."""
CONTENT: Final = frozenset({400, 413, 422})
"""Answers that blame the content. Others, a wrong token included, blame nothing that was sent."""
_TIMEOUT: Final = (5_000, 30_000)
"""To connect, and to wait for an answer, ms."""


class InfluxHistorian:
    """`ports.Historian` in InfluxDB. Not thread-safe: give it a thread of its own.

    Samples are told apart by the labels `line` and `tag`, so that many lines may share a database.
    A sample that comes again overwrites itself, as InfluxDB keeps one value per field, series and
    nanosecond. Version 3 Core cannot delete: there, `retain` deletes nothing and the retention
    period of the database does. Version 2 answers InfluxQL for a bucket whose name has no slash
    since 2.4, which maps such buckets by itself; a 2.0 to 2.3 needs `influx v1 dbrp create`.

    Raises:
        HistorianError: from every method, where the server is away or does not do it.
    """

    settles: Final = 0.0

    def __init__(self, at: InfluxHistorianConfiguration, line: str, tags: TagTable) -> None:
        """Does not connect yet.

        Args:
            at: where it is.
            line: name of the line, a label of all that is written.

        Raises:
            SecretError: the token is not where it should be.
            ValueError: the line or a tag has a name that line protocol cannot carry; a certificate
                cannot be read.
        """
        self._at = at
        self._line = line
        self._tags = tags
        self._keys = [key(SAMPLES, {"line": line, "tag": tag.name}) for tag in tags]
        trusts = at.security.trusts if isinstance(at.security, HistorianSecurity) else ()
        self._client = InfluxDBClient(
            at.url,
            "" if at.token is None else at.token.read(),
            org=at.organisation or "",
            timeout=_TIMEOUT,
            auth_basic=at.version == 1 and at.token is not None,
            ssl_context=tls_context(trusts) if at.url.startswith("https:") else None,
        )
        self._writer = self._client.write_api(SYNCHRONOUS)
        self._outage = Outage()

    def close(self) -> None:
        """Close the connections."""
        self._client.close()  # type: ignore[no-untyped-call]  # not typed there

    def append(self, batch: SampleBatch, events: Sequence[Event] = ()) -> None:
        """Durable when it returns; see `ports.Historian`.

        Raises:
            Refused: InfluxDB refuses what the exception names; it has taken the rest.
        """
        writing = _Writing(self._refusal)
        samples = batch.one_per_time()
        refused = np.zeros(len(samples), np.bool_)
        for start in range(0, len(samples), PORTION):
            lines = sample_lines(self._keys, samples.between(start, start + PORTION))
            for first, last in writing.write(lines):
                refused[start + first : start + last] = True
        offline = self._append_offline(writing, batch.offline)
        told = self._append_events(writing, events) if events else []
        if writing.reasons:
            rows = samples.where(refused)
            raise Refused(
                self._complaint(rows, len(offline), len(told), writing.reasons),
                SampleBatch(rows.tag, rows.time, rows.value, rows.quality, tuple(offline)),
                told,
            )

    def read(self, tags: Sequence[int], start: int, end: int) -> SampleBatch:
        """Samples with start <= time < end, ordered by time, then tag; with laboratory values."""
        if not len(tags):
            return SampleBatch.of([], [], [])
        self._outage.check(self._at.url)
        where = f"{self._of(tags)} AND time >= {start} AND time < {end}"
        samples = self._samples(f"SELECT quality, value, doubtful FROM {SAMPLES} WHERE {where}")
        samples = samples.rows(np.lexsort((samples.tag, samples.time)))
        return SampleBatch(
            samples.tag, samples.time, samples.value, samples.quality, tuple(self._offline(where))
        )

    def latest(self, tags: Sequence[int]) -> SampleBatch:
        """The last sample of each tag that has one."""
        if not len(tags):
            return SampleBatch.of([], [], [])
        self._outage.check(self._at.url)
        return self._samples(
            f"SELECT last(quality) AS quality, value, doubtful FROM {SAMPLES}"
            f" WHERE {self._of(tags)}"
        )

    def buckets(self, tags: Sequence[int], start: int, end: int, count: int) -> dict[int, Buckets]:
        """See `ports.Historian`.

        Raises:
            ValueError: no bucket or no time asked for.
        """
        if count < 1 or end <= start:
            raise ValueError("ask for at least one bucket over a time that ends after it starts")
        nothing, nowhere = np.empty(0), np.empty(0, np.int64)
        found = {tag: Buckets(nowhere, nothing, nothing, nothing, nowhere) for tag in tags}
        if not len(tags):
            return found
        self._outage.check(self._at.url)
        width = -(-(end - start) // count)
        columns = self._columns(
            f"SELECT min(value), mean(value), max(value), count(value) FROM {SAMPLES}"
            f" WHERE {self._of(tags)} AND quality < {GOOD_LIMIT}"
            f" AND time >= {start} AND time < {end}"
            f' GROUP BY "tag", time({width}ns, {start % width}ns) fill(none)'
        )
        for tag, (time, minimum, mean, maximum, number) in columns.items():
            found[tag] = Buckets(
                np.array(time, np.int64),
                np.array(minimum, np.float64),
                np.array(mean, np.float64),
                np.array(maximum, np.float64),
                np.array(number, np.int64),
            )
        return found

    def events(self, start: int, end: int) -> list[Event]:
        """Events with start <= time < end, ordered by time; those of one moment in no order."""
        self._outage.check(self._at.url)
        return [event for event, _ in self._events(start, end)]

    def retain(self, since: int) -> int:
        """Delete what is older than `since`; how many samples went. Nothing in version 3 Core."""
        if self._at.version == 3:
            return 0
        old = f"line = {_literal(self._line)} AND time < {since}"
        count = 0
        for _, _, (_, number) in self._series(f"SELECT count(quality) FROM {SAMPLES} WHERE {old}"):
            count += sum(number)
        for measurement in (SAMPLES, LABORATORY, EVENTS):
            for _ in self._series(f"DELETE FROM {measurement} WHERE {old}"):
                pass
        return count

    def reach(self) -> str:
        """Ask whether the server would take samples and answer questions; what it is."""
        self._refusal(b"# a comment\n")  # some versions want at least one sample: that is an answer
        self.events(0, 1)
        return f"InfluxDB {self._at.version} takes samples into {self._at.database}"

    def _send(self, lines: bytes) -> None:
        if self._at.version == 1:
            self._post(
                "/write",
                "text/plain; charset=utf-8",
                query_params=[("db", self._at.database), ("precision", "ns")],
                body=lines,
            )
        else:
            self._writer.write(self._at.database, self._at.organisation or "", lines)

    def _post(self, path: str, content_type: str, **request: Any) -> Any:
        return self._client.api_client.call_api(  # type: ignore[no-untyped-call]  # not typed there
            path, "POST", header_params={"Content-Type": content_type}, **request
        )

    def _refusal(self, lines: bytes) -> str | None:
        """Send lines; why their content is refused, or None."""
        with self._reporting():
            try:
                self._send(lines)
            except ApiException as error:
                if error.status in CONTENT:
                    return said(error)
                raise
        return None

    def _append_offline(
        self, writing: _Writing, offline: Sequence[OfflineMeasurement]
    ) -> list[OfflineMeasurement]:
        entries = [entry for entry in offline if entry.tag >= 0]
        lines = Lines.of([self._offline_line(entry) for entry in entries])
        return [entries[row] for first, last in writing.write(lines) for row in range(first, last)]

    def _offline_line(self, entry: OfflineMeasurement) -> str:
        material = {"roll": entry.roll, "metre": entry.metre, "batch": entry.batch}
        labels = {name: str(value) for name, value in material.items() if value is not None}
        of = key(LABORATORY, {"line": self._line, "tag": self._tags[entry.tag].name, **labels})
        return f"{of} value={entry.value!r},known={entry.known}i {entry.sampled}"

    def _append_events(self, writing: _Writing, events: Sequence[Event]) -> list[Event]:
        """Number those of one moment, kind and subject: they would overwrite each other."""
        times = [event.time for event in events]
        known: defaultdict[tuple[int, str, str], list[str]] = defaultdict(list)
        for stored, _ in self._events(min(times), max(times) + 1):
            known[stored.time, stored.kind, stored.subject].append(stored.text)
        new: list[Event] = []
        lines: list[str] = []
        impossible: list[Event] = []
        for event in events:
            texts = known[event.time, event.kind, event.subject]
            if event.text in texts:
                continue
            labels = {"line": self._line, "kind": event.kind, "subject": event.subject}
            try:
                of = key(EVENTS, {**labels, "number": str(len(texts))})
            except ValueError as error:
                writing.reasons.setdefault(str(error))
                impossible.append(event)
                continue
            texts.append(event.text)
            new.append(event)
            lines.append(f"{of} text={quoted(event.text)} {event.time}")
        refused = writing.write(Lines.of(lines))
        return impossible + [new[row] for first, last in refused for row in range(first, last)]

    def _complaint(
        self, rows: SampleBatch, offline: int, events: int, reasons: Mapping[str, None]
    ) -> str:
        names = [self._tags[tag].name for tag in np.unique(rows.tag).tolist()]
        which = ", ".join(names[:3]) + (" …" if len(names) > 3 else "")
        parts = [
            *([f"{len(rows)} samples of {which}"] if len(rows) else []),
            *([f"{offline} laboratory values"] if offline else []),
            *([f"{events} events"] if events else []),
        ]
        why = "; ".join(list(reasons)[:3])
        return f"InfluxDB at {self._at.url} refuses {' and '.join(parts)}: {why}"

    def _of(self, tags: Sequence[int]) -> str:
        chosen = " OR ".join(f'"tag" = {_literal(self._tags[tag].name)}' for tag in tags)
        return f"line = {_literal(self._line)} AND ({chosen})"

    def _samples(self, statement: str) -> SampleBatch:
        parts = [
            decoded(
                np.full(len(time), tag, np.int32),
                np.array(time, np.int64),
                np.array(value, np.float64),
                np.array(doubtful, np.float64),
                np.array(quality, np.int64),
            )
            for tag, (time, quality, value, doubtful) in self._columns(
                f'{statement} GROUP BY "tag"'
            ).items()
        ]
        return SampleBatch.concatenate(parts)

    def _columns(self, statement: str) -> dict[int, list[list[Any]]]:
        """The columns of every tag, time first."""
        found: dict[int, list[list[Any]]] = {}
        for labels, _, columns in self._series(statement):
            known = found.setdefault(self._tags.index(labels["tag"]), [[] for _ in columns])
            for whole, part in zip(known, columns, strict=True):
                whole.extend(part)
        return found

    def _offline(self, where: str) -> Iterator[OfflineMeasurement]:
        rows = [
            dict(zip(names, row, strict=True))
            for _, names, columns in self._series(
                f'SELECT value, known, "tag", roll, metre, batch FROM {LABORATORY} WHERE {where}'
            )
            for row in zip(*columns, strict=True)
        ]
        for row in sorted(rows, key=lambda row: row["time"]):
            yield OfflineMeasurement(
                self._tags.index(row["tag"]),
                row["time"],
                float(row["value"]),
                int(row["roll"]) if row["roll"] else None,
                float(row["metre"]) if row["metre"] else None,
                int(row["batch"]) if row["batch"] else None,
                row["known"],
            )

    def _events(self, start: int, end: int) -> list[tuple[Event, int]]:
        found = [
            (Event(time, kind or "", subject or "", text), int(number))
            for _, _, columns in self._series(
                f"SELECT kind, subject, number, text FROM {EVENTS}"
                f" WHERE line = {_literal(self._line)} AND time >= {start} AND time < {end}"
            )
            for time, kind, subject, number, text in zip(*columns, strict=True)
        ]
        return sorted(found, key=lambda entry: (entry[0].time, entry[1]))

    def _series(
        self, statement: str
    ) -> Iterator[tuple[dict[str, str], list[str], list[list[Any]]]]:
        """Labels, names and columns of every series, a long one in parts."""
        with self._reporting():
            response = self._post(
                "/query",
                "application/x-www-form-urlencoded",
                query_params=[
                    ("db", self._at.database),
                    ("epoch", "ns"),
                    ("chunked", "true"),
                    ("chunk_size", "50000"),
                ],
                post_params=[("q", statement)],
                _preload_content=False,
                _return_http_data_only=True,
            )
            try:
                for line in response:
                    if line.strip():
                        yield from self._answers(orjson.loads(line))
            finally:
                response.release_conn()

    def _answers(
        self, answer: dict[str, Any]
    ) -> Iterator[tuple[dict[str, str], list[str], list[list[Any]]]]:
        for result in (answer, *answer.get("results", ())):
            if "error" in result:
                raise HistorianError(self._at.url, str(result["error"]))
            for series in result.get("series", ()):
                columns = [list(column) for column in zip(*series["values"], strict=True)]
                yield series.get("tags", {}), series["columns"], columns

    @contextmanager
    def _reporting(self) -> Iterator[None]:
        try:
            yield
        except (urllib3.exceptions.HTTPError, OSError) as error:
            self._outage.begin(said(error))
            raise HistorianError(self._at.url, said(error)) from error
        except (InfluxDBError, ValueError) as error:
            self._outage.end()
            raise HistorianError(self._at.url, said(error)) from error
        self._outage.end()


class _Writing:
    """Sends the lines of an append, and finds out which are refused by sending halves.

    Args:
        send: sends lines; why they are refused, or None.
    """

    def __init__(self, send: Callable[[bytes], str | None]) -> None:
        self._send = send
        self._halvings = HALVINGS
        self.reasons: dict[str, None] = {}
        """Why something was refused, in order."""

    def write(self, lines: Lines) -> list[tuple[int, int]]:
        """Set through what can be; from which to before which line it is refused.

        InfluxDB takes the good lines beside a refused one, or none of them: sending halves serves
        both. Where too much is refused to look at each line, whole stretches count as refused.
        """
        refused = []
        waiting = [(0, len(lines))] if len(lines) else []
        while waiting:
            start, end = waiting.pop()
            reason = self._send(lines.between(start, end))
            if reason is None:
                continue
            if end - start > 1 and self._halvings:
                self._halvings -= 1
                middle = (start + end) // 2
                waiting += [(middle, end), (start, middle)]
            else:
                self.reasons.setdefault(reason)
                refused.append((start, end))
        return refused


def said(error: Exception) -> str:
    """What a server or the way to it has to say, as a sentence."""
    if not isinstance(error, ApiException):
        return str(error) or type(error).__name__
    body = error.body.decode(errors="replace") if isinstance(error.body, bytes) else error.body
    try:
        told = orjson.loads(body or "")
        text = str(told.get("message") or told.get("error") or body)
    except (orjson.JSONDecodeError, AttributeError):
        text = (body or "").strip() or str(error.reason)
    return f"{text[:500]} (HTTP {error.status})" if error.status else text


def _literal(text: str) -> str:
    escaped = text.replace("'", "\\'")
    return f"'{escaped}'"
