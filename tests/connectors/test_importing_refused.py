"""Malformed files and mappings: each refused with file, row, column and remedy."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import openpyxl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from twin.cli import main

LINE = """
name: a small line
connectors: {m: {kind: opcua, security: none, url: "opc.tcp://127.0.0.1:4840/m"}}
tags:
  oven.speed: {unit: m/min, class: MP, role: actual, connector: m, address: {node: "ns=2;s=a"}}
  oven.heat: {unit: degC, class: MP, role: actual, connector: m, address: {node: "ns=2;s=b"}}
webs: {}
steps: {}
"""
WIDE = """
time: {column: t, zone: Europe/Berlin}
columns: {v: {tag: oven.speed, unit: m/min}, T: oven.heat}
"""
SECONDS = WIDE.replace("zone: Europe/Berlin", "format: s")
LONG = """
time: {column: t, zone: UTC}
long: {name: n, value: v, unit: u}
names: {speed: oven.speed}
"""
SERIES = "series: {oven speed: oven.speed, oven heat: oven.heat}"
DAY = "2026-03-01 10:00:"
HEAD = "t,v,T\n"


def workbook(*rows: list[object], merge: str = "") -> bytes:
    book = openpyxl.Workbook()
    page = book.active
    assert page is not None
    for row in rows:
        page.append(row)
    if merge:
        page.merge_cells(merge)
    stream = io.BytesIO()
    book.save(stream)
    return stream.getvalue()


def parquet(**columns: pa.Array) -> bytes:
    stream = io.BytesIO()
    pq.write_table(pa.table(columns), stream)
    return stream.getvalue()


ROW = [1.0, 1.5, 20.0]
TYPES = parquet(t=pa.array([DAY + "00"]), v=pa.array([[1.0, 2.0]]), T=pa.array([1.0]))
TEXTS = parquet(t=pa.array([DAY + "00", DAY + "01"]), v=pa.array(["1", "on"]), T=pa.array([1, 2]))
ANNOTATED = """#group,false,false,false,true,true
#datatype,string,dateTime:RFC3339,{},string,string
#default,_result,,,,
,result,_time,_value,_field,_measurement
,,2026-03-01T09:00:00Z,1.5,speed,oven
"""


@dataclass
class Bad:
    """A file that must be refused, and what must be said of it."""

    name: str
    content: str | bytes
    row: int | None
    column: str | None
    what: str
    remedy: str
    mapping: str = WIDE


FILES = {
    "truncated quote": Bad(
        "a.csv", f'{HEAD}{DAY}00,1,20\n{DAY}01,"1,20\n{DAY}02,1,20\n', 3, "v", "quote", "close it"
    ),
    "too few cells": Bad(
        "a.csv", f"{HEAD}{DAY}00,1,20\n{DAY}01,1\n", 3, "T", "2 cells, not 3", "put the row right"
    ),
    "too many cells": Bad(
        "a.csv", f"{HEAD}{DAY}00,1,20\n\n{DAY}01,1,5,20\n", 4, "number 4", "4 cells", "decimal"
    ),
    "delimiters at the end of rows": Bad(
        "a.csv", f"{HEAD}{DAY}00,1,20,\n", 2, "number 4", "4 cells, not 3", "add one there"
    ),
    "unknown column": Bad(
        "a.csv", f"t,v,T,motor\n{DAY}00,1,20,3\n", 1, "motor", "not in the mapping", "rest: ignore"
    ),
    "missing column": Bad(
        "a.csv", f"t,V,T\n{DAY}00,1,20\n", 1, "v", "no column 'v'", "choose from: t, V, T"
    ),
    "misspelt column": Bad(
        "a.csv",
        f"t,speeed,T\n{DAY}00,1,20\n",
        1,
        "speed",
        "no column",
        "did you mean 'speeed'?",
        WIDE.replace("{v:", "{speed:"),
    ),
    "decimal comma untold": Bad(
        "a.csv", f"t;v;T\n{DAY}00;1;20\n{DAY}01;1,5;20\n", 3, "v", "decimal comma", "decimal: ','"
    ),
    "decimal point untold": Bad(
        "a.csv",
        f"t;v;T\n{DAY}00;1,0;20\n{DAY}01;1.5;20\n",
        3,
        "v",
        "'1.5' has a point",
        "decimal: '.'",
        'decimal: ","\n' + WIDE,
    ),
    "text in a number column": Bad(
        "a.csv", f"{HEAD}{DAY}00,1,20\n{DAY}01,off,20\n", 3, "v", "'off' is no number", "missing"
    ),
    "unit behind a number": Bad(
        "a.csv", f"{HEAD}{DAY}00,1 m/min,20\n", 2, "v", "something behind", "take that out"
    ),
    "infinite": Bad("a.csv", f"{HEAD}{DAY}00,inf,20\n", 2, "v", "not finite", "missing"),
    "impossible date": Bad(
        "a.csv", f"{HEAD}{DAY}00,1,20\n2026-02-30 10:00,1,20\n", 3, "t", "no time", "correct"
    ),
    "other format of dates": Bad(
        "a.csv", f"{HEAD}01.03.2026 10:00,1,20\n", 2, "t", "is not a time", "'%d.%m.%Y %H:%M'"
    ),
    "ambiguous local time": Bad(
        "a.csv", f"{HEAD}2026-10-25 02:30,1,20\n", 2, "t", "comes twice", "fold: earlier"
    ),
    "local time that does not exist": Bad(
        "a.csv", f"{HEAD}2026-03-29 02:30,1,20\n", 2, "t", "does not exist", "fold: earlier"
    ),
    "no zone": Bad(
        "a.csv",
        f"{HEAD}{DAY}00,1,20\n",
        2,
        "t",
        "do not say their zone",
        "zone: UTC",
        WIDE.replace(", zone: Europe/Berlin", ""),
    ),
    "missing time": Bad("a.csv", f"{HEAD}{DAY}00,1,20\n,1,20\n", 3, "t", "missing", "delete"),
    "before 1970": Bad("a.csv", f"{HEAD}1969-01-01 00:00,1,20\n", 2, "t", "before 1970", "correct"),
    "beyond 2262": Bad("a.csv", f"{HEAD}2300-01-01 00:00,1,20\n", 2, "t", "2262", "correct"),
    "milliseconds as seconds": Bad(
        "a.csv", f"{HEAD}1772366400000,1,20\n", 2, "t", "beyond 2262", "format: ms", SECONDS
    ),
    "seconds as milliseconds": Bad(
        "a.csv",
        f"{HEAD}1772366400,1,20\n",
        2,
        "t",
        "lies at 1970",
        "format: s",
        WIDE.replace("zone: Europe/Berlin", "format: ms"),
    ),
    "duplicate header": Bad("a.csv", f"t,v,v\n{DAY}00,1,20\n", 1, "v", "same name", "another name"),
    "missing time column": Bad("a.csv", "v,T\n1,20\n", 1, "t", "no column 't'", "choose from"),
    "empty": Bad("a.csv", "", 1, None, "empty", "export it again"),
    "header only": Bad("a.csv", HEAD, 1, None, "no rows", "export it again"),
    "wrong encoding": Bad(
        "a.csv",
        f"{HEAD}{DAY}00,1,20°\n".encode("cp1252"),
        2,
        "character 25",
        "0xb0 is not utf-8",
        "encoding: cp1252",
    ),
    "wrong delimiter": Bad(
        "a.csv",
        f"t;v;T\n{DAY}00;1;20\n",
        1,
        "t",
        "no column 't'",
        "delimiter: ';'",
        'delimiter: ","\n' + WIDE,
    ),
    "merged header": Bad(
        "a.xlsx", workbook(["t", "v", ""], ROW, merge="B1:C1"), 1, "v", "B1:C1", "take them apart"
    ),
    "empty header": Bad(
        "a.xlsx", workbook(["t", "v", "", "T"], [*ROW, 1]), 1, "number 3", "no name", "give every"
    ),
    "text cell in a workbook": Bad(
        "a.xlsx", workbook(["t", "v", "T"], [DAY + "00", 1, 2], [DAY + "01", "off", 2]),
        3, "v", "'off' is no number", "correct the cell",
    ),
    "number as a time in a workbook": Bad(
        "a.xlsx", workbook(["t", "v", "T"], [46082.5, 1, 2]), 2, "t", "is not a time", "format"
    ),
    "no workbook": Bad("a.xlsx", "t,v,T\n", None, None, "no workbook", "save it as .xlsx"),
    "no such sheet": Bad(
        "a.xlsx", workbook(["t"]), None, None, "no sheet 'May'", "Sheet", "sheet: May\n" + WIDE
    ),
    "broken Parquet": Bad("a.parquet", TYPES[:-20], None, None, "no whole Parquet", "copy"),
    "Parquet of a wrong type": Bad("a.parquet", TYPES, 1, "v", "type list", "export it as numbers"),
    "text in Parquet": Bad("a.parquet", TEXTS, 2, "v", "'on' is no number", "correct the cell"),
    "long with an unknown name": Bad(
        "a.csv",
        f"t,n,v,u\n{DAY}00,speed,1,m/min\n{DAY}01,sped,1,m/min\n",
        3,
        "n",
        "'sped' is not in the mapping",
        "name it under names",
        LONG,
    ),
    "long with a unit of another dimension": Bad(
        "a.csv",
        f"t,n,v,u\n{DAY}00,speed,1,m/min\n{DAY}01,speed,1,mm\n",
        3,
        "u",
        "'mm' is of another dimension",
        "correct the unit",
        LONG,
    ),
    "quality that nobody explained": Bad(
        "a.csv",
        f"t,v,q,T\n{DAY}00,1,good,1\n{DAY}01,1,192,1\n",
        3,
        "q",
        "the quality '192'",
        "qualities: {'192': good}",
        WIDE.replace("unit: m/min", "quality: q"),
    ),
    "line protocol with a blank too many": Bad(
        "a.lp", "oven speed=1 1772366400000000000\noven  speed=1 1\n", 2, "oven  speed=1 1",
        "has no value", "write field=1.5", SERIES,
    ),
    "line protocol without a timestamp": Bad(
        "a.lp", "oven speed=1\n", 1, "oven speed=1", "no timestamp", "with timestamps", SERIES
    ),
    "line protocol with an open text": Bad(
        "a.lp", 'oven speed="1 1\n', 1, 'oven speed="1 1', "never closes", "close it", SERIES
    ),
    "a text in a field of numbers": Bad(
        "a.lp",
        'oven speed=1 1772366400000000000\noven speed="on" 1772366401000000000\n',
        2,
        "oven speed",
        "'on' is a text",
        "map another field",
        SERIES,
    ),
    "line protocol of another precision": Bad(
        "a.lp", "oven speed=1 1772366400\n", 1, "oven speed", "lies at 1970", "format: s", SERIES
    ),
    "two series for one tag": Bad(
        "a.lp", "oven,h=a speed=1 1772366400000000000\noven,h=b speed=1 1772366400000000000\n",
        2, "oven,h=b speed", "matches this series", "in which they differ", SERIES,
    ),
    "annotated CSV without datatype": Bad(
        "a.csv",
        "#group,false,false,true,true\n,_time,_value,_field,_measurement\n",
        2,
        "#datatype",
        "no row of #datatype",
        "with the annotations",
        SERIES,
    ),
    "annotated CSV of texts": Bad(
        "a.csv", ANNOTATED.format("string"), 5, "oven speed", "type string", "map another", SERIES
    ),
    "annotated CSV cut short": Bad(
        "a.csv", ANNOTATED.format("double") + ",,2026",
        6, "_measurement", "3 cells", "export it again", SERIES,
    ),
    "annotated CSV of a failed query": Bad(
        "a.csv", "#datatype,string,long\n,error,reference\n,no such bucket,897\n",
        2, "error", "an error that InfluxDB answered", "put the query right", SERIES,
    ),
}  # fmt: skip


@dataclass
class BadMapping:
    """A mapping that must be refused."""

    text: str
    line: int
    what: str
    remedy: str


MAPPINGS = {
    "unknown tag": BadMapping(
        WIDE.replace("oven.heat", "oven.haet"), 2, "no tag 'oven.haet'", "did you mean 'oven.heat'?"
    ),
    "unit of another dimension": BadMapping(
        WIDE.replace("unit: m/min", "unit: mm"), 2, "'mm' is of another dimension", "name another"
    ),
    "unknown unit": BadMapping(
        WIDE.replace("unit: m/min", "unit: knots/x"), 2, "unknown unit 'knots/x'", "write it as"
    ),
    "unknown time zone": BadMapping(
        WIDE.replace("Europe/Berlin", "Berlin"), 1, "no time zone 'Berlin'", "'Europe/Berlin'"
    ),
    "unknown key": BadMapping(
        WIDE.replace("zone:", "zome:"), 1, "'zome' is not known", "did you mean 'zone'?"
    ),
    "unknown format": BadMapping(
        WIDE.replace("zone: Europe/Berlin", "format: german"), 1, "'german' is no format", "iso"
    ),
    "two layouts": BadMapping(WIDE + SERIES, 1, "columns and series", "give columns for a wide"),
    "no time": BadMapping(
        "columns: {v: oven.speed}", 1, "the rows have no time", "start and every"
    ),
    "one tag twice": BadMapping(
        WIDE.replace("oven.heat", "oven.speed"), 2, "also that of column 'v'", "ignore the other"
    ),
    "no series": BadMapping("series: {oven: oven.speed}", 1, "'oven' names no series", "tag=value"),
    "alike": BadMapping("thousands: .\n" + WIDE, 1, "separated alike", "change one"),
    "no line": BadMapping("header: top\n" + WIDE, 1, "'top' is no line", "or none"),
    "no sources": BadMapping("sources: []", 1, "sources is empty", "write an entry"),
    "a number for a yes": BadMapping("transposed: 7\n" + WIDE, 1, "transposed is 7", "true or"),
}


@dataclass
class Said:
    """What the command line said."""

    code: int
    text: str


@pytest.fixture
def command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Said]:
    """Runs `twin import` in a folder with a line.yaml."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "1000")
    Path("line.yaml").write_text(LINE, encoding="utf-8")

    def run(mapping: str, *arguments: str) -> Said:
        Path("mapping.yaml").write_text(mapping.lstrip("\n"), encoding="utf-8")
        options = ["--line", "line.yaml", "--mapping", "mapping.yaml"]
        monkeypatch.setattr(sys, "argv", ["twin", "import", *arguments, *options])
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr()
        return Said(int(ended.value.code or 0), said.out + said.err)

    return run


@pytest.mark.parametrize("name", FILES)
def test_a_malformed_file_is_refused(name: str, command: Callable[..., Said]) -> None:
    bad = FILES[name]
    content = bad.content.encode() if isinstance(bad.content, str) else bad.content
    Path(bad.name).write_bytes(content)
    said = command(bad.mapping, bad.name, "--output", "recording")
    assert said.code == 2
    place = bad.name
    if bad.row is not None:
        place += f", row {bad.row}"
    if bad.column is not None:
        place += f", column {bad.column!r}"
    first, remedy = said.text.splitlines()[0].split("; ", 1)
    assert first.startswith(f"{place}: ")
    assert bad.what in first
    assert bad.remedy in remedy
    assert not Path("recording").exists()


@pytest.mark.parametrize("name", MAPPINGS)
def test_a_wrong_mapping_is_refused(name: str, command: Callable[..., Said]) -> None:
    bad = MAPPINGS[name]
    Path("a.csv").write_text(f"{HEAD}{DAY}00,1,20\n", encoding="utf-8")
    said = command(bad.text, "a.csv", "--output", "recording")
    assert said.code == 2
    assert said.text.startswith(f"mapping.yaml:{bad.line}: ")
    assert bad.what in said.text
    assert bad.remedy in said.text
    assert not Path("recording").exists()


def test_the_first_mistake_of_every_column_is_told(command: Callable[..., Said]) -> None:
    Path("a.csv").write_text(f"{HEAD}{DAY}00,a,20\n{DAY}01,b,c\n", encoding="utf-8")
    said = command(WIDE, "a.csv", "--output", "recording")
    assert "row 2, column 'v': 'a' is no number" in said.text
    assert "row 3, column 'T': 'c' is no number" in said.text
    assert len(said.text.splitlines()) == 2


def test_an_output_that_holds_something_stays_as_it_was(command: Callable[..., Said]) -> None:
    Path("a.csv").write_text(f"{HEAD}{DAY}00,1,20\n", encoding="utf-8")
    Path("recording").mkdir()
    Path("recording/mine.txt").touch()
    said = command(WIDE, "a.csv", "--output", "recording")
    assert said.code == 2
    assert "name a new folder" in said.text
    assert [path.name for path in Path("recording").iterdir()] == ["mine.txt"]


def test_a_file_that_is_not_there(command: Callable[..., Said]) -> None:
    said = command(WIDE, "nowhere.csv", "--output", "recording")
    assert (said.code, "nowhere.csv" in said.text) == (2, True)


def test_a_file_that_no_source_fits(command: Callable[..., Said]) -> None:
    Path("a.csv").write_text(f"{HEAD}{DAY}00,1,20\n", encoding="utf-8")
    mapping = "sources: [{files: lab*, time: {column: t}, columns: {v: oven.speed}}]"
    said = command(mapping, "a.csv", "--dry-run")
    assert "no source of mapping.yaml has a pattern that fits its name: lab*" in said.text
