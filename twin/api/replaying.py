"""Recordings that are played: the reads of a line that is not live."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from twin.api.access import TheDesk, TheUser, user_of
from twin.api.acting import Setpoints, Values, Wishes, design_of
from twin.api.formats import Moment, TheFormat, TrendView, bulk, nanoseconds
from twin.api.problems import documented
from twin.api.reading import (
    Along,
    Limit,
    Names,
    Number,
    Points,
    SeriesUnits,
    Start,
    roll_response,
    trend_of,
    trend_response,
)
from twin.api.streaming import EVENTS, stream_of
from twin.desk import Snapshot
from twin.desk.replays import FASTEST, SLOWEST, Playback
from twin.desk.views import (
    Advice,
    DesignView,
    LineView,
    Preview,
    RecordingView,
    ReplayView,
    RollMap,
    RollView,
    StepView,
    Value,
    WhatIf,
)

router = APIRouter(
    tags=["replay"],
    dependencies=[Depends(user_of)],
    responses=documented(404, 409),
)


class Opening(BaseModel):
    """Which recording is to be played."""

    model_config = ConfigDict(extra="forbid")

    recording: Annotated[str, Field(min_length=1, max_length=200)]


class Control(BaseModel):
    """What is to change; what is not named stays."""

    model_config = ConfigDict(extra="forbid")

    paused: bool | None = None
    speed: Annotated[float, Field(ge=SLOWEST, le=FASTEST)] | Literal["fastest"] | None = None
    seek: Moment | None = None


def playback_of(desk: TheDesk, identity: str) -> Playback:
    """The replay that a path names."""
    return desk.replays.get(identity)


Played = Annotated[Playback, Depends(playback_of)]
ONE = "/replays/{identity}"


@router.get("/recordings")
async def recordings(desk: TheDesk) -> tuple[RecordingView, ...]:
    """The recordings that can be played, newest first."""
    return await desk.replays.recordings()


@router.get("/replays")
async def replays(desk: TheDesk) -> tuple[ReplayView, ...]:
    """The recordings that are being played."""
    return await desk.replays.states()


@router.post("/replays", status_code=201)
async def open_replay(desk: TheDesk, user: TheUser, body: Opening) -> ReplayView:
    """Open a recording; it stands at its start."""
    return await desk.replays.open(body.recording, user.name)


@router.get(ONE)
async def replay(played: Played) -> ReplayView:
    """Where a replay is."""
    return await played.state()


@router.patch(ONE)
async def control(played: Played, body: Control) -> ReplayView:
    """Play, pause, seek, or change the speed."""
    if body.speed is not None:
        await played.set_speed(None if body.speed == "fastest" else body.speed)
    if body.seek is not None:
        await played.seek(nanoseconds(body.seek))
    if body.paused is not None:
        await (played.pause() if body.paused else played.play())
    return await played.state()


@router.delete(ONE, status_code=204)
async def close(desk: TheDesk, played: Played) -> None:
    """End a replay."""
    await desk.replays.close(played.id)


@router.get(ONE + "/line")
async def line(played: Played) -> LineView:
    """The line as it is replayed."""
    return await played.line()


@router.get(ONE + "/values")
async def values(played: Played) -> tuple[Value, ...]:
    """The last value of every tag."""
    return await played.values()


@router.get(ONE + "/series")
async def series(played: Played) -> SeriesUnits:
    """The series that its trend may be asked for."""
    return SeriesUnits(series=played.series())


@router.get(ONE + "/steps/{name}")
async def step(played: Played, name: str) -> StepView:
    """All there is to know of a step."""
    return await played.step(name)


@router.get(ONE + "/trend", response_model=TrendView, responses=bulk())
async def trend(
    played: Played,
    form: TheFormat,
    names: Names,
    start: Start = None,
    end: Start = None,
    points: Points = 1000,
    along: Along = "time",
) -> TrendView | Response:
    """Series of what has been replayed."""
    return trend_response(await trend_of(played, names, start, end, points, along), form)


@router.get(ONE + "/recommendations")
async def recommendations(
    played: Played, which: Literal["open", "history"] = "open", limit: Limit = 100
) -> tuple[Advice, ...]:
    """Recommendations as they were."""
    return await played.recommendations(which, limit)


@router.post(ONE + "/recommendations/{advice}/preview")
async def preview(played: Played, advice: str, body: Setpoints) -> Preview:
    """A recommendation as it could have been accepted."""
    return await played.preview(advice, body.setpoints)


@router.get(ONE + "/rolls")
async def rolls(played: Played) -> tuple[RollView, ...]:
    """Rolls that were wound, newest first."""
    return await played.rolls()


@router.get(ONE + "/rolls/{number}", response_model=RollMap, responses=bulk())
async def roll(
    played: Played, form: TheFormat, number: Number, web: str | None = None
) -> RollMap | Response:
    """Structure parameters along a roll."""
    return roll_response(await played.roll_map(number, web), form)


@router.post(ONE + "/what-if")
async def what_if(played: Played, body: Values) -> WhatIf:
    """What the chain of steps would have made."""
    return await played.what_if(body.values)


@router.post(ONE + "/design")
async def design(played: Played, body: Wishes) -> DesignView:
    """Machine parameters for wanted structure parameters."""
    return await design_of(played, body)


@router.get(
    ONE + "/stream",
    response_model=Snapshot,
    responses={200: {"content": {EVENTS: {"schema": {"type": "string"}}}}},
)
async def stream(request: Request, played: Played) -> Response:
    """What happens in the replay, as `/stream`."""
    return await stream_of(request, played)
