"""A single-node VictoriaMetrics as its historian meets it: one connection, questions, answers."""

from __future__ import annotations

import re
import time
from base64 import b64encode
from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from select import select
from typing import Any, Final
from urllib.parse import urlencode, urlsplit

import numpy as np
import orjson

from connectors.outage import Outage
from connectors.store_tls import tls_context
from twin.configuration.historians import HistorianSecurity, VictoriaHistorianConfiguration
from twin.ports import HistorianError
from twin.samples import Bools, Ints

DAY: Final = 86_400_000
"""ms"""
_CONNECTS: Final = 5.0
"""Seconds to connect."""
_ANSWERS: Final = 30.0
"""Seconds until an answer comes."""
_UNITS: Final = {"h": DAY // 24, "d": DAY, "w": 7 * DAY, "y": 365 * DAY, "": 31 * DAY}
"""Of its flags that say how long it keeps something, ms."""
_STARTED: Final = re.compile(r"^vm_app_start_timestamp (\d+)", re.MULTILINE)
_FLAG: Final = re.compile(r'^flag\{name="(\w+)", ?value="([\d.]+)([hdwy]?)"', re.MULTILINE)

Labels = dict[str, str]


class VictoriaServer:
    """Asks over one connection that stays open, and notices when the server has started anew.

    Raises:
        HistorianError: from all that asks, where the server is away or does not do it.
    """

    def __init__(self, at: VictoriaHistorianConfiguration) -> None:
        """Does not connect yet.

        Raises:
            SecretError: the token is not where it should be.
            ValueError: a certificate cannot be read.
        """
        self.url = at.url.rstrip("/")
        parts = urlsplit(self.url)
        self._path = parts.path
        self._headers: dict[str, str] = {}
        if at.token is not None:
            token = at.token.read()
            coded = f"Basic {b64encode(token.encode()).decode()}"
            self._headers["Authorization"] = coded if ":" in token else f"Bearer {token}"
        host, port = parts.hostname or "", parts.port
        trusts = at.security.trusts if isinstance(at.security, HistorianSecurity) else ()
        self._http = (
            HTTPSConnection(host, port, timeout=_CONNECTS, context=tls_context(trusts))
            if parts.scheme == "https"
            else HTTPConnection(host, port, timeout=_CONNECTS)
        )
        self.outage = Outage()
        self._started: int | None = None
        self._alive = 0
        """When it answered last by its own clock, s since the epoch."""
        self._anew = False
        self.retention = 0.0
        """How long it keeps samples, ms."""
        self._ahead = 2.0 * DAY

    def close(self) -> None:
        """Close the connection."""
        self._http.close()

    def connect(self) -> None:
        """Be connected, and look whether it is the process that was there before.

        It tells the second in which it began. One that had not outlived that second when it last
        answered may be another that began in the same.
        """
        waiting = self._http.sock
        if waiting is not None and not select([waiting], [], [], 0)[0]:
            return
        self._http.close()
        try:
            self._http.connect()
        except OSError as error:
            raise self._unanswered(error) from error
        self._http.sock.settimeout(_ANSWERS)
        outlived = self._started is None or self._alive > self._started
        figures = self._answer("GET", "/metrics", b"", {}).decode()
        started = _STARTED.search(figures)
        if started is None:
            self._http.close()
            raise HistorianError(self.url, "/metrics is not that of a VictoriaMetrics")
        for name, number, unit in _FLAG.findall(figures):
            if name == "retentionPeriod":
                self.retention = float(number) * _UNITS[unit]
            elif name == "futureRetention":
                self._ahead = float(number) * _UNITS[unit]
        before, self._started = self._started, int(started[1])
        self._anew |= before not in (None, self._started) or not outlived

    def check(self) -> None:
        """Raise an error, once, where another process answers than before.

        What the one before had taken in its last seconds is lost, and nothing else says so: who
        delivered it has to deliver it again.
        """
        self.connect()
        if self._anew:
            self._anew = False
            raise HistorianError(self.url, "it has started anew: its last seconds are lost")

    def keeps(self, times: Ints) -> Bools:
        """Which of these times (ms) it keeps: it drops others without a word."""
        now = time.time() * 1000
        return (times >= max(now - self.retention, 0)) & (times <= now + self._ahead)

    @property
    def span(self) -> str:
        """What `keeps` goes by, in words."""
        return (
            f"samples of the last {self.retention / DAY:.4g} days"
            f" and the next {self._ahead / DAY:.4g}"
        )

    def write(self, lines: bytes) -> None:
        """Send lines whose times are in ms."""
        if lines:
            self._ask("/write?precision=ms", lines)

    def flush(self) -> None:
        """Make visible to queries what it has taken, as far as it lets us."""
        self.connect()
        self._exchange("GET", "/internal/force_flush", b"", {})

    def export(
        self, match: str, first: int, last: int
    ) -> Iterator[tuple[Labels, Ints, list[float]]]:
        """Every stored sample from `first` to `last` (ms, included), a series in parts."""
        answer = self._form("/api/v1/export", {"match[]": match, **_range(first, last)})
        for line in answer.splitlines():
            series = orjson.loads(line)
            yield series["metric"], np.array(series["timestamps"], np.int64), series["values"]

    def series(self, match: str, first: int, last: int) -> list[Labels]:
        """The series that have samples on the days from `first` to `last` (ms)."""
        span = _range(max(first, 1000), last)  # 0 it takes for no start at all
        answer = self._form("/api/v1/series", {"match[]": match, **span})
        found: list[Labels] = orjson.loads(answer)["data"]
        return found

    def instant(self, query: str, at: int) -> Iterator[tuple[Labels, float]]:
        """The value of every series at a time, ms."""
        form = {"query": query, "time": _seconds(at), "nocache": "1"}
        for series in orjson.loads(self._form("/api/v1/query", form))["data"]["result"]:
            yield series["metric"], float(series["value"][1])

    def stepped(
        self, query: str, first: int, last: int, step: int
    ) -> Iterator[tuple[Labels, list[tuple[int, float]]]]:
        """The values of every series at `first`, and every step after it up to `last`, ms."""
        form = {
            "query": query,
            **_range(first, last),
            "step": f"{step}ms",
            "nocache": "1",  # or it moves times to multiples of the step
        }
        for series in orjson.loads(self._form("/api/v1/query_range", form))["data"]["result"]:
            pairs = [(round(at * 1000), float(value)) for at, value in series["values"]]
            yield series["metric"], pairs

    def _form(self, path: str, form: dict[str, str]) -> bytes:
        return self._ask(
            path, urlencode(form).encode(), {"Content-Type": "application/x-www-form-urlencoded"}
        )

    def _ask(self, path: str, body: bytes, headers: dict[str, str] | None = None) -> bytes:
        self.connect()
        return self._answer("POST", path, body, headers or {})

    def _answer(self, method: str, path: str, body: bytes, headers: dict[str, str]) -> bytes:
        response, content = self._exchange(method, path, body, headers)
        if not 200 <= response.status < 300:
            said = content.decode(errors="replace").strip()[:500] or response.reason
            raise HistorianError(self.url, f"{said} (HTTP {response.status})")
        return content

    def _exchange(
        self, method: str, path: str, body: bytes, headers: dict[str, str]
    ) -> tuple[HTTPResponse, bytes]:
        try:
            self._http.request(method, self._path + path, body, {**self._headers, **headers})
            response = self._http.getresponse()
            content = response.read()
        except (OSError, HTTPException) as error:
            raise self._unanswered(error) from error
        self.outage.end()
        told = response.headers["Date"]
        self._alive = int(parsedate_to_datetime(told).timestamp()) if told else 0
        return response, content

    def _unanswered(self, error: Exception) -> HistorianError:
        self._http.close()
        self.outage.begin(str(error) or type(error).__name__)
        return HistorianError(self.url, str(error) or type(error).__name__)


def _range(first: int, last: int) -> dict[str, Any]:
    return {"start": _seconds(first), "end": _seconds(last)}


def _seconds(milliseconds: int) -> str:
    return f"{milliseconds // 1000}.{milliseconds % 1000:03}"
