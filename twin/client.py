"""A client of a running twin: `Client("http://127.0.0.1:8088", token)`.

Thin: what the API answers comes as the same frozen models, trends as numpy arrays or Arrow tables.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Final, Literal, Self, TypeVar

import httpx
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pydantic import BaseModel, TypeAdapter

from twin.desk.feed import Happening, Snapshot
from twin.desk.views import Advice, LineView, Preview, RollMap, StepView, WhatIf
from twin.samples import Floats

Result = TypeVar("Result")
_PREFIX: Final = "/api/v1"
_ARROW: Final = {"Accept": "application/vnd.apache.arrow.stream"}
_ADVICE: Final = TypeAdapter(tuple[Advice, ...])
_MANY: Final = TypeAdapter(dict[str, Any])


class ApiError(Exception):
    """The twin refused: what, and why, as its problem document says."""

    def __init__(self, status: int, problem: Mapping[str, Any]) -> None:
        super().__init__(f"{status}: {problem.get('detail', problem)}")
        self.status = status
        self.kind = str(problem.get("type", "")).rpartition(":")[2]
        """E.g. `decided`, `guard-refuses`, `not-allowed`, `throttled`."""
        self.problem = dict(problem)


@dataclass(frozen=True, slots=True)
class Curve:
    """A series of a trend, in its unit; equally long arrays."""

    unit: str
    at: NDArray[np.datetime64] | Floats
    """UTC, or m along the coated web."""
    minimum: Floats
    mean: Floats
    maximum: Floats


@dataclass(frozen=True, slots=True)
class Event:
    """What the stream tells."""

    kind: str
    """`snapshot`, `recommendation`, `judgement`, `mode`, `alarm`, `material`, `laboratory`; or
    `missed`, with the number of events that were lost as they were read too slowly."""
    content: Snapshot | Happening | int


class Client:
    """Reads a twin and decides, over HTTP.

    Args:
        url: where it is, e.g. http://127.0.0.1:8088
        token: of `twin users token NAME`.
        timeout: for an answer, s.
        verify: a file with the certificates to trust, for https with one of your own.

    Raises:
        ApiError: from every method, where the twin refuses.
        httpx.HTTPError: from every method, where it cannot be reached.
    """

    def __init__(
        self, url: str, token: str, timeout: float = 30.0, verify: str | None = None
    ) -> None:
        self._http = httpx.Client(
            base_url=url.rstrip("/") + _PREFIX,
            headers={"Authorization": f"Bearer {token}"},
            timeout=timeout,
            verify=ssl.create_default_context(cafile=verify),
            trust_env=False,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the connections."""
        self._http.close()

    def line(self) -> LineView:
        """The line as it runs."""
        return LineView.model_validate_json(self._get("/line"))

    def step(self, name: str) -> StepView:
        """All there is to know of a step."""
        return StepView.model_validate_json(self._get(f"/steps/{name}"))

    def trend(
        self,
        *names: str,
        start: datetime | None = None,
        end: datetime | None = None,
        points: int = 1000,
        along: Literal["time", "web"] = "time",
    ) -> dict[str, Curve]:
        """Series by name; without times the last hour.

        Args:
            names: e.g. `coating.mass_loading.measured`.
            start: UTC without a zone.
            end: likewise.
            points: most per series.
            along: time, or the coated web.
        """
        table = self.trend_table(*names, start=start, end=end, points=points, along=along)
        at = "time" if along == "time" else "position"
        series = np.asarray(table["series"].to_pylist(), np.str_)
        found = {}
        for name in names:
            rows = table.filter(pa.array(series == name))
            columns = [rows[each].to_numpy() for each in (at, "minimum", "mean", "maximum")]
            unit = rows["unit"][0].as_py() if len(rows) else ""
            found[name] = Curve(unit, *columns)
        return found

    def trend_table(
        self,
        *names: str,
        start: datetime | None = None,
        end: datetime | None = None,
        points: int = 1000,
        along: Literal["time", "web"] = "time",
    ) -> pa.Table:
        """As `trend`, as an Arrow table: series, unit, time or position, minimum, mean, maximum."""
        ask = {"names": list(names), "points": points, "along": along, **_between(start, end)}
        return pa.ipc.open_stream(self._get("/trend", ask, _ARROW)).read_all()

    def samples(
        self, *names: str, start: datetime | None = None, end: datetime | None = None
    ) -> pa.Table:
        """Samples as they were stored: series, time, value, unit, quality."""
        ask = {"names": list(names), **_between(start, end)}
        return pa.ipc.open_stream(self._get("/samples", ask, _ARROW)).read_all()

    def recommendations(
        self, which: Literal["open", "history"] = "open", limit: int = 100
    ) -> tuple[Advice, ...]:
        """Those that wait, or all, newest first."""
        ask = {"which": which, "limit": limit}
        return _ADVICE.validate_json(self._get("/recommendations", ask))

    def preview(self, identity: str, setpoints: Mapping[str, float] | None = None) -> Preview:
        """A recommendation as it would be accepted, perhaps changed."""
        path = f"/recommendations/{identity}/preview"
        return Preview.model_validate_json(self._post(path, {"setpoints": dict(setpoints or {})}))

    def accept(self, identity: str, setpoints: Mapping[str, float] | None = None) -> Advice:
        """Accept a recommendation, perhaps with other setpoints in the units of their tags."""
        path = f"/recommendations/{identity}/accept"
        return Advice.model_validate_json(self._post(path, {"setpoints": dict(setpoints or {})}))

    def reject(self, identity: str, reason: str) -> Advice:
        """Reject a recommendation."""
        path = f"/recommendations/{identity}/reject"
        return Advice.model_validate_json(self._post(path, {"reason": reason}))

    def roll_map(self, number: int) -> RollMap:
        """Structure parameters along a roll, and what to cut out of it."""
        return RollMap.model_validate_json(self._get(f"/rolls/{number}"))

    def what_if(self, **values: float) -> WhatIf:
        """What the chain of steps makes of machine parameters, in the units of their tags."""
        return WhatIf.model_validate_json(self._post("/what-if", {"values": values}))

    def get(self, path: str, **parameters: Any) -> Any:
        """The answer of any other path below /api/v1, from JSON."""
        return TypeAdapter(Any).validate_json(self._get(path, parameters))

    def stream(self) -> Iterator[Event]:
        """What happens, without end: a snapshot a second, events at once."""
        headers = {"Accept": "text/event-stream"}
        # a snapshot comes every second: silence means that the twin is gone
        with self._http.stream("GET", "/stream", headers=headers) as answer:
            if answer.is_error:
                answer.read()
            _check(answer)
            kind, data = "", ""
            for line in answer.iter_lines():
                name, _, value = line.partition(":")
                if name == "event":
                    kind = value.strip()
                elif name == "data":
                    data += value.removeprefix(" ")
                elif not line and data:
                    yield _event(kind, data)
                    kind, data = "", ""

    def _get(
        self,
        path: str,
        parameters: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> bytes:
        answer = self._http.get(path, params=dict(parameters or {}), headers=dict(headers or {}))
        return _check(answer).content

    def _post(self, path: str, body: object) -> bytes:
        return _check(self._http.post(path, json=body)).content


def _check(answer: httpx.Response) -> httpx.Response:
    if answer.is_error:
        try:
            problem = _MANY.validate_json(answer.content)
        except ValueError:
            problem = {"detail": answer.reason_phrase}
        raise ApiError(answer.status_code, problem)
    return answer


def _event(kind: str, data: str) -> Event:
    if kind == "missed":
        return Event(kind, int(data))
    model: type[BaseModel] = Snapshot if kind == "snapshot" else Happening
    content = model.model_validate_json(data)
    assert isinstance(content, Snapshot | Happening)
    return Event(kind, content)


def _between(start: datetime | None, end: datetime | None) -> dict[str, str]:
    found = {}
    for name, time in (("start", start), ("end", end)):
        if time is not None:
            found[name] = (time if time.tzinfo else time.replace(tzinfo=UTC)).isoformat()
    return found
