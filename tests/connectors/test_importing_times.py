"""Times of foreign data: formats, zones, and the hours in which clocks are set."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.importing.cells import Cells
from connectors.importing.mapping import TimeMapping
from connectors.importing.problems import BadCellError
from connectors.importing.times import read_times

NANOSECONDS = 10**9


def read(*texts: str, **rule: object) -> list[str]:
    cells = Cells(pa.array(texts, pa.string()))
    times = read_times([cells], TimeMapping.model_validate(rule))
    return [
        datetime.fromtimestamp(int(each) / 1e9, UTC).isoformat().removesuffix("+00:00")
        for each in times
    ]


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("2026-03-01T12:00:00Z", "iso"),
        ("2026-03-01 13:00:00+01:00", "iso"),
        ("2026-03-01T13:00:00,000+0100", "iso"),
        ("2026-03-01 12:00", "iso"),
        ("01.03.2026 12:00:00", "%d.%m.%Y %H:%M:%S"),
        ("1.3.2026 12:00", "%d.%m.%Y %H:%M"),
        ("12:00:00.000 2026/03/01", "%H:%M:%S.%f %Y/%m/%d"),
        ("01 Mar 26 12:00 PM", "%d %b %y %I:%M %p"),
        ("2026-03-01 13:00:00 +0100", "%Y-%m-%d %H:%M:%S %z"),
        ("1772366400", "s"),
        ("1772366400.0", "s"),
        ("1772366400000", "ms"),
        ("1772366400000000000", "ns"),
        ("46082.5", "excel"),
    ],
)
def test_a_time_in_many_ways(text: str, written: str) -> None:
    assert read(text, format=written, zone="UTC") == ["2026-03-01T12:00:00"]


def test_fractions_are_kept_to_the_nanosecond() -> None:
    rule = TimeMapping.model_validate({"column": "t"})
    cells = Cells(pa.array(["2026-03-01T12:00:00.123456789Z"], pa.string()))
    assert read_times([cells], rule)[0] % NANOSECONDS == 123_456_789


def test_an_hour_that_comes_twice_is_refused_or_resolved() -> None:
    berlin = {"zone": "Europe/Berlin"}
    with pytest.raises(BadCellError, match="comes twice in Europe/Berlin") as refused:
        read("2026-10-25 01:30:00", "2026-10-25 02:30:00", **berlin)
    assert refused.value.index == 1
    assert "fold: earlier" in refused.value.remedy
    assert read("2026-10-25 02:30:00", fold="earlier", **berlin) == ["2026-10-25T00:30:00"]
    assert read("2026-10-25 02:30:00", fold="later", **berlin) == ["2026-10-25T01:30:00"]


def test_an_hour_that_does_not_exist_is_refused_or_resolved() -> None:
    berlin = {"zone": "Europe/Berlin"}
    with pytest.raises(BadCellError, match="does not exist in Europe/Berlin"):
        read("2026-03-29 02:30:00", **berlin)
    assert read("2026-03-29 02:30:00", fold="earlier", **berlin) == ["2026-03-29T00:30:00"]
    assert read("2026-03-29 02:30:00", fold="later", **berlin) == ["2026-03-29T01:30:00"]


@given(
    st.datetimes(datetime(1971, 1, 1), datetime(2099, 1, 1)),
    st.sampled_from(["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata"]),
)
def test_local_times_are_those_of_the_zone(moment: datetime, zone: str) -> None:
    expected = moment.replace(tzinfo=UTC)
    local = expected.astimezone(ZoneInfo(zone))
    rule = TimeMapping.model_validate(
        {"column": "t", "zone": zone, "fold": "later" if local.fold else "earlier"}
    )
    text = local.replace(tzinfo=None).isoformat()
    found = int(read_times([Cells(pa.array([text], pa.string()))], rule)[0])
    assert datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=found // 1000) == expected


@pytest.mark.parametrize(
    ("text", "rule", "said", "remedy"),
    [
        ("2026-02-30", {"zone": "UTC"}, "there is no time '2026-02-30'", "correct the date"),
        ("2026-03-01 12:00", {}, "do not say their zone", "zone: Europe/Berlin"),
        ("1969-12-31 23:00", {"zone": "UTC"}, "before 1970", "correct"),
        ("1970-01-01 00:30", {"zone": "Europe/Berlin"}, "before 1970", "correct"),
        ("2300-01-01T00:00:00Z", {}, "1970 to 2262", "correct"),
        ("1772366400", {"format": "ms"}, "lies at 1970", "format: s"),
        ("1772366400000", {"format": "s"}, "beyond 2262", "format: ms"),
        ("01.03.2026 12:00:00", {"zone": "UTC"}, "is not a time", "'%d.%m.%Y %H:%M:%S'"),
        ("1772366400000", {}, "is not a time", "format: ms"),
        ("", {}, "missing", "delete the row"),
        ("", {"format": "s"}, "missing", "delete the row"),
        ("noon", {"format": "s"}, "no number of s", "format: iso"),
        ("noon", {"format": "excel", "zone": "UTC"}, "no number of days", "format of a date"),
        ("31.02.2026", {"format": "%d.%m.%Y", "zone": "UTC"}, "there is no time", "correct"),
    ],
)
def test_what_is_no_time(text: str, rule: dict[str, object], said: str, remedy: str) -> None:
    with pytest.raises(BadCellError) as refused:
        read(text, **rule)
    assert said in refused.value.what
    assert remedy in refused.value.remedy


def test_the_first_bad_time_is_found_among_many() -> None:
    texts = [f"2026-03-01T12:00:{second:02}Z" for second in range(60)]
    texts[37] = texts[41] = "later"
    with pytest.raises(BadCellError) as refused:
        read(*texts)
    assert refused.value.index == 37
