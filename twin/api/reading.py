"""What can be read."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import Annotated, Final, Literal

from fastapi import APIRouter, Depends, Path, Query, Response
from fastapi.responses import StreamingResponse

from twin.api.access import TheDesk, TheUser, user_of
from twin.api.formats import (
    ARROW,
    BYTES,
    CSV,
    SAMPLES,
    TEXT,
    ArrowStream,
    Moment,
    TheFormat,
    TrendView,
    as_arrow,
    as_csv,
    bulk,
    cuts_table,
    nanoseconds,
    roll_table,
    sample_table,
    trend_table,
    trend_view,
)
from twin.api.problems import documented
from twin.desk.reader import Reader
from twin.desk.replays import Playback
from twin.desk.trends import MOST_POINTS, MOST_SERIES, Trend, chosen
from twin.desk.views import (
    AccountView,
    Advice,
    AlarmView,
    AuditEntry,
    EventView,
    HealthView,
    LaboratoryChoice,
    LaboratoryEntry,
    LineView,
    ModelUse,
    RollMap,
    RollView,
    StepView,
    Value,
    View,
)
from twin.samples import SampleBatch
from twin.tags import TagTable

router = APIRouter(tags=["read"], dependencies=[Depends(user_of)], responses=documented())

Names = Annotated[
    list[Annotated[str, Query(max_length=200)]],
    Query(min_length=1, max_length=MOST_SERIES, description="of series; GET /series lists them"),
]
Start = Annotated[Moment | None, Query(description="ISO 8601; UTC without a zone")]
Points = Annotated[int, Query(ge=1, le=MOST_POINTS, description="most per series")]
Along = Annotated[Literal["time", "web"], Query()]
Number = Annotated[int, Path(ge=0, le=2**53)]
Limit = Annotated[int, Query(ge=1, le=10_000)]
HOUR: Final = timedelta(hours=1)


class SeriesUnits(View):
    """Unit of every series, by name."""

    series: dict[str, str]


class Laboratory(View):
    """What can be entered, and what was."""

    choices: tuple[LaboratoryChoice, ...]
    entries: tuple[LaboratoryEntry, ...]


def _span(line_time: datetime, start: datetime | None, end: datetime | None) -> tuple[int, int]:
    """A stretch of time in ns; the last hour up to now where nothing is said."""
    until = nanoseconds(end or line_time)
    since = until - int(HOUR.total_seconds()) * 10**9 if start is None else nanoseconds(start)
    return since, until


@router.get("/line")
async def line(desk: TheDesk) -> LineView:
    """The line as it runs."""
    return await desk.line()


@router.get("/values")
async def values(desk: TheDesk) -> tuple[Value, ...]:
    """The last value of every tag."""
    return await desk.values()


@router.get("/series")
async def series(desk: TheDesk) -> SeriesUnits:
    """The series that `/trend` and `/samples` may be asked for."""
    return SeriesUnits(series=desk.series())


@router.get("/steps/{name}", responses=documented(404))
async def step(desk: TheDesk, name: str) -> StepView:
    """All there is to know of a step."""
    return await desk.step(name)


async def trend_of(
    reader: Reader | Playback,
    names: list[str],
    start: datetime | None,
    end: datetime | None,
    points: int,
    along: Literal["time", "web"],
) -> Trend:
    """A trend of a line that runs or is replayed."""
    now = (await reader.line()).time
    return await reader.trend(names, *_span(now, start, end), points, along)


def trend_response(trend: Trend, chosen_format: str) -> TrendView | Response:
    """A trend in a format."""
    if chosen_format == "arrow":
        return Response(as_arrow(trend_table(trend)), media_type=ARROW)
    if chosen_format == "csv":
        return Response(as_csv(trend_table(trend)), media_type=CSV)
    return trend_view(trend)


@router.get("/trend", response_model=TrendView, responses=bulk(404, 409))
async def trend(
    desk: TheDesk,
    form: TheFormat,
    names: Names,
    start: Start = None,
    end: Start = None,
    points: Points = 1000,
    along: Along = "time",
) -> TrendView | Response:
    """Series at the resolution of a screen: minimum, mean and maximum of equal stretches.

    Without `end` up to now, without `start` for one hour. Along the web, the same material lies on
    the same abscissa; that is for derived series only.
    """
    return trend_response(await trend_of(desk, names, start, end, points, along), form)


@router.get(
    "/samples",
    response_class=StreamingResponse,
    responses={
        200: {"content": {ARROW: BYTES, CSV: TEXT}},
        **documented(404, 409),
    },
)
async def samples(
    desk: TheDesk, form: TheFormat, names: Names, start: Start = None, end: Start = None
) -> StreamingResponse:
    """Samples as they were stored, with their quality: an Arrow IPC stream, or CSV."""
    tags = desk.tags
    chosen(tags, names, "time")
    pieces = desk.samples(names, *_span((await desk.line()).time, start, end))
    if form == "csv":
        return StreamingResponse(_csv(pieces, tags), media_type=CSV)
    return StreamingResponse(_arrow(pieces, tags), media_type=ARROW)


async def _csv(pieces: AsyncIterator[SampleBatch], tags: TagTable) -> AsyncIterator[bytes]:
    yield as_csv(SAMPLES.empty_table())
    async for piece in pieces:
        if len(piece):
            yield as_csv(sample_table(piece, tags), header=False)


async def _arrow(pieces: AsyncIterator[SampleBatch], tags: TagTable) -> AsyncIterator[bytes]:
    stream = ArrowStream(SAMPLES)
    async for piece in pieces:
        if len(piece):
            yield stream.write(sample_table(piece, tags))
    yield stream.end()


@router.get("/events")
async def events(desk: TheDesk, start: Start = None, end: Start = None) -> tuple[EventView, ...]:
    """What happened to the line: rolls, splices, batches, modes, gaps."""
    return await desk.events(*_span((await desk.line()).time, start, end))


@router.get("/recommendations")
async def recommendations(
    desk: TheDesk, which: Literal["open", "history"] = "open", limit: Limit = 100
) -> tuple[Advice, ...]:
    """Those that wait for a decision or are being written, or all, newest first."""
    return await desk.recommendations(which, limit)


@router.get("/recommendations/{identity}", responses=documented(404))
async def recommendation(desk: TheDesk, identity: str) -> Advice:
    """A recommendation, with what became of it."""
    return await desk.recommendation(identity)


@router.get("/rolls")
async def rolls(desk: TheDesk) -> tuple[RollView, ...]:
    """All rolls, newest first."""
    return await desk.rolls()


@router.get("/rolls/{number}", response_model=RollMap, responses=bulk(404))
async def roll(
    desk: TheDesk, form: TheFormat, number: Number, web: str | None = None
) -> RollMap | Response:
    """Structure parameters along a roll, and the stretches that are out of specification."""
    return roll_response(await desk.roll_map(number, web), form)


def roll_response(found: RollMap, chosen_format: str) -> RollMap | Response:
    """A roll map in a format."""
    if chosen_format == "arrow":
        return Response(as_arrow(roll_table(found)), media_type=ARROW)
    if chosen_format == "csv":
        return Response(as_csv(roll_table(found)), media_type=CSV)
    return found


@router.get(
    "/rolls/{number}/cuts",
    response_class=Response,
    responses={200: {"content": {CSV: TEXT}}, **documented(404)},
)
async def cuts(desk: TheDesk, number: Number, web: str | None = None) -> Response:
    """What to cut out of a roll, as CSV for the slitter."""
    found = await desk.roll_map(number, web)
    name = f'attachment; filename="roll-{found.roll.number}-cuts.csv"'
    return Response(
        as_csv(cuts_table(found)), headers={"Content-Disposition": name}, media_type=CSV
    )


@router.get("/laboratory")
async def laboratory(desk: TheDesk, limit: Limit = 100) -> Laboratory:
    """Which laboratory values can be entered, and which were, newest first."""
    choices, entries = await desk.laboratory(limit)
    return Laboratory(choices=choices, entries=entries)


@router.get("/alarms")
async def alarms(desk: TheDesk) -> tuple[AlarmView, ...]:
    """Alarms that are not cleared."""
    return (await desk.line()).alarms


@router.get("/alarms/history")
async def alarm_history(desk: TheDesk, limit: Limit = 100) -> tuple[AlarmView, ...]:
    """Alarms as they are now or ended, newest first."""
    return await desk.alarm_history(limit)


@router.get("/models")
async def models(desk: TheDesk) -> tuple[ModelUse, ...]:
    """Which model predicts every step, since when, and who said so."""
    return await desk.models()


@router.get("/audit")
async def audit(desk: TheDesk, limit: Limit = 100) -> tuple[AuditEntry, ...]:
    """What people and the twin did, newest first."""
    return await desk.audit(limit)


@router.get("/health")
async def health(desk: TheDesk) -> HealthView:
    """How the service is doing."""
    return await desk.health()


@router.get("/accounts")
async def accounts(desk: TheDesk, user: TheUser) -> tuple[AccountView, ...]:
    """All users and tokens; for engineers."""
    return await desk.accounts(user)
