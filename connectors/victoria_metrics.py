"""The VictoriaMetrics historian: line protocol in, reads over its export and query interfaces.

What differs from the others, as VictoriaMetrics keeps it so: times are rounded to milliseconds, of
several samples of a tag within one the last is kept; values have twelve significant digits, fewer
where large and small ones of a tag stand close together; nothing can be deleted by time, its flag
-retentionPeriod does that; and what it took in its last seconds is lost when it is killed.
"""

from __future__ import annotations

import json
import math
import re
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

import numpy as np

from connectors.line_protocol import (
    EVENTS,
    LABORATORY,
    SAMPLES,
    Lines,
    decoded,
    escaped,
    key,
    sample_lines,
)
from connectors.victoria_server import DAY, VictoriaServer
from twin.configuration.historians import VictoriaHistorianConfiguration
from twin.ports import Buckets, Event, HistorianError, Refused
from twin.samples import Bools, Floats, Ints, OfflineMeasurement, SampleBatch, severity
from twin.tags import TagTable

MILLISECOND: Final = 1_000_000
"""ns"""
PORTION: Final = 20_000
"""Lines per request."""
SETTLES: Final = 30.0
"""Seconds after which data are on disk: it flushes every 5 s, and merging may hold some back."""
LONGEST_LABEL: Final = 4096
"""Bytes; it cuts longer ones off without a word."""
_NEVER: Final = -1
_FIRST_LOOK_BACK: Final = 600_000
"""ms"""
_AGO: Final = 4 * DAY
"""ms"""
_DIFFERENCE: Final = 1e-9
"""Relative; values as close as this are the same sample come again."""
_MINUTE: Final = 60_000
"""ms"""
_LOOKS: Final = 1000
"""Requests by which late samples are looked up, at most; one takes about 1 ms."""
_ROLLUPS: Final = ("min_over_time", "avg_over_time", "max_over_time", "count_over_time")
_LINE_SEPARATOR: Final = "\u2028"
"""Stands for the line break, which line protocol cannot carry."""


class VictoriaMetricsHistorian:
    """`ports.Historian` in VictoriaMetrics. Not thread-safe: give it a thread of its own.

    VictoriaMetrics overwrites nothing. So samples that are no newer than all of their tag are first
    looked up: those that it has are not sent again, and one with another value goes into a series
    of its own with the label `revision`, of which reads take the highest. Whoever draws
    `linetwin_value` may leave such series out with {revision=""}.

    Raises:
        HistorianError: from every method, where the server is away or does not do it; from
            `append`, once, also where it has started anew.
    """

    settles: Final = SETTLES

    def __init__(
        self, at: VictoriaHistorianConfiguration, line: str, tags: TagTable, retention: float = 0.0
    ) -> None:
        """Does not connect yet.

        Args:
            at: where it is.
            line: name of the line, a label of all that is written.
            retention: for how long the line wants samples kept, s.

        Raises:
            SecretError: the token is not where it should be.
            ValueError: the line or a tag has a name that line protocol cannot carry; a certificate
                cannot be read.
        """
        self._line = line
        self._retention = retention
        self._tags = tags
        self._keys = [key(SAMPLES, {"line": line, "tag": tag.name}) for tag in tags]
        self._server = VictoriaServer(at)
        self._known = False
        self._last = SampleBatch(
            np.arange(len(tags), dtype=np.int32),
            np.full(len(tags), _NEVER, np.int64),
            np.full(len(tags), np.nan),
            np.zeros(len(tags), np.uint32),
        )
        self._tried = np.full(len(tags), _NEVER, np.int64)
        """By tag the newest time that was ever sent, whether it arrived or not, ms."""

    def close(self) -> None:
        """Close the connection."""
        self._server.close()

    def append(self, batch: SampleBatch, events: Sequence[Event] = ()) -> None:
        """Visible when it returns, and on disk `settles` seconds later; see `ports.Historian`.

        Raises:
            Refused: VictoriaMetrics would drop what the exception names; it has taken the rest.
        """
        self._server.check()
        self._know_last()
        samples = _in_milliseconds(batch).one_per_time()
        possible = self._server.keeps(samples.time)
        sent, refused = samples.where(possible), samples.where(~possible)
        for revision, part in self._new(sent):
            keys = (
                [f"{each},revision={revision}" for each in self._keys] if revision else self._keys
            )
            np.maximum.at(self._tried, part.tag, part.time)
            for start in range(0, len(part), PORTION):
                lines = sample_lines(keys, part.between(start, start + PORTION))
                self._server.write(lines.text)
        self._remember(sent)
        offline = self._append_offline(batch.offline)
        told = self._append_events(events)
        self._server.check()
        if len(refused) or offline or told:
            names = [self._tags[tag].name for tag in np.unique(refused.tag).tolist()]
            raise Refused(
                f"VictoriaMetrics at {self._server.url} keeps {self._server.span}, and labels of "
                f"up to {LONGEST_LABEL} bytes without line breaks: not {len(refused)} samples"
                f" ({', '.join(names[:3])}{' …' if len(names) > 3 else ''}),"
                f" {len(offline)} laboratory values, {len(told)} events",
                _in_nanoseconds(refused, offline),
                told,
            )

    def read(self, tags: Sequence[int], start: int, end: int) -> SampleBatch:
        """Samples with start <= time < end, ordered by time, then tag; with laboratory values."""
        if not len(tags) or end <= start:
            return SampleBatch.of([], [], [])
        self._server.outage.check(self._server.url)
        self._server.flush()
        first, last = _from(start), _from(end) - 1
        samples, _ = self._stored(tags, first, last)
        samples = samples.rows(np.lexsort((samples.tag, samples.time)))
        offline = [entry for entry, _ in self._laboratory(tags, first, last).values()]
        return _in_nanoseconds(samples, sorted(offline, key=lambda entry: entry.sampled))

    def latest(self, tags: Sequence[int]) -> SampleBatch:
        """The last sample of each tag that has one, from memory."""
        if not self._known:
            self._server.outage.check(self._server.url)
        self._know_last()
        chosen = np.asarray(tags, np.int64)
        return _in_nanoseconds(self._last.rows(chosen[self._last.time[chosen] != _NEVER]), ())

    def buckets(self, tags: Sequence[int], start: int, end: int, count: int) -> dict[int, Buckets]:
        """See `ports.Historian`; VictoriaMetrics gives 30 000 buckets at most.

        Raises:
            ValueError: no bucket or no time asked for.
        """
        if count < 1 or end <= start:
            raise ValueError("ask for at least one bucket over a time that ends after it starts")
        self._server.outage.check(self._server.url)
        self._server.flush()
        first, after = _from(start), _from(end)
        width = max(-(-(after - first) // count), 1)
        revised = self._revised(tags, first, after - 1)
        plain = [tag for tag in tags if tag not in revised]
        whole, rest = divmod(after - first, width)
        columns: defaultdict[int, list[_Row]] = defaultdict(list)
        if plain:
            self._roll_up(columns, plain, first, width, whole)
            self._roll_up(columns, plain, first + whole * width, rest, int(rest > 0))
        for tag in revised:
            samples, _ = self._stored([tag], first, after - 1)
            columns[tag] = _rolled_up(samples, first, width)
        found = {}
        for tag in tags:
            table = np.array(sorted(columns[tag]), np.float64).reshape(-1, 5)
            begins = (table[:, 0].astype(np.int64) - first) * MILLISECOND + start
            found[tag] = Buckets(
                begins, table[:, 1], table[:, 2], table[:, 3], table[:, 4].astype(np.int64)
            )
        return found

    def events(self, start: int, end: int) -> list[Event]:
        """Events with start <= time < end, ordered by time; those of one moment in no order."""
        if end <= start:
            return []
        self._server.outage.check(self._server.url)
        self._server.flush()
        match = self._selector(f"{EVENTS}_happened")
        found = {
            Event(
                moment * MILLISECOND,
                labels.get("kind", ""),
                labels.get("subject", ""),
                labels.get("text", "").replace(_LINE_SEPARATOR, "\n"),
            )
            for labels, times, _ in self._server.export(match, _from(start), _from(end) - 1)
            for moment in times
        }
        return sorted(found, key=lambda event: (event.time, event.kind, event.subject, event.text))

    def retain(self, since: int) -> int:
        """Delete nothing: VictoriaMetrics does it, by its flag -retentionPeriod."""
        return 0

    def reach(self) -> str:
        """Ask whether the server would keep samples for as long as the line wants; what it is.

        Raises:
            HistorianError: it keeps them for a shorter time, too.
        """
        self._server.connect()
        days = self._server.retention / DAY
        if days * 86_400 < self._retention:
            raise HistorianError(
                self._server.url,
                f"it keeps samples for {days:.4g} days; for as long as the line wants, start it "
                f"with -retentionPeriod={math.ceil(self._retention / 86_400)}d",
            )
        return f"VictoriaMetrics keeps samples for {days:.4g} days"

    def _know_last(self) -> None:
        """Once: look back from the newest sample, further and further, until all are found."""
        if self._known:
            return
        self._server.connect()
        self._server.flush()
        match = self._selector(f"{SAMPLES}_quality")
        end, width = int(time.time() * 1000) + 2 * DAY, 2 * DAY + _FIRST_LOOK_BACK
        series = self._server.series(match, 0, end)
        missing = {labels["tag"] for labels in series} & {tag.name for tag in self._tags}
        while missing and end > 0:
            newest: dict[str, int] = {}
            for labels, moment in self._server.instant(f"tlast_over_time({match}[{width}ms])", end):
                if labels["tag"] in missing:
                    at = round(moment * 1000)
                    newest[labels["tag"]] = max(at, newest.get(labels["tag"], at))
            for name, at in newest.items():
                stored, _ = self._stored([self._tags.index(name)], at, at)
                self._remember(stored)
            missing -= set(newest)
            end, width = end - width, width * 10
        self._tried = np.maximum(self._tried, self._last.time)
        self._known = True

    def _remember(self, batch: SampleBatch) -> None:
        if not len(batch):
            return
        newest = batch.rows(np.flatnonzero(np.append(batch.tag[1:] != batch.tag[:-1], True)))
        newest = newest.where(newest.time >= self._last.time[newest.tag])
        self._last.time[newest.tag] = newest.time
        self._last.value[newest.tag] = newest.value
        self._last.quality[newest.tag] = newest.quality

    def _new(self, samples: SampleBatch) -> list[tuple[int, SampleBatch]]:
        """What the server does not have yet, by the revision under which it is to be written."""
        late = samples.time <= self._tried[samples.tag]
        if not late.any():
            return [(0, samples)]
        self._server.flush()
        again = samples.where(late)
        stored, revisions = self._counterparts(again)
        place = np.searchsorted(_identity(stored), _identity(again))
        place = np.minimum(place, max(len(stored) - 1, 0))
        if len(stored):
            beside = stored.rows(place)
            there = (beside.tag == again.tag) & (beside.time == again.time)
            same = there & _alike(beside, again)
            revision = np.where(there, revisions[place] + 1, 0)
        else:
            same = np.zeros(len(again), np.bool_)
            revision = np.zeros(len(again), np.int64)
        return [
            (0, samples.where(~late)),
            *(
                (number, again.where(~same & (revision == number)))
                for number in np.unique(revision[~same]).tolist()
            ),
        ]

    def _counterparts(self, samples: SampleBatch) -> tuple[SampleBatch, Ints]:
        """What is stored of these tags at these very times, like `_stored`."""
        parts = []
        for piece in _pieces(samples):
            stored, revisions = self._stored(
                np.unique(piece.tag).tolist(), int(piece.time.min()), int(piece.time.max())
            )
            there = np.isin(_identity(stored), _identity(piece))
            parts.append((stored.where(there), revisions[there]))
        found = SampleBatch.concatenate([stored for stored, _ in parts])
        order = np.argsort(_identity(found))
        return found.rows(order), np.concatenate([numbers for _, numbers in parts])[order]

    def _stored(self, tags: Sequence[int], first: int, last: int) -> tuple[SampleBatch, Ints]:
        """Samples from `first` to `last` (ms, included) by tag, then time, with their revisions."""
        fields: defaultdict[tuple[str, int], dict[str, list[tuple[Any, Any]]]]
        fields = defaultdict(lambda: {"value": [], "doubtful": [], "quality": []})
        match = self._selector(f"{SAMPLES}_(value|doubtful|quality)", tags)
        for labels, times, values in self._server.export(match, first, last):
            series = fields[labels["tag"], int(labels.get("revision", 0))]
            series[labels["__name__"].removeprefix(f"{SAMPLES}_")].append((times, values))
        parts, revisions = [], []
        for (name, revision), columns in fields.items():
            if name not in self._tags or not columns["quality"]:
                continue
            times, quality = _column(columns["quality"])
            parts.append(
                decoded(
                    np.full(len(times), self._tags.index(name), np.int32),
                    times,
                    _beside(times, *_column(columns["value"])),
                    _beside(times, *_column(columns["doubtful"])),
                    quality.astype(np.int64),
                )
            )
            revisions.append(np.full(len(times), revision))
        if not parts:
            return SampleBatch.of([], [], []), np.empty(0, np.int64)
        found, numbers = SampleBatch.concatenate(parts), np.concatenate(revisions)
        order = np.lexsort((numbers, found.time, found.tag))
        found, numbers = found.rows(order), numbers[order]
        current = np.append((np.diff(found.tag) != 0) | (np.diff(found.time) != 0), True)
        return found.where(current), numbers[current]

    def _append_offline(self, offline: Sequence[OfflineMeasurement]) -> list[OfflineMeasurement]:
        """Those that cannot be kept."""
        entries = {self._material(entry): entry for entry in offline if entry.tag >= 0}
        if not entries:
            return []
        self._server.flush()
        refused, lines = [], []
        for of, entry in entries.items():
            series, at = of
            if not np.isfinite(entry.value) or not self._server.keeps(np.array([at]))[0]:
                refused.append(entry)
                continue
            label = ""
            stored = self._laboratory([entry.tag], at, at).get(of)
            if stored is not None:
                there, revision = stored
                if there.known == _nearest(entry.known) * MILLISECOND and np.isclose(
                    there.value, entry.value, rtol=_DIFFERENCE, atol=0
                ):
                    continue
                label = f",revision={revision + 1}"
            fields = f"value={entry.value!r},known={_nearest(entry.known)}i"
            lines.append(f"{series}{label} {fields} {at}")
        self._server.write(Lines.of(lines).text)
        return refused

    def _material(self, entry: OfflineMeasurement) -> tuple[str, int]:
        """What tells a laboratory value from others: its series, and its time in ms."""
        material = {"roll": entry.roll, "metre": entry.metre, "batch": entry.batch}
        labels = {name: str(value) for name, value in material.items() if value is not None}
        tag = self._tags[entry.tag].name
        return key(LABORATORY, {"line": self._line, "tag": tag, **labels}), _nearest(entry.sampled)

    def _laboratory(
        self, tags: Sequence[int], first: int, last: int
    ) -> dict[tuple[str, int], tuple[OfflineMeasurement, int]]:
        """By material the laboratory values of the highest revision, and which that is."""
        fields: defaultdict[tuple[tuple[str, str], ...], dict[str, dict[int, float]]]
        fields = defaultdict(lambda: {"value": {}, "known": {}})
        match = self._selector(f"{LABORATORY}_(value|known)", tags)
        for labels, times, values in self._server.export(match, first, last):
            name = labels.pop("__name__").removeprefix(f"{LABORATORY}_")
            fields[tuple(labels.items())][name].update(zip(times.tolist(), values, strict=True))
        found: dict[tuple[str, int], tuple[OfflineMeasurement, int]] = {}
        for series, columns in fields.items():
            of = dict(series)
            revision = int(of.get("revision", 0))
            for at, value in columns["value"].items():
                entry = OfflineMeasurement(
                    self._tags.index(of["tag"]),
                    at * MILLISECOND,
                    value,
                    int(of["roll"]) if "roll" in of else None,
                    float(of["metre"]) if "metre" in of else None,
                    int(of["batch"]) if "batch" in of else None,
                    int(columns["known"].get(at, 0)) * MILLISECOND,
                )
                material = self._material(entry)
                if material not in found or found[material][1] < revision:
                    found[material] = entry, revision
        return found

    def _append_events(self, events: Sequence[Event]) -> list[Event]:
        """Those that cannot be kept."""
        refused, lines = [], []
        for event in events:
            text = event.text.replace("\\", "\\\\").replace("\n", _LINE_SEPARATOR)
            at = _nearest(event.time)
            try:
                labels = {"line": self._line, "kind": event.kind, "subject": event.subject}
                of = key(EVENTS, labels)
            except ValueError:
                refused.append(event)
                continue
            if len(text.encode()) > LONGEST_LABEL or not self._server.keeps(np.array([at]))[0]:
                refused.append(event)
                continue
            told = f",text={escaped(text)}" if text else ""
            lines.append(f"{of}{told} happened=1i {at}")
        self._server.write(Lines.of(lines).text)
        return refused

    def _selector(self, name: str, tags: Sequence[int] | None = None, more: str = "") -> str:
        """The series of a name, a regular expression, of this line."""
        chosen = f"__name__=~{json.dumps(name)},line={_quoted(self._line)}{more}"
        if tags is not None:
            names = "|".join(re.escape(self._tags[tag].name) for tag in tags)
            chosen += f",tag=~{_quoted(names)}"
        return "{" + chosen + "}"

    def _revised(self, tags: Sequence[int], first: int, last: int) -> set[int]:
        """The tags of which a sample was replaced on these days."""
        match = self._selector(f"{SAMPLES}_quality", tags, ',revision!=""')
        names = {labels["tag"] for labels in self._server.series(match, first, last)}
        return {tag for tag in tags if self._tags[tag].name in names}

    def _roll_up(
        self, rows: dict[int, list[_Row]], tags: Sequence[int], first: int, width: int, count: int
    ) -> None:
        """Add the rows of `count` buckets that are `width` ms wide, the first from `first`."""
        if not count:
            return
        match = self._selector(f"{SAMPLES}_value", tags, ',revision=""')
        names = ", ".join(f'"{name}"' for name in _ROLLUPS)
        # it makes up the last half minute of what it is asked, so it is asked as of days ago
        query = f"aggr_over_time(({names}), {match}[{width}ms] offset -{_AGO}ms)"
        # a window includes its end and not its start
        start = first + width - 1 - _AGO
        found: defaultdict[tuple[int, int], dict[str, float]] = defaultdict(dict)
        end = start + (count - 1) * width
        for labels, pairs in self._server.stepped(query, start, end, width):
            for at, value in pairs:
                found[self._tags.index(labels["tag"]), at + _AGO - width + 1][labels["rollup"]] = (
                    value
                )
        for (tag, begin), values in found.items():
            rows[tag].append((begin, *(values[name] for name in _ROLLUPS)))


_Row = tuple[float, ...]
"""Of a bucket: where it begins, ms, minimum, mean, maximum, count."""


def _nearest(nanoseconds: int) -> int:
    return (nanoseconds + MILLISECOND // 2) // MILLISECOND


def _from(nanoseconds: int) -> int:
    """The first ms that is not before."""
    return -(-nanoseconds // MILLISECOND)


def _in_milliseconds(batch: SampleBatch) -> SampleBatch:
    times = (batch.time + MILLISECOND // 2) // MILLISECOND
    return SampleBatch(batch.tag, times, batch.value, batch.quality)


def _in_nanoseconds(batch: SampleBatch, offline: Iterable[OfflineMeasurement]) -> SampleBatch:
    return SampleBatch(
        batch.tag, batch.time * MILLISECOND, batch.value, batch.quality, tuple(offline)
    )


def _identity(batch: SampleBatch) -> Ints:
    """Tag and time in one number: times of two thousand years in ms take 46 bits."""
    return batch.tag.astype(np.int64) << 46 | batch.time


def _pieces(samples: SampleBatch) -> Iterator[SampleBatch]:
    """The samples of each minute, or of as many minutes as keep the pieces to `_LOOKS`.

    Where samples are far apart, what lies between them is not read to look them up.
    """
    width = _MINUTE
    while len(np.unique(samples.time // width)) > _LOOKS:
        width *= 2
    spans = samples.time // width
    order = np.argsort(spans, kind="stable")
    for rows in np.split(order, np.flatnonzero(np.diff(spans[order])) + 1):
        yield samples.rows(rows)


def _alike(one: SampleBatch, other: SampleBatch) -> Bools:
    close = np.isclose(one.value, other.value, rtol=_DIFFERENCE, atol=0, equal_nan=True)
    same: Bools = close & (one.quality == other.quality)
    return same


def _column(parts: Sequence[tuple[Ints, list[float]]]) -> tuple[Ints, Floats]:
    """Times and values of a series; a sample that was sent twice stands there once."""
    if not parts:
        return np.empty(0, np.int64), np.empty(0)
    times, first = np.unique(np.concatenate([times for times, _ in parts]), return_index=True)
    return times, np.concatenate([np.array(values, np.float64) for _, values in parts])[first]


def _beside(times: Ints, of: Ints, values: Floats) -> Floats:
    """What stands beside each of these times, NaN where nothing does."""
    found = np.full(len(times), np.nan)
    found[np.isin(times, of)] = values[np.isin(of, times)]
    return found


def _rolled_up(samples: SampleBatch, first: int, width: int) -> list[_Row]:
    good = samples.where(np.isfinite(samples.value) & (severity(samples.quality) == 0))
    bucket = (good.time - first) // width
    return [
        (
            float(first + number * width),
            float(values.min()),
            float(values.mean()),
            float(values.max()),
            float(len(values)),
        )
        for number in np.unique(bucket).tolist()
        for values in (good.value[bucket == number],)
    ]


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
