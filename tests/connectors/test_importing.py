"""Foreign data of every layout, imported, written as a recording and opened again."""

from __future__ import annotations

import io
import math
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import openpyxl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.connectors.importing_files import Case
from twin.samples import BAD_NO_DATA, severity

MARCH = int(datetime(2026, 3, 1, 9, tzinfo=UTC).timestamp())
"""2026-03-01 10:00 in Berlin, s since the epoch."""
SPEED = "coater.line_speed"
GAP = "coater.coating_gap"
HEAT = "dryer.zone_1_temperature"

WIDE = """
    delimiter: ";"
    decimal: ","
    time: {column: Zeit, format: "%d.%m.%Y %H:%M:%S", zone: Europe/Berlin}
    missing: ["", Bad, -9999]
    columns:
      Geschwindigkeit: {tag: coater.line_speed, unit: m/min}
      Spalt: {tag: coater.coating_gap, unit: mm, quality: Status}
    """


@pytest.fixture
def case(tmp_path: Path) -> Case:
    return Case(tmp_path)


def workbook(rows: list[list[object]], sheet: str = "Export") -> bytes:
    book = openpyxl.Workbook()
    page = book.active
    assert page is not None
    page.title = sheet
    for row in rows:
        page.append(row)
    stream = io.BytesIO()
    book.save(stream)
    return stream.getvalue()


def test_a_wide_csv_with_decimal_commas_and_local_time(case: Case) -> None:
    file = case.write(
        "line.csv",
        """
        Zeit;Geschwindigkeit;Spalt;Status
        01.03.2026 10:00:00;1,5;0,12;good
        01.03.2026 10:00:01;Bad;-9999,0;bad
        01.03.2026 10:00:02;1.5;0,13;uncertain
        """.replace("1.5;", "1,8;"),
    )
    stream = case.record(WIDE, file)
    assert stream.of(SPEED)[0] == (MARCH, pytest.approx(1.5 / 60))
    assert math.isnan(stream.of(SPEED)[1][1])
    assert stream.qualities(SPEED) == [0, BAD_NO_DATA, 0]
    assert stream.of(GAP)[2] == (MARCH + 2, pytest.approx(130e-6))
    assert severity(np.array(stream.qualities(GAP), np.uint32)).tolist() == [0, 2, 1]
    assert stream.recording.manifest.complete
    assert stream.recording.manifest.origin == "imported from line.csv"


def test_rows_are_sorted_and_of_two_values_at_one_time_the_later_is_kept(case: Case) -> None:
    file = case.write(
        "line.csv",
        """
        t,v
        2026-03-01T09:00:02Z,3
        2026-03-01T09:00:00Z,1
        2026-03-01T09:00:01Z,2
        2026-03-01T09:00:00Z,7
        """,
    )
    mapping = "time: {column: t, delay: 5 s}\ncolumns: {v: coater.line_speed}"
    stream = case.record(mapping, file)
    assert [time - MARCH for time, _ in stream.of(SPEED)] == [0, 1, 2]
    assert [value * 60 for _, value in stream.of(SPEED)] == pytest.approx([7, 2, 3])
    assert (stream.arrived - stream.batch.time == 5 * 10**9).all()
    summary = case.read(mapping, file).summary
    assert summary.files[0].out_of_order == 3
    assert summary.signals[0].duplicates == 1


def test_gaps_are_told_and_stand_in_the_manifest(case: Case) -> None:
    rows = [f"{MARCH + second},1" for second in [*range(10), *range(600, 610)]]
    file = case.write("line.csv", "t,v\n" + "\n".join(rows) + "\n")
    stream = case.record("time: {column: t, format: s}\ncolumns: {v: coater.line_speed}", file)
    (gap,) = stream.recording.manifest.gaps
    assert (gap.since, gap.until) == ((MARCH + 9) * 10**9, (MARCH + 600) * 10**9)
    assert "no rows" in gap.what


def test_the_dry_run_says_values_in_the_unit_of_the_tag(case: Case) -> None:
    file = case.write("a.csv", f"t,mm,F\n{MARCH},0.1,\n{MARCH + 1},2,212\n")
    summary = case.read(
        """
        time: {column: t, format: s}
        columns:
          mm: {tag: coater.coating_gap, unit: mm}
          F: {tag: dryer.zone_1_temperature, unit: degF}
        """,
        file,
    ).summary
    gap, heat = summary.signals
    assert (gap.low, gap.mean, gap.high) == pytest.approx((100, 1050, 2000))
    assert (gap.si, gap.shown_in, gap.outside) == ("m", "um", 0.5)
    assert (heat.values, heat.missing, heat.low) == (1, 1, pytest.approx(100))
    assert gap.interval == 1.0
    assert not (case.folder / "recording").exists()


def test_columns_without_names_rows_without_times_and_transposed(case: Case) -> None:
    """Files such as those of the Tennessee Eastman benchmark."""
    mapping = """
        delimiter: whitespace
        header: none
        transposed: {turned}
        time: {{start: 2026-03-01T09:00:00Z, every: 3 min}}
        columns: {{"1": coater.line_speed, "2": dryer.zone_1_temperature}}
        constants:
          coater.roll_number: {{value: 1}}
          coater.web_length: {{value: 5, unit: m, at: once}}
        """
    upright = case.write("d01.dat", "  1.0e+00  20\n  2.0e+00  30\n\n  3.0e+00  40\n")
    turned = case.write("d00.dat", "  1.0e+00  2.0e+00 3\n  20 30 40\n")
    for file, word in ((upright, "false"), (turned, "true")):
        summary = case.read(mapping.format(turned=word), file).summary
        assert [(each.low, each.high) for each in summary.signals[:2]] == [
            pytest.approx((1, 3)),
            pytest.approx((20, 40)),
        ]
    stream = case.record(mapping.format(turned="false"), upright, upright)
    assert [time - MARCH for time, _ in stream.of(SPEED)] == [180 * n for n in range(6)]
    assert len(stream.of("coater.roll_number")) == 6
    assert stream.of("coater.web_length") == [(MARCH, 5.0), (MARCH + 540, 5.0)]


def test_a_long_csv_with_units_and_qualities_of_its_own(case: Case) -> None:
    file = case.write(
        "long.csv",
        """
        when,what,how much,in,how good
        2026-03-01 10:00:00,V,90,m/h,192
        2026-03-01 10:00:00,T,100,°C,0
        2026-03-01 10:00:01,V,1.5,m/min,192
        2026-03-01 10:00:01,other,abc,,192
        """,
    )
    stream = case.record(
        """
        time: {column: when, zone: Europe/Berlin}
        long: {name: what, value: how much, unit: in, quality: how good}
        names: {V: coater.line_speed, T: dryer.zone_1_temperature}
        qualities: {"192": good, "0": bad}
        ignore: [other]
        """,
        file,
    )
    assert stream.of(SPEED) == [(MARCH, pytest.approx(0.025)), (MARCH + 1, pytest.approx(0.025))]
    assert stream.of(HEAT) == [(MARCH, pytest.approx(373.15))]
    assert stream.qualities(HEAT) == [0x80000000]


def test_laboratory_values_beside_the_line(case: Case) -> None:
    data = case.write("line.csv", f"t,v\n{MARCH},1\n{MARCH + 100},1\n")
    laboratory = case.write(
        "lab.csv",
        f"""
        cut,test,roll,metre,result,released
        {MARCH + 5},dry,3,12.5,35,{MARCH + 50}
        {MARCH + 6},dry,3,14,,{MARCH + 60}
        """,
    )
    stream = case.record(
        """
        sources:
          - files: lab*.csv
            time: {column: cut, format: s}
            long: {name: test, value: result}
            names: {dry: {tag: laboratory.porosity, unit: percent}}
            laboratory: {roll: roll, metre: metre, known: released}
          - time: {column: t, format: s}
            columns: {v: coater.line_speed}
        """,
        data,
        laboratory,
    )
    (value,) = stream.laboratory
    assert (value.roll, value.metre, value.value) == (3, 12.5, pytest.approx(0.35))
    assert (value.sampled, value.known) == ((MARCH + 5) * 10**9, (MARCH + 50) * 10**9)
    arrivals = list(stream.recording.stream())
    order = [len(each.batch) + 100 * len(each.batch.offline) for each in arrivals]
    assert [each for each in order if each] == [1, 100, 1]


@pytest.mark.parametrize("layout", ["texts", "dates", "date and clock", "numbers"])
def test_a_workbook(case: Case, layout: str) -> None:
    moment = datetime(2026, 3, 1, 10, 0, 0, 250_000)
    first: list[object] = {
        "texts": ["01.03.2026 10:00:00,25"],
        "dates": [moment],
        "date and clock": [moment.date(), moment.time()],
        "numbers": [46082 + (10 * 3600 + 0.25) / 86400],
    }[layout]
    names = ["day", "clock"] if len(first) == 2 else ["when"]
    written = {"texts": '"%d.%m.%Y %H:%M:%S,%f"', "numbers": "excel"}.get(layout, "iso")
    rows: list[list[object]] = [["made by a machine"], [*names, "v", "n"], [*first, 1.5, "NA"]]
    file = case.write("data.xlsx", workbook(rows))
    stream = case.record(
        f"""
        header: 2
        time: {{column: {names}, format: {written}, zone: Europe/Berlin}}
        columns: {{v: coater.line_speed, n: coater.coating_gap}}
        """,
        file,
    )
    assert stream.of(SPEED) == [(MARCH, pytest.approx(0.025))]
    assert stream.batch.time[0] == MARCH * 10**9 + 250_000_000
    assert stream.qualities(GAP) == [BAD_NO_DATA]


def test_parquet_with_zoned_times_and_nulls(case: Case) -> None:
    times = pa.array([MARCH * 1000, MARCH * 1000 + 500], pa.timestamp("ms", "Europe/Berlin"))
    table = pa.table({"t": times, "v": pa.array([1.5, None]), "n": pa.array([100, 120])})
    file = case.folder / "data.parquet"
    pq.write_table(table, file)
    stream = case.record(
        "time: {column: t}\ncolumns: {v: coater.line_speed, n: coater.coating_gap}", file
    )
    assert stream.of(SPEED)[0] == (MARCH, pytest.approx(0.025))
    assert stream.qualities(SPEED) == [0, BAD_NO_DATA]
    assert [value for _, value in stream.of(GAP)] == pytest.approx([100e-6, 120e-6])


def test_line_protocol(case: Case) -> None:
    file = case.write(
        "export.lp",
        rf"""
        # written by a gateway
        coater,site=A,host=my\ host speed=1.5,gap=100i,run=t,note="a, \"b\" = c" {MARCH * 1000}
        coater,host=my\ host,site=A speed=2 {MARCH * 1000 + 1000}
        other value=1u {MARCH * 1000}
        """,
    )
    stream = case.record(
        r"""
        time: {format: ms}
        series:
          'coater,host=my\ host speed': coater.line_speed
          coater gap: coater.coating_gap
          coater run: coater.run
        ignore: [coater note, other value]
        """,
        file,
    )
    assert [value * 60 for _, value in stream.of(SPEED)] == pytest.approx([1.5, 2])
    assert stream.of(GAP) == [(MARCH, pytest.approx(100e-6))]
    assert stream.of("coater.run") == [(MARCH, 1.0)]


def test_annotated_csv_with_two_tables_and_defaults(case: Case) -> None:
    file = case.write(
        "query.csv",
        """
        #group,false,false,false,false,true,true,true
        #datatype,string,long,dateTime:RFC3339,double,string,string,string
        #default,_result,,,,,,coater
        ,result,table,_time,_value,_field,host,_measurement
        ,,0,2026-03-01T09:00:00Z,1.5,speed,a,
        ,,0,2026-03-01T09:00:01Z,,speed,a,

        #group,false,false,false,false,true,true
        #datatype,string,long,dateTime:RFC3339,long,string,string
        #default,_result,,,,,
        ,result,table,_time,_value,_field,_measurement
        ,,1,2026-03-01T10:00:00.5+01:00,100,gap,coater
        """,
    )
    file.write_bytes(file.read_bytes().replace(b"\n", b"\r\n"))
    stream = case.record(
        'series: {"coater,host=a speed": coater.line_speed, coater gap: coater.coating_gap}', file
    )
    assert stream.of(SPEED)[0] == (MARCH, pytest.approx(0.025))
    assert stream.qualities(SPEED) == [0, BAD_NO_DATA]
    assert stream.of(GAP) == [(MARCH, pytest.approx(100e-6))]


def test_encodings_delimiters_and_thousands_of_other_programs(case: Case) -> None:
    text = "Zeit\tTemperatur °C\n2026-03-01 09:00:00\t1.234,5\n"
    mapping = """
        encoding: {}
        decimal: ","
        thousands: "."
        time: {{column: Zeit, zone: UTC}}
        columns: {{Temperatur °C: dryer.zone_1_temperature}}
        """
    for encoding in ("cp1252", "utf-8-sig", "utf-16"):
        file = case.write("a.txt", text.encode(encoding))
        (signal,) = case.read(mapping.format(encoding), file).summary.signals
        assert signal.mean == pytest.approx(1234.5)


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("last", ["", ";"])
def test_rows_may_end_as_programs_end_them(case: Case, end: str, last: str) -> None:
    rows = ["t;v", f"{MARCH};1", "", f"{MARCH + 1};2"]
    file = case.write("a.csv", end.join(row + last * bool(row) for row in rows) + end)
    mapping = "time: {column: t, format: s}\ncolumns: {v: coater.line_speed}"
    (signal,) = case.read(mapping, file).summary.signals
    assert (signal.values, signal.high) == (2, pytest.approx(2))


@pytest.mark.parametrize("text", ["12.5", "1,23.4", "1.23,4"])
def test_a_separator_of_thousands_out_of_place_is_refused(case: Case, text: str) -> None:
    file = case.write("a.csv", f"t;v\n{MARCH};{text}\n")
    mapping = """
        decimal: ","
        thousands: "."
        time: {column: t, format: s}
        columns: {v: coater.line_speed}
        """
    with pytest.raises(Exception, match=f"row 2, column 'v': '{text}'"):
        case.read(mapping, file)


def test_quoted_cells_keep_the_line_of_an_error(case: Case) -> None:
    file = case.write("a.csv", f't,note,v\n{MARCH},"two\nlines",1\n\n{MARCH},x,abc\n')
    mapping = "time: {column: t, format: s}\ncolumns: {v: coater.line_speed}\nrest: ignore"
    with pytest.raises(Exception, match="row 5, column 'v': 'abc' is no number"):
        case.read(mapping, file)
