"""What a server kept while nobody listened: OPC UA Part 11, raw history."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

import structlog
from asyncua import ua
from asyncua.client.ua_session import UaSession
from asyncua.ua.attribute_ids import AttributeIds

from connectors.opcua.reading import attributes, chunks, good

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
log = structlog.get_logger()


async def missed(
    session: UaSession, nodes: Sequence[ua.NodeId], start: int, end: int, most: int
) -> list[tuple[int, ua.DataValue]]:
    """Values that a server kept of the nodes, in order of source time.

    Nodes that keep no history have none; a server that refuses is told of once and gives none.

    Args:
        session: of the client.
        nodes: what the values are of.
        start: ns.
        end: ns, both included.
        most: values after which no more are asked for.

    Returns:
        Positions among the nodes, and values.
    """
    levels = await attributes(session, nodes, AttributeIds.UserAccessLevel)
    bit = ua.AccessLevel.HistoryRead.mask
    keeping = [
        position
        for position, level in enumerate(levels)
        if good(level) and level.Value is not None and int(level.Value.Value) & bit
    ]
    details = ua.ReadRawModifiedDetails(
        IsReadModified=False, StartTime=_moment(start), EndTime=_moment(end), NumValuesPerNode=0,
        ReturnBounds=False,
    )  # fmt: skip
    found: list[tuple[int, ua.DataValue]] = []
    refused: set[str] = set()
    for part in chunks(keeping):
        open_: dict[int, bytes | None] = dict.fromkeys(part)
        while open_ and len(found) < most:
            asked = list(open_.items())
            results = await session.history_read(_request(details, nodes, asked))
            for (position, before), result in zip(asked, results, strict=True):
                del open_[position]
                if not result.StatusCode.is_good():
                    refused.add(result.StatusCode.name)
                    continue
                values = getattr(result.HistoryData, "DataValues", None) or []
                found += [(position, value) for value in values]
                # a server that gives the same point again makes no progress
                if result.ContinuationPoint and result.ContinuationPoint != before:
                    open_[position] = result.ContinuationPoint
    if refused:
        log.warning("history not read", status=", ".join(sorted(refused)))
    found.sort(key=lambda each: each[1].SourceTimestamp or each[1].ServerTimestamp or _EPOCH)
    return found


def _request(
    details: ua.ReadRawModifiedDetails,
    nodes: Sequence[ua.NodeId],
    asked: Sequence[tuple[int, bytes | None]],
) -> ua.HistoryReadParameters:
    request = ua.HistoryReadParameters()
    request.HistoryReadDetails = details
    request.TimestampsToReturn = ua.TimestampsToReturn.Both
    request.ReleaseContinuationPoints = False
    for position, point in asked:
        request.NodesToRead.append(
            ua.HistoryReadValueId(NodeId=nodes[position], IndexRange="", ContinuationPoint=point)
        )
    return request


def _moment(time: int) -> ua.DateTime:
    # asyncua declares its own kind of datetime, and takes any
    return _EPOCH + timedelta(microseconds=time // 1000)  # type: ignore[return-value]  # asyncua types it as its own DateTime
