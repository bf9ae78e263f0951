"""The tags of one server, and the nodes that they are there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from asyncua import ua

from twin.configuration.models import LineConfiguration, OpcUaAddress
from twin.tags import Tag


@dataclass(frozen=True, slots=True)
class Item:
    """A tag of the server."""

    index: int
    tag: Tag
    address: OpcUaAddress
    limits: tuple[tuple[float, float], ...]
    """Ranges in the tag's unit that must lie in the server's EURange."""


def items_of(name: str, configuration: LineConfiguration) -> list[Item]:
    table = configuration.tag_table()
    moved = {
        setpoint.tag: setpoint.limits
        for step in configuration.steps.values()
        for setpoint in step.setpoints.values()
    }
    items = []
    for tag_name, tag in configuration.tags.items():
        if tag.connector != name:
            continue
        if not isinstance(tag.address, OpcUaAddress):
            raise ValueError(f"{tag_name} has no OPC UA address")
        index = table.index(tag_name)
        limits = tuple(limits for limits in (tag.limits, moved.get(tag_name)) if limits is not None)
        items.append(Item(index, table[index], tag.address, limits))
    return items


def node_id(text: str, namespaces: Sequence[str]) -> ua.NodeId:
    if not text.startswith("nsu="):
        return ua.NodeId.from_string(text)
    uri, _, identifier = text.removeprefix("nsu=").partition(";")
    if uri not in namespaces:
        own = ", ".join(namespaces[1:]) or "none of its own"
        raise ValueError(f"the server has no namespace {uri!r}; it has {own}")
    return ua.NodeId.from_string(f"ns={namespaces.index(uri)};{identifier}")
