"""VictoriaMetrics keeps the historians' contract, to the millisecond."""

from __future__ import annotations

import json
import math
import ssl
import time
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from select import select
from urllib.parse import urlencode

import numpy as np
import pytest

from connectors import outage, victoria_metrics
from connectors.authority import Authority
from connectors.victoria_metrics import VictoriaMetricsHistorian
from tests.servers import free_port
from tests.stores import VictoriaMetrics
from tests.twin.historian_contract import SECOND, START, TAGS, HistorianContract, Open, batch, rows
from twin.configuration.historians import VictoriaHistorianConfiguration
from twin.ports import Event, HistorianError, Refused
from twin.samples import Ints, OfflineMeasurement, SampleBatch
from twin.tags import Tag, TagTable

ALL = (START - 1000 * SECOND, START + 10_000 * SECOND)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[VictoriaMetrics]:
    with VictoriaMetrics(tmp_path_factory.mktemp("victoria")) as server:
        yield server


def at(url: str, **other: object) -> VictoriaHistorianConfiguration:
    """The configuration of a server."""
    return VictoriaHistorianConfiguration.model_validate(
        {"kind": "victoria_metrics", "url": url, **other}
    )


@pytest.fixture
def address(server: VictoriaMetrics) -> VictoriaHistorianConfiguration:
    return at(server.url)


@pytest.fixture
def historian(address: VictoriaHistorianConfiguration) -> Iterator[VictoriaMetricsHistorian]:
    historian = VictoriaMetricsHistorian(address, f"line {uuid.uuid4()}", TAGS)
    yield historian
    historian.close()


class TestVictoriaMetrics(HistorianContract):
    resolution = 1_000_000
    precision = 1e-11
    deletes = False

    @pytest.fixture
    def opened(self, address: VictoriaHistorianConfiguration) -> Iterator[Open]:
        current: list[VictoriaMetricsHistorian] = []
        line = f"a 'line', \"it\"=1 {uuid.uuid4()}"

        def open_again(tags: TagTable) -> VictoriaMetricsHistorian:
            if current:
                current.pop().close()
            current.append(VictoriaMetricsHistorian(address, line, tags))
            return current[0]

        yield open_again
        for historian in current:
            historian.close()


def stored(server: VictoriaMetrics, line: str) -> list[tuple[str, str, list[float]]]:
    """Tag, revision and values of every series of values, as VictoriaMetrics has them."""
    server.get("/internal/force_flush")
    match = urlencode({"match[]": f'linetwin_value{{line="{line}"}}', "start": "1"})
    series = [json.loads(each) for each in server.get(f"/api/v1/export?{match}").splitlines()]
    return sorted(
        (each["metric"]["tag"], each["metric"].get("revision", ""), each["values"])
        for each in series
    )


def test_what_comes_again_is_not_there_twice(server: VictoriaMetrics) -> None:
    address, line = at(server.url), str(uuid.uuid4())
    samples = batch((0, 1, 1.0), (0, 2, 1 / 3), (1, 1, 1e3 / 7), (1, 2, 1e-3 / 7))
    for more in (0, 0, 1):
        historian = VictoriaMetricsHistorian(address, line, TAGS)
        historian.append(samples)
        historian.append(SampleBatch.concatenate([samples, batch((0, 3, float(more)))]))
        historian.close()
    found = stored(server, line)
    assert [(tag, revision, len(values)) for tag, revision, values in found] == [
        ("a", "", 3),
        ("a", "1", 1),
        ("b", "", 2),
    ]


def test_a_failure_that_hides_a_success_does_not_double_anything(
    server: VictoriaMetrics, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = str(uuid.uuid4())
    historian = VictoriaMetricsHistorian(at(server.url), line, TAGS)
    write = historian._server.write

    def write_and_lose_the_answer(lines: bytes) -> None:
        write(lines)
        raise HistorianError(server.url, "timed out")

    monkeypatch.setattr(historian._server, "write", write_and_lose_the_answer)
    with pytest.raises(HistorianError):
        historian.append(batch((0, 1, 1.0), (0, 2, 2.0)))
    assert len(historian.latest([0])) == 0
    monkeypatch.undo()
    historian.append(batch((0, 1, 1.0), (0, 2, 2.0), (0, 3, 3.0)))
    assert stored(server, line) == [("a", "", [1, 2, 3])]
    found = historian.buckets([0], START, START + 10 * SECOND, 1)[0]
    assert (found.mean.tolist(), found.count.tolist()) == ([2.0], [3])
    historian.close()


def test_what_it_would_drop_is_refused_by_name(historian: VictoriaMetricsHistorian) -> None:
    ahead = time.time_ns() + 3 * 86_400 * SECOND
    samples = SampleBatch.of([0, 1, 0], [-5 * SECOND, ahead, START], [1.0, 2.0, 3.0])
    laboratory = (
        OfflineMeasurement(2, START, math.nan, roll=3),
        OfflineMeasurement(2, START, 0.4, roll=1),
        OfflineMeasurement(2, ahead, 0.4, roll=2),
    )
    told = [
        Event(START, "gap", "coater", "x" * 5_000),
        Event(ahead, "gap", "coater", ""),
        Event(START, "gap", "coater\nand mixer", ""),
        Event(START, "gap", "coater", "known"),
    ]
    with pytest.raises(Refused, match=r"not 2 samples \(a, b\), 2 laboratory.* 3 ev") as caught:
        historian.append(
            SampleBatch(samples.tag, samples.time, samples.value, samples.quality, laboratory), told
        )
    assert caught.value.batch is not None
    assert sorted(caught.value.batch.value) == [1.0, 2.0]
    assert caught.value.batch.offline == (laboratory[0], laboratory[2])
    assert caught.value.events == tuple(told[:3])
    read = historian.read([0, 1, 2], *ALL)
    assert (rows(read), read.offline) == ([(0, 0, 3.0, 0)], (laboratory[1],))
    assert historian.events(*ALL) == told[3:]


def looks(historian: VictoriaMetricsHistorian, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many samples the historian gets at each look at what is stored."""
    counts: list[int] = []
    stored = historian._stored

    def counted(tags: Sequence[int], first: int, last: int) -> tuple[SampleBatch, Ints]:
        found = stored(tags, first, last)
        counts.append(len(found[0]))
        return found

    monkeypatch.setattr(historian, "_stored", counted)
    return counts


def test_late_samples_are_looked_up_without_what_lies_between_them(
    historian: VictoriaMetricsHistorian, monkeypatch: pytest.MonkeyPatch
) -> None:
    historian.append(batch(*((tag, at, 0.0) for tag in (0, 1) for at in range(9_000))))
    counts = looks(historian, monkeypatch)
    historian.append(
        batch((0, 5, 0.0), (0, 8_990, 1.0), (1, 5_000, 2.0), (1, 8_995, 0.0), (0, 9_000, 3.0))
    )
    assert sum(counts) <= 100
    monkeypatch.undo()
    found = historian.read([0, 1], *ALL)
    assert len(found) == 2 * 9_000 + 1
    assert rows(found.where(found.value > 0)) == [
        (1, 5_000, 2.0, 0),
        (0, 8_990, 1.0, 0),
        (0, 9_000, 3.0, 0),
    ]


def test_late_samples_all_over_time_are_looked_up_in_so_many_requests(
    historian: VictoriaMetricsHistorian, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(victoria_metrics, "_LOOKS", 10)
    often = [(tag, at, 0.0) for tag in (0, 1, 2) for at in range(-900, 9_000, 100)]
    historian.append(batch(*often))
    counts = looks(historian, monkeypatch)
    again = [(tag, at, float(at % 300 == 0)) for tag, at, _ in often]
    historian.append(batch(*again))
    assert 1 < len(counts) <= 10
    monkeypatch.undo()
    assert sorted(rows(historian.read([0, 1, 2], *ALL))) == [(*each, 0) for each in again]


def test_buckets_reach_up_to_now(historian: VictoriaMetricsHistorian) -> None:
    now = time.time_ns() // SECOND * SECOND
    times = now + (np.arange(-120, 0) * SECOND)
    values = np.arange(120.0)
    historian.append(SampleBatch.of([0] * 120, times, values))
    found = historian.buckets([0], now - 120 * SECOND, now, 12)[0]
    assert found.minimum.tolist() == values[::10].tolist()
    assert found.maximum.tolist() == values[9::10].tolist()
    assert found.count.tolist() == [10] * 12


@pytest.mark.parametrize("outlived", [True, False])
def test_a_restart_makes_one_append_fail_also_where_reads_noticed_it_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, outlived: bool
) -> None:
    monkeypatch.setattr(outage, "SPARED", 0.0)
    with VictoriaMetrics(tmp_path / "victoria") as server:
        historian = VictoriaMetricsHistorian(at(server.url), "line", TAGS)
        historian.append(batch((0, 1, 1.0)))
        if outlived:
            server.outlive()
        historian.read([0], *ALL)
        server.kill()
        with pytest.raises(HistorianError):
            historian.read([0], *ALL)
        server.start()
        historian.read([0], *ALL)
        with pytest.raises(HistorianError, match="started anew"):
            historian.append(batch((0, 2, 2.0)))
        historian.append(batch((0, 1, 1.0), (0, 2, 2.0)))
        assert rows(historian.read([0], *ALL)) == [(0, 1, 1.0, 0), (0, 2, 2.0, 0)]
        historian.append(batch((0, 3, 3.0)))
        historian.close()


def test_a_connection_that_the_server_closed_is_no_restart(tmp_path: Path) -> None:
    with VictoriaMetrics(tmp_path / "victoria", options=["-http.idleConnTimeout=200ms"]) as server:
        server.outlive()
        historian = VictoriaMetricsHistorian(at(server.url), "line", TAGS)
        historian.append(batch((0, 1, 1.0)))
        waiting = historian._server._http.sock
        assert waiting is not None
        assert select([waiting], [], [], 30)[0]
        historian.append(batch((0, 2, 2.0)))
        assert len(historian.read([0], *ALL)) == 2
        historian.close()


def test_a_server_that_keeps_less_than_the_line_wants_is_told_of(tmp_path: Path) -> None:
    with VictoriaMetrics(tmp_path / "victoria", retention="1") as server:
        historian = VictoriaMetricsHistorian(at(server.url), "line", TAGS, 31 * 86_400)
        assert historian.reach() == "VictoriaMetrics keeps samples for 31 days"
        longer = VictoriaMetricsHistorian(at(server.url), "line", TAGS, 90 * 86_400)
        with pytest.raises(HistorianError, match=r"31 days.*-retentionPeriod=90d"):
            longer.reach()
        longer.close()
        with pytest.raises(Refused, match="of the last 31 days"):
            historian.append(batch((0, 1, 1.0)))
        historian.close()


def test_encrypted_and_with_a_password(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "certificates")
    authority.issue("server", "urn:server", ["127.0.0.1"], "server", 1)
    certificate = tmp_path / "certificates" / "server.pem"
    options = [
        "-tls",
        f"-tlsCertFile={certificate}",
        f"-tlsKeyFile={certificate.with_suffix('.key.pem')}",
        "-httpAuth.username=twin",
        "-httpAuth.password=hush",
    ]
    token = tmp_path / "token"
    token.write_text("twin:hush\n")
    server = VictoriaMetrics(tmp_path / "victoria", options=options)
    server.url = server.url.replace("http:", "https:")
    server.context = ssl.create_default_context(cafile=authority.certificate.with_suffix(".pem"))
    with server:
        trusting = {"security": {"trusts": [authority.certificate]}, "token": {"file": token}}
        historian = VictoriaMetricsHistorian(at(server.url, **trusting), "line", TAGS)
        historian.append(batch((0, 1, 1.0)))
        assert len(historian.read([0], *ALL)) == 1
        historian.close()
        stranger = VictoriaMetricsHistorian(at(server.url, token={"file": token}), "line", TAGS)
        with pytest.raises(HistorianError, match="certificate verify failed"):
            stranger.append(batch((0, 1, 1.0)))
        stranger.close()
        token.write_text("twin:wrong")
        nobody = VictoriaMetricsHistorian(at(server.url, **trusting), "line", TAGS)
        with pytest.raises(HistorianError, match="401") as caught:
            nobody.append(batch((0, 1, 1.0)))
        assert "wrong" not in str(caught.value)
        nobody.close()


def test_a_server_that_is_something_else_is_told_of() -> None:
    historian = VictoriaMetricsHistorian(at(f"http://127.0.0.1:{free_port()}"), "line", TAGS)
    with pytest.raises(HistorianError, match="refused"):
        historian.reach()
    historian.close()


def test_a_name_that_line_protocol_mangles_is_refused_at_once() -> None:
    tags = TagTable([Tag("a\nb", "m", "MP", "actual")])
    with pytest.raises(ValueError, match="line break"):
        VictoriaMetricsHistorian(at("http://127.0.0.1"), "line", tags)
