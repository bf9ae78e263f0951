"""A recorded machine as an OPC UA server: its variables, their values, every write refused."""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Final, cast
from urllib.parse import urlparse

import numpy as np
import structlog
from asyncua import ua
from asyncua.common.node import Node
from asyncua.crypto.permission_rules import User, UserRole
from asyncua.server.address_space import AddressSpace, AttributeService
from asyncua.server.server import Server
from asyncua.ua.attribute_ids import AttributeIds
from asyncua.ua.object_ids import ObjectIds
from asyncua.ua.status_codes import StatusCodes

from twin.configuration.models import LineConfiguration, OpcUaAddress, OpcUaConnector
from twin.samples import BAD_NO_DATA, SampleBatch
from twin.units import to_si

OPEN_LOOP: Final = "a recording cannot answer to a new setpoint; nothing was changed"
_URI: Final = "urn:linetwin:replay"
_USUAL_PORT: Final = 4840
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_AT_ONCE: Final = 500
"""Samples that are published before clients are answered again."""
_STOP: Final = 0.5
"""Seconds that a server may take to say goodbye."""
_LOG: Final = structlog.get_logger()


class ServedMachine:
    """The OPC UA server of one connector, on the address of its url.

    A variable has the node id that the configuration says, lies under `station/signal` as the tag
    is called, is a Double in the tag's unit, and says that unit. It waits for its initial data
    until something is published. Source times are whole microseconds: nanoseconds are cut off.
    Setpoints are shown as writable; every write is refused with BadNotWritable, and logged.

    Args:
        name: the connector's name in the configuration.
        line: the configuration.
    """

    def __init__(self, name: str, line: LineConfiguration) -> None:
        connector = line.connectors[name]
        if not isinstance(connector, OpcUaConnector):
            raise ValueError(f"{name} is no OPC UA connector")
        if connector.security != "none":
            raise ValueError(
                f"{name} cannot be served as it is secured: a recording is served in the clear; "
                "write security: none in a copy of the configuration, and name it with --config"
            )
        self.name = name
        self.endpoint = connector.url
        self.refused = 0
        """Writes."""
        self._line = line
        self._tags = [tag for tag, each in line.tags.items() if each.connector == name]
        index = line.tag_table().index
        self._indices = {tag: index(tag) for tag in self._tags}
        self._serves = np.zeros(len(line.tags) + 1, np.bool_)
        """Whether a tag is one of this machine, by its index; the last, -1, is none."""
        self._serves[list(self._indices.values())] = True
        self._nodes: dict[int, ua.NodeId] = {}
        self._conversions = {i: to_si(line.tags[tag].unit) for tag, i in self._indices.items()}
        self._statuses: dict[int, ua.StatusCode] = {}
        self._told: set[ua.NodeId] = set()
        self._server: Server | None = None
        self._space: AddressSpace

    async def start(self) -> None:
        """Listen.

        Raises:
            OSError: it cannot, e.g. as the port is taken.
            ValueError: a node cannot be made.
        """
        server = Server()
        server.iserver.allow_remote_admin = False
        await server.init()
        await server.set_application_uri(f"{_URI}:{self.name}")
        server.set_server_name(f"linetwin replay, {self.name}")
        where = urlparse(self.endpoint)
        port = where.port or _USUAL_PORT
        server.set_endpoint(f"opc.tcp://{where.hostname}:{port}{where.path}")
        server.set_security_policy([ua.SecurityPolicyType.NoSecurity])
        self._space = server.iserver.aspace
        await self._build(server)
        setpoints = {
            self._nodes[self._indices[tag]]: tag
            for tag in self._tags
            if self._line.tags[tag].role == "setpoint"
        }
        server.iserver.attribute_service = _Refusal(
            self._space, lambda node, value: self._refuse(setpoints, node, value)
        )
        try:
            await server.start()
        except OSError as error:
            raise OSError(
                f"{self.name} cannot be served at {self.endpoint}: {error.strerror or error}; end "
                "what listens there, or write a configuration with free addresses of this "
                "computer and name it with --config"
            ) from error
        self._server = server

    async def stop(self) -> None:
        """Send everybody away."""
        server, self._server = self._server, None
        if server is None:
            return
        clock, server.iserver.time_task = server.iserver.time_task, None
        if clock is not None:  # it would sleep for up to a second
            clock.cancel()
        # stop listening first: who comes back during the farewell would keep its connection
        if server.bserver is not None and server.bserver._server is not None:
            server.bserver._server.close()
        with contextlib.suppress(Exception):
            await asyncio.wait_for(server.stop(), _STOP)
        for transport in tuple(server.iserver.asyncio_transports):
            transport.abort()
        while server.iserver.asyncio_transports:  # noqa: ASYNC110  # until they are lost
            await asyncio.sleep(0)

    async def publish(self, samples: SampleBatch) -> int:
        """Let the variables take those samples that are theirs, in order; how many that were.

        A missing value becomes a bad status without a value.
        """
        rows = np.flatnonzero(self._serves[samples.tag])
        now = cast("ua.DateTime", datetime.now(UTC))
        columns = (samples.tag, samples.time // 1000, samples.value, samples.quality)
        for done, (tag, time, value, quality) in enumerate(
            zip(*(column[rows].tolist() for column in columns), strict=True), 1
        ):
            missing = math.isnan(value)
            if missing and quality >> 30 < 2:
                quality = BAD_NO_DATA
            scale, offset = self._conversions[tag]
            data = ua.DataValue(
                Value=None if missing else ua.Variant((value - offset) / scale, _DOUBLE),
                StatusCode=self._status(quality),
                SourceTimestamp=cast("ua.DateTime", _EPOCH + timedelta(microseconds=time)),
                ServerTimestamp=now,
            )
            await self._space.write_attribute_value(self._nodes[tag], AttributeIds.Value, data)
            if done % _AT_ONCE == 0:
                await asyncio.sleep(0)
        return len(rows)

    def _status(self, code: int) -> ua.StatusCode:
        if code not in self._statuses:
            self._statuses[code] = _status(code)
        return self._statuses[code]

    def _refuse(
        self, setpoints: dict[ua.NodeId, str], node: ua.NodeId, value: ua.DataValue
    ) -> None:
        self.refused += 1
        if node in setpoints and node not in self._told:
            self._told.add(node)
            tag = setpoints[node]
            content = None if value.Value is None else value.Value.Value
            _LOG.warning(
                "write refused",
                setpoint=tag,
                value=str(content)[:40],
                unit=self._line.tags[tag].unit,
                why=OPEN_LOOP,
            )

    async def _build(self, server: Server) -> None:
        nodes = [self._address(tag).node for tag in self._tags]
        # ns=2 must be the server's third namespace, whatever it was called there
        for number in range(2, max((_namespace(node) for node in nodes), default=0) + 1):
            await server.register_namespace(f"{_URI}:namespace:{number}")
        own = await server.register_namespace(_URI)
        folders: dict[str, Node] = {}
        made: dict[ua.NodeId, int] = {}
        for tag, text in zip(self._tags, nodes, strict=True):
            node = await _node_id(server, text)
            if node not in made:
                if node in self._space:
                    raise ValueError(
                        f"{tag}: {text} is a node of every OPC UA server; leave the tag out of the "
                        "configuration"
                    )
                parent = await _folder(server, tag, own, folders)
                await self._add(server, parent, tag, node, own)
                made[node] = self._indices[tag]
            self._nodes[self._indices[tag]] = node

    def _address(self, tag: str) -> OpcUaAddress:
        address = self._line.tags[tag].address
        if not isinstance(address, OpcUaAddress):
            raise ValueError(f"{tag} has no OPC UA address")
        return address

    async def _add(self, server: Server, parent: Node, tag: str, node: ua.NodeId, own: int) -> None:
        about = self._line.tags[tag]
        name = tag.rpartition(".")[2]
        setpoint = about.role == "setpoint"
        access = ua.AccessLevel.CurrentRead.mask
        if setpoint:
            access |= ua.AccessLevel.CurrentWrite.mask
        attributes = ua.VariableAttributes()
        attributes.DisplayName = ua.LocalizedText(name)
        attributes.Description = ua.LocalizedText(
            f"{tag}, recorded" + (f"; writes are refused: {OPEN_LOOP}" if setpoint else "")
        )
        attributes.DataType = _number(ObjectIds.Double)
        attributes.Value = ua.Variant(0.0, _DOUBLE)
        attributes.ValueRank = ua.ValueRank.Scalar
        attributes.ArrayDimensions = []
        attributes.WriteMask = attributes.UserWriteMask = 0
        attributes.AccessLevel = attributes.UserAccessLevel = access
        attributes.Historizing = False
        item = ua.AddNodesItem()
        item.RequestedNewNodeId = node
        item.BrowseName = ua.QualifiedName(name, own)
        item.NodeClass = ua.NodeClass.Variable
        item.ParentNodeId = parent.nodeid
        item.ReferenceTypeId = _number(ObjectIds.HasComponent)
        item.TypeDefinition = _number(ObjectIds.AnalogUnitType)
        item.NodeAttributes = attributes
        (result,) = await server.iserver.isession.add_nodes([item])
        result.StatusCode.check()
        await server.get_node(node).add_property(
            _number(0, own),
            ua.QualifiedName("EngineeringUnits", 0),
            ua.EUInformation(
                NamespaceUri=_URI,
                UnitId=cast("ua.Int32", -1),  # no number of UNECE's list: the name counts
                DisplayName=ua.LocalizedText(about.unit),
                Description=ua.LocalizedText(about.unit),
            ),
        )
        waiting = ua.DataValue(StatusCode=_status(StatusCodes.BadWaitingForInitialData))
        await self._space.write_attribute_value(node, AttributeIds.Value, waiting)


class _Refusal(AttributeService):
    """Refuses every write of a client.

    Args:
        space: of the server.
        tell: is told the node and the value that somebody would have written.
    """

    def __init__(
        self, space: AddressSpace, tell: Callable[[ua.NodeId, ua.DataValue], None]
    ) -> None:
        super().__init__(space)
        self._tell = tell

    async def write(
        self, params: ua.WriteParameters, user: User | None = None
    ) -> list[ua.StatusCode]:
        if user is not None and user.role is UserRole.Admin:  # the server itself
            return await super().write(params, user)
        answers = []
        for item in params.NodesToWrite or []:
            known = item.NodeId in self._aspace
            if known:
                self._tell(item.NodeId, item.Value)
            code = StatusCodes.BadNotWritable if known else StatusCodes.BadNodeIdUnknown
            answers.append(_status(code))
        return answers


_DOUBLE: Final = ua.VariantType.Double


def _status(code: int) -> ua.StatusCode:
    return ua.StatusCode(cast("Any", code))


def _number(identifier: int, namespace: int = 0) -> ua.NodeId:
    return ua.NodeId(cast("Any", identifier), cast("Any", namespace))


def _namespace(node: str) -> int:
    """The number in ns=N; 0 where there is none."""
    first = node.partition(";")[0]
    return int(first.removeprefix("ns=")) if first.startswith("ns=") else 0


async def _node_id(server: Server, text: str) -> ua.NodeId:
    if not text.startswith("nsu="):
        return ua.NodeId.from_string(text)
    uri, _, identifier = text.removeprefix("nsu=").partition(";")
    return ua.NodeId.from_string(f"ns={await server.register_namespace(uri)};{identifier}")


async def _folder(server: Server, tag: str, own: int, folders: dict[str, Node]) -> Node:
    """The folder of a tag's station, made where it is missing."""
    parent: Node = server.nodes.objects
    path = ""
    for name in tag.split(".")[:-1]:
        path = f"{path}.{name}"
        if path not in folders:
            folders[path] = await parent.add_folder(_number(0, own), ua.QualifiedName(name, own))
        parent = folders[path]
    return parent
