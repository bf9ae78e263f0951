"""The machines as OPC UA servers: address space, published values, refusal of bad writes."""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Self, cast

from asyncua import ua
from asyncua.common.node import Node
from asyncua.crypto.permission_rules import User, UserRole
from asyncua.server.address_space import AddressSpace, AttributeService
from asyncua.server.server import Server
from asyncua.ua.attribute_ids import AttributeIds
from asyncua.ua.object_ids import ObjectIds
from asyncua.ua.status_codes import StatusCodes

from simulators.clock import to_datetime
from simulators.history import KeptHistory
from simulators.line import VariableSample
from simulators.secured import SecuredFolder
from simulators.signals import UNECE_CODES, Kind, Machine, Signal, unece_unit_id

NAMESPACE = "urn:linetwin:virtual-line"
_CEFACT = "http://www.opcfoundation.org/UA/units/un/cefact"
_STOP_SECONDS = 0.5


def _node_id(identifier: str | int, index: int = 0) -> ua.NodeId:
    return ua.NodeId(cast("Any", identifier), cast("Any", index))


def _status(code: int) -> ua.StatusCode:
    return ua.StatusCode(cast("Any", code))


TakeSetpoint = Callable[[str, float], None]
"""Called with the signal name and an accepted value."""


@dataclass(frozen=True, slots=True)
class Ports:
    """TCP ports of the machines; 0 is not allowed, clients must know them."""

    mixer: int = 4840
    coater: int = 4841
    calender: int = 4842

    def of(self, machine: Machine) -> int:
        """Port of one machine."""
        match machine:
            case Machine.MIXER:
                return self.mixer
            case Machine.COATER:
                return self.coater
            case Machine.CALENDER:
                return self.calender


class _GuardedWrites(AttributeService):
    """Answers every write item with a status code of its own, as a PLC's server does."""

    def __init__(
        self,
        space: AddressSpace,
        signals: dict[ua.NodeId, Signal],
        take: TakeSetpoint,
        now_ns: Callable[[], int],
    ) -> None:
        super().__init__(space)
        self._signals = signals
        self._take = take
        self._now_ns = now_ns

    async def write(
        self, params: ua.WriteParameters, user: User | None = None
    ) -> list[ua.StatusCode]:
        """Judge and carry out each item; clients can write nothing but setpoints."""
        if user is not None and user.role is UserRole.Admin:  # the server itself
            return await super().write(params, user)
        return [_status(await self._write_one(item)) for item in params.NodesToWrite or []]

    async def _write_one(self, item: ua.WriteValue) -> int:
        if item.NodeId not in self._aspace:
            return StatusCodes.BadNodeIdUnknown
        signal = self._signals.get(item.NodeId)
        if item.AttributeId != AttributeIds.Value or signal is None or not signal.writable:
            return StatusCodes.BadNotWritable
        if item.IndexRange:
            return StatusCodes.BadWriteNotSupported
        data = item.Value
        if data.StatusCode is not None and not data.StatusCode.is_good():
            return StatusCodes.BadWriteNotSupported
        variant = data.Value
        if (
            variant is None
            or variant.VariantType != ua.VariantType.Double
            or variant.is_array
            or not isinstance(variant.Value, float)
        ):
            return StatusCodes.BadTypeMismatch
        value = variant.Value
        if not math.isfinite(value) or not signal.low <= value <= signal.high:
            return StatusCodes.BadOutOfRange
        self._take(signal.name, value)
        stamped = ua.DataValue(
            Value=variant,
            StatusCode=_status(StatusCodes.Good),
            SourceTimestamp=cast("ua.DateTime", to_datetime(self._now_ns())),
            ServerTimestamp=cast("ua.DateTime", datetime.now(UTC)),
        )
        status = await self._aspace.write_attribute_value(item.NodeId, AttributeIds.Value, stamped)
        return int(status.value)


class MachineServers:
    """The OPC UA servers of all machines; an async context manager."""

    def __init__(
        self,
        signals: Iterable[Signal],
        take: TakeSetpoint,
        now_ns: Callable[[], int],
        host: str = "127.0.0.1",
        ports: Ports | None = None,
        secured: SecuredFolder | None = None,
    ) -> None:
        self._signals = tuple(signals)
        self._take = take
        self._now_ns = now_ns
        self._host = host
        self._ports = ports or Ports()
        self._secured = secured
        self._servers: list[Server] = []
        self._nodes: dict[str, tuple[AddressSpace, ua.NodeId, ua.VariantType]] = {}
        self._good = _status(StatusCodes.Good)
        self._history = KeptHistory()

    @property
    def endpoints(self) -> dict[str, str]:
        """URL by machine."""
        return {
            machine.value: f"opc.tcp://{self._host}:{self._ports.of(machine)}/{machine.value}"
            for machine in Machine
        }

    async def __aenter__(self) -> Self:
        try:
            for machine in Machine:
                await self._start(machine)
        except BaseException:
            await self._stop()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._stop()

    async def publish(self, samples: Iterable[VariableSample]) -> None:
        """Write samples into the address spaces, with the line's time as source timestamp."""
        server_time = datetime.now(UTC)
        last_ns, source_time = -1, server_time
        for sample in samples:
            if sample.time_ns != last_ns:
                last_ns, source_time = sample.time_ns, to_datetime(sample.time_ns)
            space, node, kind = self._nodes[sample.name]
            value = float(sample.value) if kind is ua.VariantType.Double else int(sample.value)
            variant = ua.Variant(value, kind)
            self._history.keep(node, sample.time_ns, variant)
            data = ua.DataValue(
                Value=variant,
                StatusCode=self._good,
                SourceTimestamp=cast("ua.DateTime", source_time),
                ServerTimestamp=cast("ua.DateTime", server_time),
            )
            await space.write_attribute_value(node, AttributeIds.Value, data)

    async def _start(self, machine: Machine) -> None:
        server = Server()
        server.iserver.allow_remote_admin = False
        await server.init()
        server.iserver.history_manager.set_storage(self._history)
        await server.set_application_uri(f"{NAMESPACE}:{machine.value}")
        server.set_server_name(f"linetwin virtual line, {machine.value}")
        server.set_endpoint(self.endpoints[machine.value])
        if self._secured is None:
            server.set_security_policy([ua.SecurityPolicyType.NoSecurity])
        else:
            await self._secured.secure(server, machine.value)
        index = await server.register_namespace(NAMESPACE)
        by_node: dict[ua.NodeId, Signal] = {}
        folders: dict[str, Node] = {}
        for signal in self._signals:
            if signal.machine is machine:
                node = await self._add(server, index, signal, folders)
                by_node[node.nodeid] = signal
        space = server.iserver.aspace
        server.iserver.attribute_service = _GuardedWrites(space, by_node, self._take, self._now_ns)
        await server.start()
        self._servers.append(server)

    async def _add(
        self, server: Server, index: int, signal: Signal, folders: dict[str, Node]
    ) -> Node:
        """Add a variable under the objects that its dotted name spells."""
        parent: Node = server.nodes.objects
        parts = signal.name.split(".")
        for depth in range(1, len(parts)):
            path = ".".join(parts[:depth])
            if path not in folders:
                identifier = _node_id(path, index)
                folders[path] = await parent.add_object(
                    identifier, ua.QualifiedName(parts[depth - 1], index)
                )
            parent = folders[path]
        analog = signal.kind is Kind.ANALOG
        kind = ua.VariantType.Double if analog else ua.VariantType.Int32
        item = ua.AddNodesItem()
        item.RequestedNewNodeId = _node_id(signal.name, index)
        item.BrowseName = ua.QualifiedName(parts[-1], index)
        item.NodeClass = ua.NodeClass.Variable
        item.ParentNodeId = parent.nodeid
        item.ReferenceTypeId = _node_id(ObjectIds.HasComponent)
        type_id = ObjectIds.AnalogItemType if analog else ObjectIds.BaseDataVariableType
        item.TypeDefinition = _node_id(type_id)
        attributes = ua.VariableAttributes()
        attributes.DisplayName = ua.LocalizedText(parts[-1])
        attributes.Description = ua.LocalizedText(signal.description)
        attributes.DataType = _node_id(ObjectIds.Double if analog else ObjectIds.Int32)
        attributes.Value = ua.Variant(0.0 if analog else 0, kind)
        attributes.ValueRank = ua.ValueRank.Scalar
        attributes.ArrayDimensions = []
        attributes.WriteMask = attributes.UserWriteMask = 0
        attributes.Historizing = True
        access = ua.AccessLevel.CurrentRead.mask | ua.AccessLevel.HistoryRead.mask
        if signal.writable:
            access |= ua.AccessLevel.CurrentWrite.mask
        attributes.AccessLevel = attributes.UserAccessLevel = access
        item.NodeAttributes = attributes
        (result,) = await server.iserver.isession.add_nodes([item])
        result.StatusCode.check()
        node = server.get_node(result.AddedNodeId)
        if analog:
            await node.add_property(
                _node_id(f"{signal.name}.EURange", index),
                ua.QualifiedName("EURange", 0),
                ua.Range(signal.low, signal.high),
            )
            unit = ua.EUInformation(
                NamespaceUri=_CEFACT,
                UnitId=unece_unit_id(UNECE_CODES[signal.unit]),
                DisplayName=ua.LocalizedText(signal.unit),
                Description=ua.LocalizedText(signal.unit),
            )
            await node.add_property(
                _node_id(f"{signal.name}.EngineeringUnits", index),
                ua.QualifiedName("EngineeringUnits", 0),
                unit,
            )
        waiting = ua.DataValue(StatusCode=_status(StatusCodes.BadWaitingForInitialData))
        space = server.iserver.aspace
        await space.write_attribute_value(node.nodeid, AttributeIds.Value, waiting)
        self._nodes[signal.name] = (space, node.nodeid, kind)
        return node

    async def _stop(self) -> None:
        async def stop(server: Server) -> None:
            clock, server.iserver.time_task = server.iserver.time_task, None
            if clock is not None:  # it would sleep for up to a second
                clock.cancel()
            # asyncua closes the connections and only then stops listening: a client that comes back
            # in between would keep a connection that nobody closes
            if server.bserver is not None and server.bserver._server is not None:
                server.bserver._server.close()
            with contextlib.suppress(Exception):
                await asyncio.wait_for(server.stop(), _STOP_SECONDS)
            for transport in tuple(server.iserver.asyncio_transports):
                transport.abort()
            while server.iserver.asyncio_transports:  # noqa: ASYNC110  # until they are lost
                await asyncio.sleep(0)

        await asyncio.gather(*(stop(server) for server in self._servers))
        self._servers.clear()
