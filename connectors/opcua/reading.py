"""What many nodes of a server hold, asked in requests that a small controller can take."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final, TypeVar, cast

from asyncua import ua
from asyncua.client.ua_session import UaSession
from asyncua.ua.attribute_ids import AttributeIds
from asyncua.ua.object_ids import ObjectIds
from asyncua.ua.ua_binary import struct_from_binary

from connectors.opcua.values import nanoseconds

_PER_REQUEST: Final = 200

Element = TypeVar("Element")


def chunks(elements: Sequence[Element]) -> Iterator[Sequence[Element]]:
    """Parts small enough for one request to a small controller."""
    for start in range(0, len(elements), _PER_REQUEST):
        yield elements[start : start + _PER_REQUEST]


async def properties(session: UaSession, nodes: Sequence[ua.NodeId], name: str) -> list[Any]:
    """The value of each node's property of that name, None where it has none."""
    found: list[Any] = [None] * len(nodes)
    present: list[tuple[int, ua.NodeId]] = []
    for part in chunks(list(enumerate(nodes))):
        paths = []
        for _, node in part:
            step = ua.RelativePathElement(
                ReferenceTypeId=ua.NodeId(ua.Int32(ObjectIds.HasProperty)),
                IsInverse=cast("ua.Boolean", False),
                IncludeSubtypes=cast("ua.Boolean", True),
                TargetName=ua.QualifiedName(name, 0),
            )
            paths.append(ua.BrowsePath(node, ua.RelativePath([step])))
        results = await session.translate_browsepaths_to_nodeids(paths)
        for (position, _), result in zip(part, results, strict=True):
            if result.StatusCode.is_good() and result.Targets:
                target = result.Targets[0].TargetId
                present.append((position, ua.NodeId(target.Identifier, target.NamespaceIndex)))
    values = await attributes(session, [node for _, node in present], AttributeIds.Value)
    for (position, _), value in zip(present, values, strict=True):
        if good(value) and value.Value is not None:
            found[position] = value.Value.Value
    return found


async def attributes(
    session: UaSession, nodes: Sequence[ua.NodeId], attribute: AttributeIds
) -> list[ua.DataValue]:
    """The attribute of each node, with its status."""
    values: list[ua.DataValue] = []
    for part in chunks(nodes):
        values += await session.read_attributes(list(part), attribute)
    return values


async def present(
    session: UaSession, nodes: Sequence[ua.NodeId]
) -> tuple[int | None, list[ua.DataValue]]:
    """When the server read what the nodes hold, by its own clock (ns), and what they hold.

    The time is that of its answer: the ServerTimestamp of a value that rests is old on some
    servers. None where it sends no time.
    """
    times: list[int] = []
    values: list[ua.DataValue] = []
    for part in chunks(nodes):
        request = ua.ReadRequest()
        # a value without time of its own has that of the server
        request.Parameters.TimestampsToReturn = ua.TimestampsToReturn.Both
        request.Parameters.NodesToRead = [
            ua.ReadValueId(NodeId=node, AttributeId=AttributeIds.Value) for node in part
        ]
        # its `read` throws the header away
        response = struct_from_binary(ua.ReadResponse, await session._send_request(request))
        response.ResponseHeader.ServiceResult.check()
        times.append(nanoseconds(response.ResponseHeader.Timestamp))
        values += response.Results
    # what changed while the others were read is newer than the first answer
    return min(times, default=0) or None, values


def good(value: ua.DataValue) -> bool:
    """Whether a read value may be used; no status code means good."""
    return value.StatusCode is None or value.StatusCode.is_good()
