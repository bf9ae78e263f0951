"""What happens, as server-sent events."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any, Final

from fastapi import APIRouter, Depends, Request, Response
from fastapi.sse import format_sse_event
from starlette.responses import StreamingResponse

from twin.api.access import TheDesk, user_of
from twin.api.problems import documented
from twin.desk import Change, Desk, Snapshot
from twin.desk.replays import Playback

router = APIRouter(tags=["read"], dependencies=[Depends(user_of)])
EVENTS: Final = "text/event-stream"
RETRY: Final = 2000
"""Milliseconds after which a browser tries again."""
_EVENTS: Final[dict[int | str, dict[str, Any]]] = {
    200: {
        "description": "A snapshot; as events a snapshot a second, and what happens at once",
        "content": {EVENTS: {"schema": {"type": "string"}}},
    },
    **documented(),
}


@router.get("/stream", response_model=Snapshot, responses=_EVENTS)
async def stream(request: Request, desk: TheDesk) -> Response:
    """What happens: with `Accept: text/event-stream` as events without end, else one snapshot.

    Events are `snapshot`, and at once `recommendation`, `judgement`, `mode`, `alarm`, `material`
    and `laboratory`. Who reads too slowly loses the oldest and is told with `missed` how many.
    """
    return await stream_of(request, desk)


async def stream_of(request: Request, reader: Desk | Playback) -> Response:
    """The events of a line that runs or is replayed."""
    changes = reader.changes()
    if EVENTS not in request.headers.get("accept", ""):
        first = await anext(changes)
        await changes.aclose()
        return Response(first.json, media_type="application/json")
    return StreamingResponse(
        _events(changes), media_type=EVENTS, headers={"X-Accel-Buffering": "no"}
    )


async def _events(changes: AsyncGenerator[Change]) -> AsyncIterator[bytes]:
    async with contextlib.aclosing(changes):
        yield format_sse_event(retry=RETRY)
        async for change in changes:
            yield encoded(change)


def encoded(change: Change) -> bytes:
    """A change as an event; what was missed before it goes first."""
    lost = b""
    if change.missed:
        lost = format_sse_event(event="missed", data_str=str(change.missed))
    return lost + format_sse_event(
        event=change.kind, data_str=change.json.decode(), id=str(change.number)
    )
