"""Times of foreign data: texts, numbers or dates, in local time or not, to ns in UTC."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from connectors.importing.cells import Cells, first_failing
from connectors.importing.mapping import TimeMapping
from connectors.importing.problems import BadCellError
from twin.samples import Ints
from twin.units import NANOSECONDS_PER

_LATEST: Final = 2**63 - 1
_EARLIEST_NUMBER: Final = 10 * 365 * 86_400 * 10**9
"""Numbers that mean a time before 1980 are of another unit."""
_QUARTER: Final = 900 * 10**9
_EPOCH: Final = datetime(1970, 1, 1)
_LOCAL: Final = pa.timestamp("ns")
_WORLD: Final = pa.timestamp("ns", "UTC")
_OFFSET: Final = r"\d:\d{2}.*(Z|[+-]\d{2}(:?\d{2})?)$"
_PARTS: Final = {
    "Y": r"\d{4}",
    "m": r"\d{1,2}",
    "d": r"\d{1,2}",
    "H": r"\d{1,2}",
    "M": r"\d{1,2}",
    "S": r"\d{1,2}",
    "f": r"\d{1,9}",
    "z": r"Z|[+-]\d{2}:?\d{2}",
}


def read_times(columns: Sequence[Cells], rule: TimeMapping, usual: str = "iso") -> Ints:
    """Source times of rows, ns since the epoch (UTC).

    Args:
        columns: the time, or its parts, such as date and time.
        rule: how they are written.
        usual: the format where the rule has none.

    Raises:
        BadCellError: a cell is no time, or one that does not exist or exists twice.
    """
    written = rule.format or usual
    only = columns[0]
    if len(columns) == 1 and only.moment is not None and not only.moment.null_count:
        times = only.moment
        found = _numpy(times) if times.type.tz else _to_utc(_numpy(times), rule)
    elif written in NANOSECONDS_PER:
        found = _since_1970(only, written)
    elif written == "excel":
        found = _to_utc(_since_1900(only), rule)
    else:
        found = _of_text(_joined(columns), written, rule)
    early = np.flatnonzero(found < 0)
    if len(early):
        shown = show(int(found[early[0]]))
        raise BadCellError(
            int(early[0]), f"{shown} lies before 1970", "correct the time, or its format"
        )
    return found


def regular_times(rule: TimeMapping, first: int, count: int) -> Ints:
    """Times of rows without one: start, and then one every so often.

    Args:
        rule: with start and every.
        first: number of the first row, from 0.
        count: how many rows.

    Raises:
        BadCellError: the start is no time.
    """
    assert rule.every is not None
    start = int(_of_text(pa.array([rule.start], pa.string()), "iso", rule)[0])
    rows = np.arange(first, first + count)
    steps = np.rint(rows * (rule.every * 1e9)).astype(np.int64)
    return np.asarray(start + steps, np.int64)


def show(moment: int) -> str:
    """A time as people read it, UTC."""
    shown = _EPOCH.replace(tzinfo=UTC) + timedelta(microseconds=moment // 1000)
    return shown.isoformat(sep=" ", timespec="seconds").removesuffix("+00:00") + " UTC"


def _numpy(times: pa.Array) -> Ints:
    return np.asarray(times.view(pa.int64()).to_numpy(zero_copy_only=False), np.int64)


def _joined(columns: Sequence[Cells]) -> pa.Array:
    if len(columns) == 1:
        return columns[0].words()
    parts = [pc.replace_substring_regex(part.words(), " 00:00:00$", "") for part in columns]
    return pc.binary_join_element_wise(*parts, " ")


def _since_1970(cells: Cells, unit: str) -> Ints:
    scale = NANOSECONDS_PER[unit]
    numbers = pc.utf8_trim_whitespace(cells.text) if cells.text is not None else cells.number
    if numbers is None or numbers.null_count:
        index = 0 if numbers is None else int(pc.index(numbers.is_null(), True).as_py())
        raise BadCellError(index, "the time is missing", "delete the row, or give it a time")
    try:
        counts = np.asarray(numbers.cast(pa.int64()).to_numpy())
    except pa.ArrowInvalid:
        try:
            seconds = np.asarray(numbers.cast(pa.float64()).to_numpy())
        except pa.ArrowInvalid:
            index = first_failing(numbers, lambda part: part.cast(pa.float64()))
            raise _no_number(index, str(numbers[index].as_py()), unit) from None
        wrong = np.flatnonzero(~np.isfinite(seconds) | (seconds * scale >= _LATEST))
        if len(wrong):
            raise _other_unit(int(wrong[0]), float(seconds[wrong[0]]), unit) from None
        # a double of seconds is good to 0.2 us
        moments = np.rint(seconds * scale / 1000).astype(np.int64) * 1000
    else:
        wrong = np.flatnonzero(counts > _LATEST // scale)
        if len(wrong):
            raise _other_unit(int(wrong[0]), int(counts[wrong[0]]), unit)
        moments = np.maximum(counts, -_LATEST // scale) * scale
    if len(moments) and moments.min() >= 0 and moments.max() < _EARLIEST_NUMBER:
        raise _other_unit(0, int(moments[0]) // scale, unit)
    return moments


def _no_number(index: int, word: str, unit: str) -> BadCellError:
    if not word:
        return BadCellError(index, "the time is missing", "delete the row, or give it a time")
    return BadCellError(
        index,
        f"{word!r} is no number of {unit} since 1970",
        "write the format of the times in the mapping, e.g. 'format: iso'",
    )


def _other_unit(index: int, count: float, unit: str) -> BadCellError:
    plausible = [
        other
        for other, scale in NANOSECONDS_PER.items()
        if 631_152_000 < count * scale / 1e9 < 4_102_444_800
    ]
    time = count * NANOSECONDS_PER[unit]
    lies = "beyond 2262" if time > _LATEST else f"at {show(int(time))}"
    return BadCellError(
        index,
        f"{count} {unit} since 1970 lies {lies}",
        f"write 'format: {plausible[0]}' under time"
        if plausible
        else "write under time what the numbers are: s, ms, us, ns or excel",
    )


def _since_1900(cells: Cells) -> Ints:
    """Days since 1899-12-30, to the millisecond."""
    text = cells.number if cells.number is not None else pc.utf8_trim_whitespace(cells.text)
    try:
        days = np.asarray(text.cast(pa.float64()).to_numpy(zero_copy_only=False))
    except pa.ArrowInvalid:
        index = first_failing(text, lambda part: part.cast(pa.float64()))
        days = np.full(len(text), np.nan)
        days[:index] = 0
    wrong = np.flatnonzero(~((days >= 25_569) & (days < 132_000)) if len(days) else [])
    wrong = wrong if not len(wrong) or np.isnan(days).sum() == 0 else np.flatnonzero(np.isnan(days))
    if len(wrong):
        index = int(wrong[0])
        raise BadCellError(
            index,
            f"{cells.words()[index].as_py()!r} is no number of days since 1900 of our time",
            "give the cell the format of a date, or write the right format in the mapping",
        )
    return np.asarray(np.rint((days - 25_569) * 86_400_000), np.int64) * 10**6


def _of_text(text: pa.Array, written: str, rule: TimeMapping) -> Ints:
    empty = pc.index(pc.equal(text, ""), True).as_py()
    if empty >= 0:
        raise BadCellError(int(empty), "the time is missing", "delete the row, or give it a time")
    iso = pc.replace_substring(text, ",", ".") if written == "iso" else _to_iso(text, written)
    zoned = len(iso) > 0 and bool(pc.match_substring_regex(iso[:1], _OFFSET)[0].as_py())
    kind = _WORLD if zoned else _LOCAL
    try:
        times = iso.cast(kind)
    except pa.ArrowInvalid:
        index = first_failing(iso, lambda part: part.cast(kind))
        raise _no_time(index, str(text[index].as_py()), str(iso[index].as_py()), written) from None
    return _numpy(times) if zoned else _to_utc(_numpy(times), rule)


def _no_time(index: int, word: str, iso: str, written: str) -> BadCellError:
    year = re.match(r"\d{4}", iso)
    if year and not 1970 <= int(year[0]) < 2262 and re.match(r"\d{4}-\d{2}-\d{2}", iso):
        return BadCellError(
            index, f"{word!r} lies outside the years 1970 to 2262", "correct the time"
        )
    for kind in (_LOCAL, _WORLD):
        try:
            pa.array([iso]).cast(kind)
        except pa.ArrowInvalid:
            continue
        return BadCellError(
            index,
            f"{word!r} is {'local' if kind is _LOCAL else 'with an offset'}, the first time is not",
            "export all times alike",
        )
    if re.match(r"\d{4}-\d{2}-\d{2}", iso):
        return BadCellError(index, f"there is no time {word!r}", "correct the date or the time")
    return BadCellError(
        index,
        f"{word!r} is not a time as {written!r} says",
        f"write 'format: {guess}' under time"
        if (guess := _guess(word)) and guess != written
        else "correct the cell, or write the format of the times in the mapping",
    )


def _guess(word: str) -> str | None:
    """The format that a time seems to have."""
    for pattern in ("%d.%m.%Y", "%d/%m/%Y", "%Y/%m/%d"):
        for clock in (" %H:%M:%S.%f", " %H:%M:%S", " %H:%M", ""):
            try:
                datetime.strptime(word, pattern + clock)
            except ValueError:
                continue
            return f"'{pattern}{clock}'"
    if re.fullmatch(r"\d{9,19}", word):
        return {9: "s", 10: "s", 13: "ms", 16: "us", 19: "ns"}.get(len(word))
    return None


def _to_iso(text: pa.Array, pattern: str) -> pa.Array:
    """Times by a pattern of strptime, written as ISO 8601."""
    directives = re.findall("%(.)", pattern)
    if not set("Ymd") <= set(directives) <= set(_PARTS) or len(directives) > len(set(directives)):
        return _slowly_to_iso(text, pattern)
    pieces = re.split("(%.)", pattern)
    regex = "".join(
        f"(?P<{piece[1]}>{_PARTS[piece[1]]})" if piece.startswith("%") else re.escape(piece)
        for piece in pieces
    )
    found = pc.extract_regex(text, f"^{regex}$")
    if found.null_count:
        index = int(pc.index(found.is_null(), True).as_py())
        raise _no_time(index, str(text[index].as_py()), "", pattern)

    def part(name: str) -> pa.Array:
        if name in directives:
            return pc.utf8_lpad(pc.struct_field(found, name), 2, "0")
        return pa.repeat("00", len(text))

    day = pc.binary_join_element_wise(*(part(name) for name in "Ymd"), "-")
    clock = pc.binary_join_element_wise(*(part(name) for name in "HMS"), ":")
    iso = pc.binary_join_element_wise(day, clock, "T")
    if "f" in directives:
        iso = pc.binary_join_element_wise(iso, pc.struct_field(found, "f"), ".")
    if "z" in directives:
        iso = pc.binary_join_element_wise(iso, pc.struct_field(found, "z"), "")
    return iso


def _slowly_to_iso(text: pa.Array, pattern: str) -> pa.Array:
    """The same for patterns with names of months and the like."""
    encoded = text.dictionary_encode()
    iso = []
    for code, word in enumerate(encoded.dictionary.to_pylist()):
        try:
            iso.append(datetime.strptime(word, pattern).isoformat())
        except ValueError:
            index = int(pc.index(encoded.indices, pa.scalar(code, pa.int32())).as_py())
            raise _no_time(index, word, "", pattern) from None
    return pa.array(iso, pa.string()).take(encoded.indices)


def _to_utc(local: Ints, rule: TimeMapping) -> Ints:
    """Local times of a zone in UTC; the clock is set at quarters of an hour only."""
    if rule.zone is None:
        raise BadCellError(
            0,
            "the times do not say their zone",
            "write 'zone: UTC' under time, or the zone of the clock, e.g. 'zone: Europe/Berlin'",
        )
    zone = ZoneInfo(rule.zone)
    early = np.flatnonzero(local < 0)
    if len(early):
        raise BadCellError(
            int(early[0]),
            f"{_EPOCH + timedelta(microseconds=int(local[early[0]]) // 1000)} lies before 1970",
            "correct the time, or its format",
        )
    quarters, which = np.unique(local // _QUARTER, return_inverse=True)
    earlier = np.empty(len(quarters), np.int64)
    later = np.empty(len(quarters), np.int64)
    for number, quarter in enumerate(quarters):
        moment = _EPOCH + timedelta(seconds=int(quarter) * 900)
        for fold, offsets in ((0, earlier), (1, later)):
            offset = moment.replace(tzinfo=zone, fold=fold).utcoffset()
            assert offset is not None
            offsets[number] = offset // timedelta(microseconds=1) * 1000
    unclear = np.flatnonzero((earlier != later)[which])
    if len(unclear) and rule.fold is None:
        index = int(unclear[0])
        twice = earlier[which[index]] > later[which[index]]
        shown = _EPOCH + timedelta(microseconds=int(local[index]) // 1000)
        raise BadCellError(
            index,
            f"{shown} {'comes twice' if twice else 'does not exist'} in {rule.zone}, "
            "where the clock was set",
            "write 'fold: earlier' or 'fold: later' under time, or export times in UTC",
        )
    choose = np.minimum if rule.fold == "later" else np.maximum
    return local - choose(earlier, later)[which]
