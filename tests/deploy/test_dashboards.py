"""The dashboards' queries are answered by an InfluxDB that the historian has written."""

from __future__ import annotations

import json
import math
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from connectors.influxdb import InfluxHistorian
from tests.connectors.test_influxdb import at
from tests.stores import InfluxDB1
from tests.twin.historian_contract import SECOND, START
from twin.ports import Event
from twin.samples import OfflineMeasurement, SampleBatch
from twin.tags import Tag, TagTable

DASHBOARDS = Path(__file__).parents[2] / "deploy" / "grafana" / "dashboards"
LINE = f"pilot line {uuid.uuid4()}"
PARAMETER = "coating.mass_loading"
TAG = "coater.line_speed"
UNCERTAIN = 0x40900000


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[InfluxDB1]:
    with InfluxDB1(tmp_path_factory.mktemp("influxdb")) as server:
        write(server)
        yield server


def write(server: InfluxDB1) -> None:
    """What the twin writes of a line in ten minutes."""
    kinds = ("predicted", "measured", "residual")
    names = (TAG, *(f"{PARAMETER}.{kind}" for kind in kinds), "calender.gap")
    tags = TagTable([Tag(name, "dimensionless", "SP", "actual") for name in names])
    times = [START + second * SECOND for second in range(600)]
    parts = [
        SampleBatch.of([tag] * 600, times, [tag + second / 600 for second in range(600)])
        for tag in range(4)
    ]
    doubtful = SampleBatch.of(
        [0] * 60, [time + 1 for time in times[:60]], [9.0] * 60, [UNCERTAIN] * 60
    )
    missing = SampleBatch.of([4], [START], [math.nan], [0x80000000])
    batch = SampleBatch.concatenate([*parts, doubtful, missing])
    laboratory = (OfflineMeasurement(1, START + SECOND, 0.18, roll=1, metre=2.5),)
    historian = InfluxHistorian(at(server), LINE, tags)
    historian.append(
        SampleBatch(batch.tag, batch.time, batch.value, batch.quality, laboratory),
        [Event(START, "roll wound", "coater", "1 at 12.00 m")],
    )
    historian.close()


def queries() -> list[tuple[str, str]]:
    """Every query of every dashboard, with where it stands."""

    def inside(node: Any) -> Iterator[str]:
        if isinstance(node, dict):
            if isinstance(node.get("query"), str):
                yield node["query"]
            for each in node.values():
                yield from inside(each)
        elif isinstance(node, list):
            for each in node:
                yield from inside(each)

    return [
        (file.stem, query)
        for file in sorted(DASHBOARDS.iterdir())
        for query in inside(json.loads(file.read_text()))
    ]


def filled(query: str) -> str:
    """A query as Grafana sends it."""
    end = START + 600 * SECOND
    for name, value in {
        "$timeFilter": f"time >= {START}ns and time <= {end}ns",
        "$__interval": "10s",
        "${parameter:regex}": PARAMETER.replace(".", r"\."),
        "$line": LINE,
        "$tag": TAG,
    }.items():
        query = query.replace(name, value)
    assert "$" not in query.replace("$/", ""), query
    return query


@pytest.mark.parametrize(("dashboard", "query"), queries())
def test_a_query_is_answered(dashboard: str, query: str, server: InfluxDB1) -> None:
    (result,) = server.ask(filled(query))
    assert "error" not in result, result
    assert result.get("series"), f"{dashboard}: nothing answers {query}"


def answer(server: InfluxDB1, dashboard: str, title: str, ref: str = "A") -> list[list[Any]]:
    panels = json.loads((DASHBOARDS / f"{dashboard}.json").read_text())["panels"]
    (panel,) = (panel for panel in panels if panel["title"] == title)
    (target,) = (target for target in panel["targets"] if target["refId"] == ref)
    (result,) = server.ask(filled(target["query"]))
    rows: list[list[Any]] = result["series"][0]["values"]
    return rows


def test_what_is_drawn_is_what_is_there(server: InfluxDB1) -> None:
    drawn = answer(server, "line", "$parameter: predicted and measured, of the same material", "B")
    assert len(drawn) == 60
    assert drawn[0][1] == pytest.approx(2 + 4.5 / 600)
    good = answer(server, "signals", "$tag")
    assert max(value for _, value in good) < 1.0
    doubtful = answer(server, "signals", "$tag: uncertain and bad values")
    assert {value for _, value in doubtful} == {9.0}
    bad = answer(server, "signals", "$tag: samples that are not good")
    assert sum(count for _, count in bad) == 60
    worst = answer(server, "signals", "Signals with most samples that are not good")
    assert sorted(row[1:] for row in worst) == [[1, "calender.gap"], [60, TAG]]
    assert answer(server, "signals", "Events")[0][1:] == ["roll wound", "coater", "1 at 12.00 m"]
    assert answer(server, "signals", "Laboratory")[0][1:4] == [0.18, f"{PARAMETER}.predicted", "1"]
