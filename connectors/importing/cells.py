"""Cells of one column, and how they become values."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from connectors.importing.mapping import Severity, SourceMapping
from connectors.importing.problems import BadCellError
from twin.samples import BAD, UNCERTAIN, Bools, Floats, Ints

_CODES: Final[dict[Severity, int]] = {"good": 0, "uncertain": UNCERTAIN, "bad": BAD}
_WORDS: Final[dict[str, Severity]] = {
    "good": "good",
    "ok": "good",
    "uncertain": "uncertain",
    "bad": "bad",
}


@dataclass(frozen=True, slots=True)
class Cells:
    """One column as the file has it; a cell is a text, a number or a moment, else it is empty."""

    text: pa.Array | None = None
    """Strings; null where the cell is none."""
    number: pa.Array | None = None
    """Of any numeric type; null where the cell is none."""
    moment: pa.Array | None = None
    """Timestamps in ns, with the zone UTC or none; null where the cell is none."""

    def __len__(self) -> int:
        present = (self.text, self.number, self.moment)
        return max(len(part) for part in present if part is not None)

    def take(self, rows: Ints) -> Cells:
        """Some of the cells."""
        index = pa.array(rows)
        return Cells(
            *(
                None if part is None else part.take(index)
                for part in (self.text, self.number, self.moment)
            )
        )

    def words(self) -> pa.Array:
        """Every cell as a text, trimmed; an empty cell is the empty text."""
        parts = []
        if self.text is not None:
            parts.append(pc.utf8_trim_whitespace(self.text))
        if self.number is not None:
            parts.append(_plain(self.number))
        if self.moment is not None:
            parts.append(pc.replace_substring_regex(self.moment.cast(pa.string()), r"\.0+$", ""))
        return pc.fill_null(parts[0] if len(parts) == 1 else pc.coalesce(*parts), "")


def _plain(numbers: pa.Array) -> pa.Array:
    """Numbers as people write them: 7, not 7.0."""
    return pc.replace_substring_regex(numbers.cast(pa.string()), r"\.0$", "")


def first_failing(cells: pa.Array, convert: Callable[[pa.Array], object]) -> int:
    """The first cell that cannot be converted, where the whole column cannot."""
    low, high = 0, len(cells)
    while high - low > 1:
        middle = (low + high) // 2
        try:
            convert(cells[low:middle])
        except pa.ArrowInvalid:
            high = middle
        else:
            low = middle
    return low


def read_numbers(cells: Cells, rules: SourceMapping) -> tuple[Floats, Bools]:
    """Values, NaN where there is none, and where that is.

    Raises:
        BadCellError: a cell is neither a number nor one of the words for a missing value.
    """
    values = np.full(len(cells), math.nan)
    if cells.moment is not None and cells.moment.null_count < len(cells.moment):
        index = int(np.flatnonzero(cells.moment.is_valid())[0])
        raise BadCellError(
            index,
            f"{cells.moment[index]} is a time, not a number",
            "give the cell the format of a number, or map another column",
        )
    if cells.text is not None:
        values = _numbers_of_text(pc.utf8_trim_whitespace(cells.text), rules)
    if cells.number is not None:
        numbers = np.asarray(cells.number.cast(pa.float64()).to_numpy(zero_copy_only=False))
        values = np.where(np.isnan(values), numbers, values) if cells.text is not None else numbers
    absent = [float(word) for word in rules.missing if _is_number(word)]
    if absent:
        values = np.where(np.isin(values, absent), math.nan, values)
    infinite = np.flatnonzero(np.isinf(values))
    if len(infinite):
        raise BadCellError(
            int(infinite[0]), "the value is not finite", "add its word to 'missing', e.g. inf"
        )
    return values, np.isnan(values)


def _is_number(word: str) -> bool:
    try:
        return math.isfinite(float(word))
    except ValueError:
        return False


def _numbers_of_text(text: pa.Array, rules: SourceMapping) -> Floats:
    missing = pc.is_in(text, value_set=pa.array(rules.missing, pa.string()))
    numbers = pc.if_else(missing, pa.scalar(None, pa.string()), text)
    if rules.thousands is not None:
        numbers = _without_thousands(numbers, rules)
    elif rules.decimal == "," and pc.any(pc.match_substring(numbers, ".")).as_py():
        _refuse(text, int(pc.index(pc.match_substring(numbers, "."), True).as_py()), rules)
    if rules.decimal == ",":
        numbers = pc.replace_substring(numbers, ",", ".")
    try:
        read = numbers.cast(pa.float64())
    except pa.ArrowInvalid:
        _refuse(text, first_failing(numbers, lambda part: part.cast(pa.float64())), rules)
    values = np.asarray(read.to_numpy(zero_copy_only=False))
    if read.null_count < np.count_nonzero(np.isnan(values)):
        given = np.asarray(read.is_valid().to_numpy(zero_copy_only=False))
        _refuse(text, int(np.flatnonzero(np.isnan(values) & given)[0]), rules)
    return values


def _without_thousands(numbers: pa.Array, rules: SourceMapping) -> pa.Array:
    """Refuses separators out of place: 12.5 with a point for thousands is not 125."""
    assert rules.thousands is not None
    between, decimal = re.escape(rules.thousands), re.escape(rules.decimal)
    grouped = rf"^[+-]?(\d{{1,3}}({between}\d{{3}})+|\d+)({decimal}\d*)?([eE][+-]?\d+)?$"
    fitting = pc.fill_null(pc.match_substring_regex(numbers, grouped), True)
    if not pc.all(fitting).as_py():
        _refuse(numbers, int(pc.index(fitting, False).as_py()), rules)
    return pc.replace_substring(numbers, rules.thousands, "")


def _refuse(text: pa.Array, index: int, rules: SourceMapping) -> None:
    word = str(text[index].as_py())
    raise BadCellError(index, *_why(word, rules))


def _why(word: str, rules: SourceMapping) -> tuple[str, str]:
    if rules.decimal == "." and re.fullmatch(r"[+-]?\d{1,3}(\.\d{3})*,\d+|[+-]?\d+,\d+", word):
        return f"{word!r} has a decimal comma", "write \"decimal: ','\" in the mapping"
    if rules.decimal == "," and re.fullmatch(r"[+-]?[\d.]*\.\d+(,\d+)?", word):
        return (
            f"{word!r} has a point, and the mapping says decimal comma",
            "write \"thousands: '.'\" where points separate thousands, else \"decimal: '.'\"",
        )
    if rules.decimal == "." and re.fullmatch(r"[+-]?\d{1,3}(,\d{3})+(\.\d+)?", word):
        return f"{word!r} has commas", "write \"thousands: ','\" in the mapping"
    if re.fullmatch(r"[+-]?\d+([.,]\d+)?\s*[^\d\s.,].*", word):
        return (
            f"{word!r} is a number with something behind it",
            "take that out of the cells; the unit stands in the mapping",
        )
    shown = word if len(word) <= 40 else word[:37] + "..."
    return (
        f"{shown!r} is no number",
        f"correct the cell, or write {word!r} under 'missing' where it stands for no value",
    )


def read_qualities(
    cells: Cells, meanings: Mapping[str, Severity], missing: Sequence[str]
) -> NDArray[np.uint32]:
    """Status codes of a quality column; an empty cell is good.

    Raises:
        BadCellError: a word whose meaning nobody has said.
    """
    words = cells.words().dictionary_encode()
    known: dict[str, Severity] = {**_WORDS, **meanings}
    if "" in missing:
        known.setdefault("", "good")
    codes = []
    for code, word in enumerate(words.dictionary.to_pylist()):
        meaning = known.get(word, known.get(word.lower()))
        if meaning is None:
            index = int(pc.index(words.indices, pa.scalar(code, pa.int32())).as_py())
            raise BadCellError(
                index,
                f"nobody has said what the quality {word!r} means",
                f"write \"qualities: {{'{word}': good}}\" in the mapping, or uncertain, or bad",
            )
        codes.append(_CODES[meaning])
    return np.asarray(np.array(codes, np.uint32)[words.indices.to_numpy(zero_copy_only=False)])
