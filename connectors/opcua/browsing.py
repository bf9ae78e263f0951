"""What an OPC UA server has, and the tag configuration that would read it."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Final

import yaml
from asyncua import ua
from asyncua.client.client import Client
from asyncua.common.node import Node
from asyncua.ua.attribute_ids import AttributeIds
from asyncua.ua.object_ids import ObjectIds

from connectors.opcua.reading import attributes, good, properties
from connectors.opcua.securing import connect
from connectors.unit_names import pint_name
from twin.configuration.models import OpcUaConnector
from twin.units import to_si

_NUMBERS: Final = frozenset(range(1, 12))
_DEEPEST: Final = 12


@dataclass(frozen=True, slots=True)
class FoundVariable:
    """A numeric variable of a server."""

    node: str
    """Node id with the namespace's URI."""
    path: tuple[str, ...]
    """Browse names from the Objects folder down."""
    value: float | int | bool | None
    unit: str | None
    """As the server spells it; None where it does not say."""
    limits: tuple[float, float] | None
    """EURange, in the unit."""
    writable: bool


async def browse(
    url: str,
    timeout: float = 10.0,  # noqa: ASYNC109  # callers give it in a word
    connector: OpcUaConnector | None = None,
) -> list[FoundVariable]:
    """The numeric variables below the Objects folder, but not the server's own.

    Args:
        url: the endpoint.
        timeout: how long it may take, s.
        connector: how to connect; in the clear and anonymously without one.

    Raises:
        OSError: the server cannot be reached, or one side refuses the other.
        TimeoutError: it did not answer in time.
        SecretError: a password is not where it should be.
    """
    client = Client(url, timeout=timeout)
    connector = connector or OpcUaConnector(kind="opcua", url=url, security="none")
    async with asyncio.timeout(timeout), AsyncExitStack() as stack:
        await connect(client, connector)
        stack.push_async_callback(client.disconnect)
        namespaces = await client.get_namespace_array()
        variables: list[tuple[Node, tuple[str, ...]]] = []
        for child in await client.nodes.objects.get_children():
            if child.nodeid.NamespaceIndex != 0:
                await _collect(child, (), variables)
        session = client.uaclient.session
        nodes = [node.nodeid for node, _ in variables]
        values = await attributes(session, nodes, AttributeIds.Value)
        access = await attributes(session, nodes, AttributeIds.UserAccessLevel)
        units = await properties(session, nodes, "EngineeringUnits")
        ranges = await properties(session, nodes, "EURange")
    found = []
    for (node, path), value, level, unit, span in zip(
        variables, values, access, units, ranges, strict=True
    ):
        variant = value.Value
        if variant is None or int(variant.VariantType) not in _NUMBERS or variant.is_array:
            continue
        levels = level.Value.Value if good(level) and level.Value is not None else 0
        found.append(
            FoundVariable(
                _with_uri(node.nodeid, namespaces),
                path,
                variant.Value if good(value) else None,
                (unit.DisplayName.Text or "") if isinstance(unit, ua.EUInformation) else None,
                (span.Low, span.High) if isinstance(span, ua.Range) else None,
                bool(int(levels or 0) & (1 << ua.AccessLevel.CurrentWrite)),
            )
        )
    return found


async def _collect(
    node: Node, path: tuple[str, ...], found: list[tuple[Node, tuple[str, ...]]]
) -> None:
    name = (*path, (await node.read_browse_name()).Name or "")
    kind = await node.read_node_class()
    if kind is ua.NodeClass.Variable:
        found.append((node, name))
    if len(name) < _DEEPEST and kind in (ua.NodeClass.Object, ua.NodeClass.Variable):
        for child in await node.get_children(ObjectIds.HierarchicalReferences):
            definition = await child.read_type_definition()
            if definition is None or definition.Identifier != ObjectIds.PropertyType:
                await _collect(child, name, found)


def tag_configuration(found: Sequence[FoundVariable], connector: str) -> str:
    """A `tags:` section that is valid as it stands; what the server does not say is marked."""
    lines = ["tags:"]
    taken: set[str] = set()
    for variable in found:
        name = _name(variable.path, taken)
        taken.add(name)
        unit, remark = _unit(variable.unit)
        lines += [
            f"  {name}:",
            f"    unit: {_scalar(unit)}{remark}",
            "    class: MP",
            f"    role: {'setpoint' if variable.writable else 'actual'}",
            f"    connector: {_scalar(connector)}",
            f"    address: {{node: {_quoted(variable.node)}}}",
        ]
        if variable.limits is not None:
            low, high = variable.limits
            lines.append(f"    limits: [{low:g}, {high:g}]")
    return "\n".join(lines) + "\n" if found else "tags: {}\n"


def _unit(theirs: str | None) -> tuple[str, str]:
    if theirs is None:
        return "dimensionless", "  # the server does not say: correct it"
    unit = pint_name(theirs)
    try:
        to_si(unit)
    except ValueError:
        return "dimensionless", f"  # the server says {_quoted(theirs)}: correct it"
    return unit, ""


def _name(path: Sequence[str], taken: set[str]) -> str:
    words = [
        re.sub(r"\W+", "_", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", part)).strip("_").lower()
        for part in path
    ]
    name = ".".join([words[0], "_".join(words[1:])]) if len(words) > 1 else words[0]
    unique, number = name or "tag", 2
    while unique in taken:
        unique, number = f"{name}_{number}", number + 1
    return unique


def _with_uri(node: ua.NodeId, namespaces: Sequence[str]) -> str:
    index = node.NamespaceIndex
    identifier = node.to_string().rpartition("ns=")[2].partition(";")[2] or node.to_string()
    return f"nsu={namespaces[index]};{identifier}" if index else identifier


def _quoted(text: str) -> str:
    return yaml.safe_dump(text, default_style='"', width=10_000, allow_unicode=True).strip()


def _scalar(text: str) -> str:
    plain = yaml.safe_dump(text, width=10_000, allow_unicode=True).strip()
    return plain.removesuffix("...").strip()
