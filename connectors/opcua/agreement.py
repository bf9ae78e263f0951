"""Whether a server agrees with the configuration: nodes, units, ranges, rights to write."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from asyncua import ua
from asyncua.client.client import Client
from asyncua.common.ua_utils import data_type_to_variant_type
from asyncua.ua.attribute_ids import AttributeIds
from asyncua.ua.status_codes import StatusCodes
from asyncua.ua.uaerrors import UaError

from connectors.opcua.items import Item, node_id
from connectors.opcua.reading import attributes, good, properties
from connectors.unit_names import mismatch, understood


@dataclass(frozen=True, slots=True)
class Agreement:
    """What a server says of the tags that it shall have, by their position."""

    nodes: list[ua.NodeId]
    types: dict[int, ua.VariantType]
    """Data type of each setpoint."""
    problems: list[str]
    """Sentences that say where the server contradicts the configuration."""
    remarks: list[str]
    """Sentences that say what could not be compared."""


async def compare(client: Client, items: Sequence[Item]) -> Agreement:
    """Look for every item on the server, and compare what it says of it."""
    problems: list[str] = []
    remarks: list[str] = []
    nodes: list[ua.NodeId] = []
    types: dict[int, ua.VariantType] = {}
    remote = client.uaclient.session
    namespaces = await client.get_namespace_array()
    for item in items:
        try:
            nodes.append(node_id(item.address.node, namespaces))
        except ValueError as error:
            nodes.append(ua.NodeId())
            problems.append(f"{item.tag.name}: {error}")
    known = [position for position, node in enumerate(nodes) if not node.is_null()]
    values = await attributes(remote, [nodes[position] for position in known], AttributeIds.Value)
    reachable = []
    for position, value in zip(known, values, strict=True):
        item = items[position]
        status = value.StatusCode.value if value.StatusCode is not None else 0
        if status in (StatusCodes.BadNodeIdUnknown, StatusCodes.BadNodeIdInvalid):
            problems.append(
                f"{item.tag.name}: the server has no node {item.address.node!r}; "
                f"see what it has with: twin browse {client.server_url.geturl()}"
            )
        elif status == StatusCodes.BadAttributeIdInvalid:
            problems.append(f"{item.tag.name}: {item.address.node!r} is no variable")
        else:
            reachable.append(position)
            if item.tag.role == "setpoint":
                types[position] = (
                    value.Value.VariantType
                    if value.Value is not None and value.Value.Value is not None
                    else await _declared(client, nodes[position])
                )
    found = [nodes[position] for position in reachable]
    units = await properties(remote, found, "EngineeringUnits")
    ranges = await properties(remote, found, "EURange")
    access = await attributes(remote, found, AttributeIds.UserAccessLevel)
    for position, unit, span, level in zip(reachable, units, ranges, access, strict=True):
        tag, theirs = items[position].tag, _spelling(unit)
        if not understood(theirs):
            remarks.append(f"{tag.name}: unit {theirs!r} is not known, taken for {tag.unit!r}")
            theirs = ""
        problems += _contradictions(items[position], theirs, span, level)
    return Agreement(nodes, types, problems, remarks)


async def _declared(client: Client, node: ua.NodeId) -> ua.VariantType:
    """The type of a node that has no value yet; Double where it only says that it is a number."""
    remote = client.uaclient.session
    (declared,) = await attributes(remote, [node], AttributeIds.DataType)
    if not good(declared) or declared.Value is None:
        return ua.VariantType.Double
    try:
        kind = await data_type_to_variant_type(client.get_node(declared.Value.Value))
    except UaError:  # a type that the server does not explain
        return ua.VariantType.Double
    return ua.VariantType.Double if kind is ua.VariantType.Variant else kind


def _spelling(unit: Any) -> str:
    """A machine's unit as it spells it; empty where nobody has filled it in."""
    return (unit.DisplayName.Text or "").strip() if isinstance(unit, ua.EUInformation) else ""


def _contradictions(item: Item, theirs: str, span: Any, access: ua.DataValue) -> Iterable[str]:
    tag = item.tag
    wrong = mismatch(theirs, tag.unit) if theirs else None
    if wrong is not None:
        yield f"{tag.name}: {wrong}; correct `unit` in the configuration"
    if tag.role != "setpoint":
        return
    # a range that nobody has filled in is (0, 0)
    if isinstance(span, ua.Range) and span.Low < span.High:
        for low, high in item.limits:
            if low < span.Low or high > span.High:
                yield (
                    f"{tag.name}: limits [{low:g}, {high:g}] {tag.unit} lie outside the "
                    f"machine's range; write limits: [{max(low, span.Low):g}, "
                    f"{min(high, span.High):g}]"
                )
    levels = access.Value.Value if good(access) and access.Value is not None else None
    if isinstance(levels, int) and not levels & (1 << ua.AccessLevel.CurrentWrite):
        yield (
            f"{tag.name}: the setpoint is not writable for this user; grant the right on the "
            f"machine, or give the tag the role actual"
        )
