"""InfluxDB keeps the historians' contract: 1.6 here, 2 and 3 where one is named."""

from __future__ import annotations

import math
import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from connectors.influxdb import InfluxHistorian
from tests.stores import InfluxDB1
from tests.twin.historian_contract import SECOND, START, TAGS, HistorianContract, Open, batch, rows
from twin.configuration.historians import InfluxHistorianConfiguration
from twin.ports import Event, HistorianError, Refused
from twin.samples import OfflineMeasurement, SampleBatch
from twin.tags import Tag, TagTable

ALL = (START - 1000 * SECOND, START + 10_000 * SECOND)
BEFORE_1678 = -(2**63) + 1
"""InfluxDB keeps two smaller numbers for itself."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[InfluxDB1]:
    with InfluxDB1(tmp_path_factory.mktemp("influxdb")) as server:
        yield server


def at(server: InfluxDB1, **other: object) -> InfluxHistorianConfiguration:
    """The configuration of a server, in some things another."""
    return InfluxHistorianConfiguration.model_validate(
        {
            "kind": "influxdb",
            "url": server.url,
            "database": "plant",
            "version": 1,
            "token": {"file": server.token_file},
            **other,
        }
    )


@pytest.fixture
def address(server: InfluxDB1) -> InfluxHistorianConfiguration:
    return at(server)


@pytest.fixture
def historian(address: InfluxHistorianConfiguration) -> Iterator[InfluxHistorian]:
    historian = InfluxHistorian(address, f"line {uuid.uuid4()}", TAGS)
    yield historian
    historian.close()


def reopened(address: InfluxHistorianConfiguration) -> Iterator[Open]:
    """Opens a historian of the same line, again and again."""
    current: list[InfluxHistorian] = []
    line = f"a 'line', \"it\"=1 {uuid.uuid4()}"

    def open_again(tags: TagTable) -> InfluxHistorian:
        if current:
            current.pop().close()
        current.append(InfluxHistorian(address, line, tags))
        return current[0]

    yield open_again
    for historian in current:
        historian.close()


class TestInfluxDB1(HistorianContract):
    @pytest.fixture
    def opened(self, address: InfluxHistorianConfiguration) -> Iterator[Open]:
        yield from reopened(address)


def named() -> InfluxHistorianConfiguration:
    """INFLUXDB_URL, with _DATABASE (the bucket), _ORG, _TOKEN and _VERSION, which is 2 or 3."""
    version = int(os.environ.get("INFLUXDB_VERSION", "2"))
    return InfluxHistorianConfiguration.model_validate(
        {
            "kind": "influxdb",
            "url": os.environ["INFLUXDB_URL"],
            "database": os.environ.get("INFLUXDB_DATABASE", "linetwin"),
            "version": version,
            "organisation": os.environ.get("INFLUXDB_ORG", "linetwin") if version == 2 else None,
            "token": {"env": "INFLUXDB_TOKEN"} if "INFLUXDB_TOKEN" in os.environ else None,
        }
    )


@pytest.mark.skipif("INFLUXDB_URL" not in os.environ, reason="INFLUXDB_URL names no InfluxDB 2, 3")
def test_the_influxdb_that_is_named_can_be_reached() -> None:
    historian = InfluxHistorian(named(), "line", TAGS)
    assert "takes samples" in historian.reach()
    historian.close()


if "INFLUXDB_URL" in os.environ:

    class TestInfluxDBThatIsNamed(HistorianContract):
        deletes = os.environ.get("INFLUXDB_VERSION") != "3"

        @pytest.fixture
        def opened(self) -> Iterator[Open]:
            yield from reopened(named())


def test_what_is_refused_is_named_and_the_rest_is_taken(historian: InfluxHistorian) -> None:
    good = batch(*((0, second, float(second)) for second in range(300)))
    poison = SampleBatch.of([1, 0], [BEFORE_1678, BEFORE_1678], [7.0, 8.0])
    laboratory = (
        OfflineMeasurement(2, START, 0.4, roll=1),
        OfflineMeasurement(2, START, math.nan, roll=2),
    )
    mixed = SampleBatch.concatenate([good, poison])
    mixed = SampleBatch(mixed.tag, mixed.time, mixed.value, mixed.quality, laboratory)
    told = [Event(START, "gap", "coater\nand more", "x"), Event(START, "gap", "coater", "y")]
    with pytest.raises(Refused, match=r"2 samples of a, b and 1 laboratory.* 1 events") as caught:
        historian.append(mixed, told)
    assert "time outside range" in str(caught.value)
    assert caught.value.batch is not None
    assert caught.value.batch.value.tolist() == [8.0, 7.0]
    assert caught.value.batch.offline == laboratory[1:]
    assert caught.value.events == tuple(told[:1])
    read = historian.read([0, 1, 2], *ALL)
    assert read.value.tolist() == good.value.tolist()
    assert read.offline == laboratory[:1]
    assert historian.events(*ALL) == told[1:]


def test_a_batch_that_is_refused_as_a_whole_takes_few_requests(
    historian: InfluxHistorian, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[int] = []
    send = historian._send
    monkeypatch.setattr(historian, "_send", lambda lines: (sent.append(1), send(lines)))
    times = [BEFORE_1678] * 1_500
    tags = TagTable([Tag(f"t{number}", "m", "MP", "actual") for number in range(1_500)])
    historian._tags = tags
    historian._keys = [f"linetwin,tag=t{number}" for number in range(1_500)]
    with pytest.raises(Refused) as caught:
        historian.append(SampleBatch.of(range(1_500), times, [1.0] * 1_500))
    assert caught.value.batch is not None
    assert len(caught.value.batch) == 1_500
    assert len(sent) <= 2 * 200 + 1


def test_a_wrong_password_blames_no_sample(server: InfluxDB1, tmp_path: Path) -> None:
    password = tmp_path / "password"
    password.write_text("admin:wrong")
    historian = InfluxHistorian(at(server, token={"file": password}), "line", TAGS)
    for work in (
        lambda: historian.append(batch((0, 1, 1.0))),
        lambda: historian.read([0], *ALL),
        historian.reach,
    ):
        with pytest.raises(HistorianError, match="authorization failed") as caught:
            work()
        assert "wrong" not in str(caught.value)
    historian.close()


def test_a_database_that_is_not_there_blames_no_sample(server: InfluxDB1) -> None:
    historian = InfluxHistorian(at(server, database="nowhere"), "line", TAGS)
    with pytest.raises(HistorianError, match="database not found"):
        historian.append(batch((0, 1, 1.0)))
    with pytest.raises(HistorianError, match="database not found"):
        historian.reach()
    historian.close()


def test_many_lines_share_a_database(address: InfluxHistorianConfiguration) -> None:
    names = [str(uuid.uuid4()) for _ in range(2)]
    first, second = (InfluxHistorian(address, name, TAGS) for name in names)
    first.append(batch((0, 1, 1.0)), [Event(START, "gap", "x", "first")])
    second.append(batch((0, 1, 2.0)))
    assert second.retain(START + 9 * SECOND) == 1
    assert rows(first.latest([0])) == [(0, 1, 1.0, 0)]
    assert len(first.events(*ALL)) == 1
    assert len(second.latest([0])) == 0
    first.close()
    second.close()


def test_a_name_that_line_protocol_mangles_is_refused_at_once(
    address: InfluxHistorianConfiguration,
) -> None:
    tags = TagTable([Tag("a\\", "m", "MP", "actual")])
    with pytest.raises(ValueError, match="backslash"):
        InfluxHistorian(address, "line", tags)


def test_a_kill_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    with InfluxDB1(tmp_path / "influxdb") as server:
        historian = InfluxHistorian(at(server), "line", TAGS)
        for second in range(20):
            historian.append(batch((0, second, float(second))))
        server.kill()
        with pytest.raises(HistorianError):
            historian.append(batch((0, 20, 20.0)))
        with pytest.raises(HistorianError):
            historian.latest([0])
        server.start()
        historian.append(batch((0, 20, 20.0)))
        assert historian.read([0], *ALL).value.tolist() == list(range(21))
        historian.close()


def test_it_says_that_it_can_be_reached(historian: InfluxHistorian) -> None:
    assert historian.reach() == "InfluxDB 1 takes samples into plant"
