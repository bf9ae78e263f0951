"""Whatever a program may write as a number, a name or a text is read as it was meant."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from connectors.importing.cells import Cells, read_numbers
from connectors.importing.influx import read_line_protocol
from connectors.importing.mapping import SourceMapping
from connectors.importing.series import Key, key_of

NAMES = st.text(
    st.characters(codec="utf-8", exclude_characters='\\\n\r\0"#', exclude_categories=["Cs", "Cc"]),
    min_size=1,
    max_size=12,
).filter(lambda name: name.strip() == name and name.splitlines() == [name])
KEYS = st.builds(
    lambda measurement, tags, field: Key(measurement, tuple(sorted(tags.items())), field),
    NAMES,
    st.dictionaries(NAMES, NAMES, max_size=3),
    NAMES,
)
FINITE = st.floats(allow_nan=False, allow_infinity=False)


def rules(**said: object) -> SourceMapping:
    return SourceMapping.model_validate({"time": {"column": "t"}, "columns": {"v": "a"}, **said})


@given(st.lists(FINITE | st.none(), min_size=1), st.sampled_from([".", ","]))
def test_numbers_in_both_conventions(values: list[float | None], decimal: str) -> None:
    texts = ["" if each is None else repr(each).replace(".", decimal) for each in values]
    found, missing = read_numbers(Cells(pa.array(texts, pa.string())), rules(decimal=decimal))
    expected = np.array([np.nan if each is None else each for each in values], float)
    np.testing.assert_array_equal(found, expected)
    assert missing.tolist() == [each is None for each in values]


@given(
    st.lists(st.decimals(-(10**9), 10**9, places=3), min_size=1),
    st.sampled_from([(".", ","), (",", "."), (",", " "), (".", "'")]),
)
def test_numbers_with_thousands(values: list[object], signs: tuple[str, str]) -> None:
    decimal, thousands = signs
    texts = [
        f"{each:,}".replace(",", "#").replace(".", decimal).replace("#", thousands)
        for each in values
    ]
    said = rules(decimal=decimal, thousands=thousands)
    found, _ = read_numbers(Cells(pa.array(texts, pa.string())), said)
    assert found.tolist() == [float(str(each)) for each in values]


@given(KEYS)
def test_a_series_reads_its_own_name(key: Key) -> None:
    assert key_of(str(key)) == key


@given(st.lists(st.tuples(KEYS, FINITE, st.text(max_size=5)), min_size=1, max_size=5))
def test_escaped_line_protocol(points: list[tuple[Key, float, str]]) -> None:
    lines = []
    for number, (key, value, text) in enumerate(points):
        plain = "".join(text.splitlines()).replace("\0", "")
        quoted = plain.replace("\\", "\\\\").replace('"', '\\"')
        lines.append(f'{key}={value!r},zz="{quoted}" {number}')
    series = read_text("\n".join(lines))
    found = {
        (each.key, int(time)): float(value)
        for each in series
        if each.key.field != "zz"
        for time, value in zip(each.times, each.values, strict=True)
    }
    expected = {
        (key, number): value for number, (key, value, _) in enumerate(points) if key.field != "zz"
    }
    assert found == expected


def read_text(text: str) -> list[object]:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "export.lp"
        file.write_text(text, encoding="utf-8", newline="")
        said = {"series": {"a b": "c"}}
        return list(read_line_protocol(file, SourceMapping.model_validate(said)))
