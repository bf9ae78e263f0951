"""What InfluxDB 2 and 3 are asked, and what is made of their answers: where no real one is.

A server that only notes and answers. With INFLUXDB_URL the contract runs against a real one, in
test_influxdb.py; reads are the same for version 1, of which a real one always runs.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from connectors.influxdb import InfluxHistorian
from tests.twin.historian_contract import SECOND, START, TAGS, batch, rows
from twin.configuration.historians import InfluxHistorianConfiguration
from twin.ports import HistorianError, Refused
from twin.samples import OfflineMeasurement, SampleBatch


@dataclass
class Asked:
    """A request."""

    path: str
    query: dict[str, str]
    token: str
    body: str


@dataclass
class Pretender:
    """Notes what it is asked, and answers as it is told."""

    asked: list[Asked] = field(default_factory=list)
    status: int = 204
    answer: bytes = b""
    poison: str = ""
    """Lines that hold it are refused."""
    port: int = 0

    def at(self, version: int = 2) -> InfluxHistorianConfiguration:
        return InfluxHistorianConfiguration.model_validate(
            {
                "kind": "influxdb",
                "url": f"http://127.0.0.1:{self.port}",
                "version": version,
                "database": "lines",
                "organisation": "the plant" if version == 2 else None,
                "token": {"env": "TOKEN_OF_THE_TEST"},
            }
        )

    def respond(self, asked: Asked) -> tuple[int, bytes]:
        self.asked.append(asked)
        if self.poison and self.poison in asked.body:
            return 422, json.dumps(
                {
                    "code": "unprocessable entity",
                    "message": "failure writing points to database: partial write: points beyond "
                    "retention policy dropped=1",
                }
            ).encode()
        return self.status, self.answer


@pytest.fixture
def pretender(monkeypatch: pytest.MonkeyPatch) -> Iterator[Pretender]:
    monkeypatch.setenv("TOKEN_OF_THE_TEST", "hush")
    pretender = Pretender()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            parts = urlsplit(self.path)
            length = int(self.headers.get("Content-Length", 0))
            query = {name: values[0] for name, values in parse_qs(parts.query).items()}
            body = self.rfile.read(length).decode()
            asked = Asked(parts.path, query, self.headers.get("Authorization", ""), body)
            status, answer = pretender.respond(asked)
            self.send_response(status)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    pretender.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield pretender
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def historian(pretender: Pretender) -> Iterator[InfluxHistorian]:
    historian = InfluxHistorian(pretender.at(), "a line", TAGS)
    yield historian
    historian.close()


def test_samples_go_to_the_bucket_of_the_organisation(
    historian: InfluxHistorian, pretender: Pretender
) -> None:
    historian.append(batch((1, 1, 2.5), (0, 1, float("nan"), 0x80000000)))
    (asked,) = pretender.asked
    assert asked.path == "/api/v2/write"
    assert asked.query == {"org": "the plant", "bucket": "lines", "precision": "ns"}
    assert asked.token == "Token hush"
    assert asked.body == (
        f"linetwin,line=a\\ line,tag=a quality=6442450944i {START + SECOND}\n"
        f"linetwin,line=a\\ line,tag=b quality=0i,value=2.5 {START + SECOND}\n"
    )


def test_what_is_refused_is_found_and_named(
    historian: InfluxHistorian, pretender: Pretender
) -> None:
    pretender.poison = "value=7 "
    samples = batch(*((0, second, float(second)) for second in range(40)))
    laboratory = (OfflineMeasurement(1, START, 7.5),)
    with pytest.raises(Refused, match=r"1 samples of a: .*beyond retention policy") as caught:
        historian.append(
            SampleBatch(samples.tag, samples.time, samples.value, samples.quality, laboratory)
        )
    assert caught.value.batch is not None
    assert caught.value.batch.value.tolist() == [7.0]
    assert caught.value.batch.offline == ()
    # what holds no poison went through, beside it or in a half without it
    taken = "".join(asked.body for asked in pretender.asked if pretender.poison not in asked.body)
    assert [f"value={second} " in taken for second in range(40)] == [
        second != 7 for second in range(40)
    ]


@pytest.mark.parametrize(
    ("status", "answer", "said"),
    [
        (401, b'{"code":"unauthorized","message":"unauthorized access"}', "unauthorized access"),
        (404, b'{"code":"not found","message":"bucket \\"lines\\" not found"}', "not found"),
        (429, b"", "Too Many Requests"),
        (500, b'{"code":"internal error","message":"unexpected error"}', "unexpected error"),
        (503, b"<html>try later</html>", "try later"),
    ],
)
def test_other_failures_blame_no_sample(
    status: int, answer: bytes, said: str, historian: InfluxHistorian, pretender: Pretender
) -> None:
    pretender.status, pretender.answer = status, answer
    for work in (
        lambda: historian.append(batch((0, 1, 1.0))),
        lambda: historian.read([0], START, START + SECOND),
        historian.reach,
    ):
        with pytest.raises(HistorianError, match=said) as caught:
            work()
        assert f"HTTP {status}" in str(caught.value)
        assert "hush" not in str(caught.value)
    # once each: when to try again is not the client's to decide
    assert len(pretender.asked) == 3


def test_a_series_comes_in_parts(historian: InfluxHistorian, pretender: Pretender) -> None:
    def part(*values: list[Any]) -> bytes:
        columns = ["time", "quality", "value", "doubtful"]
        series = {"name": "linetwin", "tags": {"tag": "b"}, "columns": columns, "values": values}
        return json.dumps({"results": [{"series": [series]}]}).encode() + b"\n"

    pretender.status = 200
    pretender.answer = part([START, 0, 1.5, None], [START + SECOND, 0x40000000, None, 2.5]) + part(
        [START + 2 * SECOND, 2**33, None, None]
    )
    found = historian.latest([1])
    assert rows(found) == [
        (1, 0, 1.5, 0),
        (1, 1, 2.5, 0x40000000),
        (1, 2, float("inf"), 0),
    ]
    (asked,) = pretender.asked
    assert asked.path == "/query"
    assert asked.query["db"] == "lines"
    assert asked.query["epoch"] == "ns"


def test_an_error_within_an_answer_is_one(historian: InfluxHistorian, pretender: Pretender) -> None:
    pretender.status = 200
    pretender.answer = b'{"results":[{"statement_id":0,"error":"timeout"}]}\n'
    with pytest.raises(HistorianError, match="timeout"):
        historian.latest([0])
    pretender.answer = b"<html>a proxy</html>"
    with pytest.raises(HistorianError):
        historian.latest([0])


def test_version_3_is_asked_to_delete_nothing(pretender: Pretender) -> None:
    historian = InfluxHistorian(pretender.at(3), "a line", TAGS)
    assert historian.retain(START) == 0
    assert pretender.asked == []
    historian.append(batch((0, 1, 1.0)))
    assert pretender.asked[0].query["bucket"] == "lines"
    historian.close()
