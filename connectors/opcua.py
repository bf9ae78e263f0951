"""OPC UA: one client per server, samples by subscription, setpoints written and read back."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, TypeVar, cast

import numpy as np
from asyncua import ua
from asyncua.client.client import Client
from asyncua.client.ua_client import UaClientState
from asyncua.client.ua_session import UaSession
from asyncua.common.subscription import Subscription
from asyncua.ua.attribute_ids import AttributeIds
from asyncua.ua.object_ids import ObjectIds
from asyncua.ua.status_codes import StatusCodes
from asyncua.ua.uaerrors import BadMessageNotAvailable, UaError

from connectors.intake import Counters, Intake, pauses
from connectors.unit_names import mismatch
from twin.clock import Clock
from twin.configuration.models import LineConfiguration, OpcUaAddress, OpcUaConnector
from twin.ports import ConfigurationMismatch, ConnectionState, Write, WriteOutcome
from twin.samples import (
    BAD_NO_COMMUNICATION,
    BAD_NO_DATA,
    BAD_TYPE_MISMATCH,
    SampleBatch,
    severity,
)
from twin.tags import Tag
from twin.units import to_si

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LATEST: Final = (1 << 63) - 1
_PER_REQUEST: Final = 200
_KEEP_ALIVE: Final = 2.0
_LIFETIME: Final = 120.0
_SETTLED: Final = 1.0
_REQUEST_TIMEOUT: Final = 4.0

_DENIED: Final = frozenset(
    {
        StatusCodes.BadOutOfRange,
        StatusCodes.BadUserAccessDenied,
        StatusCodes.BadNotWritable,
        StatusCodes.BadWriteNotSupported,
    }
)
_INTEGERS: Final = frozenset(
    {
        ua.VariantType.SByte,
        ua.VariantType.Byte,
        ua.VariantType.Int16,
        ua.VariantType.UInt16,
        ua.VariantType.Int32,
        ua.VariantType.UInt32,
        ua.VariantType.Int64,
        ua.VariantType.UInt64,
    }
)

Element = TypeVar("Element")


def nanoseconds(moment: datetime) -> int:
    """Nanoseconds since the epoch; a moment without zone is UTC, as OPC UA has it.

    The years 1601 and 9999, which servers send for "never", become the nearest that 64 bits hold.
    """
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    past = moment - _EPOCH
    time = (past.days * 86_400 + past.seconds) * 1_000_000_000 + past.microseconds * 1_000
    return min(max(time, 0), _LATEST)


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


def good(value: ua.DataValue) -> bool:
    """Whether a read value may be used; no status code means good."""
    return value.StatusCode is None or value.StatusCode.is_good()


@dataclass(frozen=True, slots=True)
class _Item:
    index: int
    tag: Tag
    address: OpcUaAddress
    limits: tuple[tuple[float, float], ...]
    """Ranges in the tag's unit that must lie in the server's EURange."""


@dataclass(frozen=True, slots=True)
class _Notifications:
    arrived: int
    handles: list[int]
    values: list[ua.DataValue | None]
    confirm_before: int | None = None
    """Values older than this are stated again as of `arrived`: they hold still."""


@dataclass(frozen=True, slots=True)
class _Gap:
    time: int


@dataclass(slots=True)
class _Session:
    """What holds for one connection."""

    client: Client
    nodes: list[ua.NodeId] = field(default_factory=list)
    types: dict[int, ua.VariantType] = field(default_factory=dict)
    """Data type of each setpoint, by position."""


class _SubscriptionLostError(ConnectionError):
    """The server no longer knows the subscription: start over, all may have changed."""


class _Subscription(Subscription):
    """Hands over every publish response as a whole instead of an event per item."""

    def __init__(
        self,
        session: UaSession,
        parameters: ua.CreateSubscriptionParameters,
        deliver: Callable[[list[ua.MonitoredItemNotification]], None],
    ) -> None:
        super().__init__(session, parameters, None, queue_maxsize=1)
        self._hand_over = deliver
        self.forgotten = asyncio.Event()
        self.restored = asyncio.Event()

    async def publish_callback(self, publish_result: ua.PublishResult) -> None:
        self.last_publish_at = time.monotonic()
        message = publish_result.NotificationMessage
        if not message.NotificationData:
            return
        self.last_sequence_number = int(message.SequenceNumber)
        for notification in message.NotificationData:
            if isinstance(notification, ua.DataChangeNotification):
                self._hand_over(notification.MonitoredItems)
            elif isinstance(notification, ua.StatusChangeNotification):
                self.forgotten.set()

    async def restore(self) -> None:
        await super().restore()
        if not self.forgotten.is_set():
            self.restored.set()

    async def _republish_gaps(self, available: list[int]) -> bool:
        """Fetch what was sent into the broken connection.

        The inherited one asks for ever where a server answers with an empty message instead of
        BadMessageNotAvailable, as asyncua's own server does.
        """
        if not isinstance(self.server, UaSession) or self.subscription_id is None:
            return True
        number = (self.last_sequence_number or 0) + 1
        last = max(available, default=0)
        while True:
            try:
                message = await self.server.republish(self.subscription_id, number)
            except BadMessageNotAvailable:
                message = None
            if message is not None and message.NotificationData:
                await self.publish_callback(
                    ua.PublishResult(self.subscription_id, NotificationMessage=message)
                )
            elif number >= last:
                return True
            number += 1

    async def recreate(self) -> None:
        self._deleted = True
        self.forgotten.set()


class OpcUaSource:
    """The tags of one OPC UA server: a `Source` of their samples and a `Sink` for its setpoints."""

    def __init__(
        self,
        name: str,
        configuration: LineConfiguration,
        clock: Clock,
        *,
        linger: float = 0.02,
        capacity: int = 500_000,
        write_timeout: float = 2.0,
    ) -> None:
        """
        Args:
            name: the connector's name in the configuration.
            configuration: the line; the connector's tags keep their index in its tag table.
            clock: line time, for gaps and for values without a timestamp.
            linger: how long samples wait for others to make a batch, s.
            capacity: samples kept for a slow reader; then the oldest are dropped and counted.
            write_timeout: how long write and read-back may take, s.
        """
        connector = configuration.connectors[name]
        if not isinstance(connector, OpcUaConnector):
            raise ValueError(f"{name} is no OPC UA connector")
        self.name = name
        self._connector = connector
        self._clock = clock
        self._write_timeout = write_timeout
        self._items = _items(name, configuration)
        self._positions = {item.index: position for position, item in enumerate(self._items)}
        self._tags = np.array([item.index for item in self._items], np.int32)
        conversions = [to_si(item.tag.unit) for item in self._items]
        self._scales = np.array([scale for scale, _ in conversions], np.float64)
        self._offsets = np.array([offset for _, offset in conversions], np.float64)
        self._intake: Intake[_Notifications | _Gap] = Intake(capacity, linger)
        self._counters = Counters(name)
        self._session: _Session | None = None
        self._gap: int | None = None

    @property
    def state(self) -> ConnectionState:
        """Whether it is connected, and what it lost."""
        return self._counters.state(self._intake.dropped)

    async def run(self) -> None:
        """Connect, and stay connected until cancelled: reconnects by itself.

        Raises:
            ConfigurationMismatch: the server contradicts the configuration at its first
                connection. Later it is away until it agrees again: one that is starting up may
                not have all its nodes yet.
        """
        waits = pauses(self._connector.reconnect_max_delay)
        while True:
            try:
                await self._serve()
            except _SubscriptionLostError as error:
                self._lost(str(error))
                waits = pauses(self._connector.reconnect_max_delay)
            except ConfigurationMismatch as mismatch:
                if not self._counters.received:
                    raise
                self._lost(str(mismatch))
            except Exception as error:  # whatever the library raises, the other connectors go on
                if self._counters.connected:
                    waits = pauses(self._connector.reconnect_max_delay)
                self._lost(f"{self._connector.url}: {_sentence(error)}")
            await asyncio.sleep(next(waits))

    async def batches(self) -> AsyncIterator[SampleBatch]:
        """What arrived, in batches; tag indices of the line's tag table, SI."""
        while True:
            parcels = await self._intake.take()
            yield SampleBatch.concatenate([self._batch(parcel) for parcel in parcels])

    def safe(self) -> None:
        """Nothing to be said to an OPC UA server: it forgets what it has sent."""

    async def write(self, write: Write) -> WriteOutcome:
        """Write a setpoint, read it back and compare. Never raises for what the machine does."""
        nothing = math.nan
        position = self._positions.get(write.tag)
        if position is None or self._items[position].tag.role != "setpoint":
            return WriteOutcome(write, "denied", nothing, f"{self.name} has no such setpoint")
        if not math.isfinite(write.value):
            return WriteOutcome(write, "denied", nothing, f"{write.value} is no setpoint")
        session = self._session
        if session is None or not self._counters.connected:
            return WriteOutcome(write, "failed", nothing, f"{self.name} is not connected")
        try:
            async with asyncio.timeout(self._write_timeout):
                return await self._write(session, position, write)
        except TimeoutError:
            reason = f"no answer within {self._write_timeout:g} s; it may have been written"
            return WriteOutcome(write, "timed out", nothing, reason)
        except (OSError, UaError) as error:
            return WriteOutcome(write, "failed", nothing, _sentence(error))

    async def _write(self, session: _Session, position: int, write: Write) -> WriteOutcome:
        tag = self._items[position].tag
        node = session.nodes[position]
        value = _as_type(tag.from_si(write.value), session.types[position])
        remote = session.client.uaclient.session
        (status,) = await remote.write_attributes(
            [node], [ua.DataValue(ua.Variant(value, session.types[position]))]
        )
        if not status.is_good():
            kind = "denied" if status.value in _DENIED else "failed"
            reason = f"the server answers {status.name}: {status.doc}"
            return WriteOutcome(write, kind, math.nan, reason)  # type: ignore[arg-type]  # a WriteStatus
        (read,) = await remote.read_attributes([node], AttributeIds.Value)
        number, quality = _number(read)
        scale, offset = to_si(tag.unit)
        back = number * scale + offset
        if quality >> 30:
            return WriteOutcome(write, "failed", back, f"read back with status 0x{quality:08X}")
        if not math.isclose(number, float(value), rel_tol=1e-6, abs_tol=1e-9):
            reason = f"wrote {value:g} {tag.unit}, read back {number:g} {tag.unit}"
            return WriteOutcome(write, "failed", back, reason)
        return WriteOutcome(write, "applied", back)

    async def _serve(self) -> None:
        client = Client(
            self._connector.url,
            timeout=_REQUEST_TIMEOUT,
            auto_reconnect=True,
            reconnect_max_delay=self._connector.reconnect_max_delay,
        )
        client.name = client.description = "linetwin"
        session = _Session(client)
        try:
            async with asyncio.timeout(_REQUEST_TIMEOUT * 2):
                await client.connect()
            await self._check(session)
            async with client.subscribe_state() as states:
                subscription = await self._subscribe(session)
                self._session = session
                await self._resume(session)
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(_until_forgotten(subscription))
                    tasks.create_task(self._resume_when_restored(session, subscription))
                    while True:
                        if await states.next_change() is not UaClientState.CONNECTED:
                            self._lost(f"{self._connector.url}: the connection broke")
        except* _SubscriptionLostError as group:
            raise _SubscriptionLostError(str(group.exceptions[0])) from None
        except* ConfigurationMismatch as group:
            raise group.exceptions[0] from None
        except* (OSError, TimeoutError, UaError) as group:
            raise ConnectionError(_sentence(group.exceptions[0])) from None
        finally:
            self._session = None
            with suppress(Exception):
                async with asyncio.timeout(1.0):
                    await client.disconnect()
            client.disconnect_socket()

    async def _resume_when_restored(self, session: _Session, subscription: _Subscription) -> None:
        while True:
            await subscription.restored.wait()
            subscription.restored.clear()
            await self._resume(session)

    async def _resume(self, session: _Session) -> None:
        """State what holds now, so that a value that does not change is known again."""
        remote = session.client.uaclient.session
        values = await attributes(remote, session.nodes, AttributeIds.Value)
        now = self._clock.now()
        settled = now - int(_SETTLED * 1e9 * self._clock.acceleration)
        before = settled if self._gap is None else max(settled, self._gap + 1)
        self._gap = None
        self._counters.connect()
        self._counters.received += len(values)
        self._intake.put(
            _Notifications(now, list(range(len(values))), list(values), before), len(values)
        )

    def _lost(self, error: str) -> None:
        self._counters.disconnect(error)
        if self._gap is None:
            self._gap = self._clock.now()
            self._intake.put(_Gap(self._gap), len(self._items))

    async def _check(self, session: _Session) -> None:
        problems: list[str] = []
        remote = session.client.uaclient.session
        namespaces = await session.client.get_namespace_array()
        for item in self._items:
            try:
                session.nodes.append(_node_id(item.address.node, namespaces))
            except ValueError as error:
                session.nodes.append(ua.NodeId())
                problems.append(f"{item.tag.name}: {error}")
        known = [position for position, node in enumerate(session.nodes) if not node.is_null()]
        values = await attributes(
            remote, [session.nodes[position] for position in known], AttributeIds.Value
        )
        reachable = []
        for position, value in zip(known, values, strict=True):
            item = self._items[position]
            status = value.StatusCode.value if value.StatusCode is not None else 0
            if status in (StatusCodes.BadNodeIdUnknown, StatusCodes.BadNodeIdInvalid):
                problems.append(
                    f"{item.tag.name}: the server has no node {item.address.node!r}; "
                    f"see what it has with: twin browse {self._connector.url}"
                )
            elif status == StatusCodes.BadAttributeIdInvalid:
                problems.append(f"{item.tag.name}: {item.address.node!r} is no variable")
            else:
                reachable.append(position)
                if item.tag.role == "setpoint":
                    session.types[position] = (
                        value.Value.VariantType
                        if value.Value is not None and value.Value.Value is not None
                        else ua.VariantType.Double
                    )
        nodes = [session.nodes[position] for position in reachable]
        units = await properties(remote, nodes, "EngineeringUnits")
        ranges = await properties(remote, nodes, "EURange")
        access = await attributes(remote, nodes, AttributeIds.UserAccessLevel)
        for position, unit, span, level in zip(reachable, units, ranges, access, strict=True):
            problems += self._contradictions(self._items[position], unit, span, level)
        if problems:
            raise ConfigurationMismatch(self.name, problems)

    def _contradictions(
        self, item: _Item, unit: Any, span: Any, access: ua.DataValue
    ) -> Iterable[str]:
        tag = item.tag
        if isinstance(unit, ua.EUInformation):
            theirs = unit.DisplayName.Text or ""
            wrong = mismatch(theirs, tag.unit)
            if wrong is not None:
                yield f"{tag.name}: {wrong}; correct `unit` in the configuration"
        if tag.role != "setpoint":
            return
        if isinstance(span, ua.Range):
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

    async def _subscribe(self, session: _Session) -> _Subscription:
        interval = self._connector.publishing_interval
        parameters = ua.CreateSubscriptionParameters(
            RequestedPublishingInterval=interval * 1_000,
            RequestedLifetimeCount=max(30, round(_LIFETIME / interval)),
            RequestedMaxKeepAliveCount=max(1, round(_KEEP_ALIVE / interval)),
            MaxNotificationsPerPublish=10_000,
            PublishingEnabled=True,
            Priority=0,
        )
        subscription = _Subscription(session.client.uaclient.session, parameters, self._deliver)
        revised = await subscription.init()
        parameters.RequestedPublishingInterval = revised.RevisedPublishingInterval
        parameters.RequestedMaxKeepAliveCount = revised.RevisedMaxKeepAliveCount
        session.client._subscriptions.append(subscription)
        requests = [self._request(position, node) for position, node in enumerate(session.nodes)]
        problems = []
        for part in chunks(requests):
            for request, result in zip(
                part, await subscription.create_monitored_items(part), strict=True
            ):
                if isinstance(result, ua.StatusCode):
                    item = self._items[request.RequestedParameters.ClientHandle]
                    problems.append(
                        f"{item.tag.name}: the server refuses to monitor it: {result.name}"
                    )
        if problems:
            raise ConfigurationMismatch(self.name, problems)
        return subscription

    def _request(self, position: int, node: ua.NodeId) -> ua.MonitoredItemCreateRequest:
        deadband = self._items[position].address.deadband
        change = ua.DataChangeFilter(
            Trigger=ua.DataChangeTrigger.StatusValueTimestamp
            if deadband == 0
            else ua.DataChangeTrigger.StatusValue,
            DeadbandType=ua.DeadbandType.None_ if deadband == 0 else ua.DeadbandType.Absolute,
            DeadbandValue=deadband,
        )
        return ua.MonitoredItemCreateRequest(
            ItemToMonitor=ua.ReadValueId(NodeId=node, AttributeId=AttributeIds.Value),
            MonitoringMode=ua.MonitoringMode.Reporting,
            RequestedParameters=ua.MonitoringParameters(
                ClientHandle=position,
                SamplingInterval=self._connector.sampling_interval * 1_000,
                Filter=change,
                QueueSize=self._connector.queue_size,
                DiscardOldest=True,
            ),
        )

    def _deliver(self, items: list[ua.MonitoredItemNotification]) -> None:
        self._counters.received += len(items)
        self._intake.put(
            _Notifications(
                self._clock.now(),
                [item.ClientHandle for item in items],
                [item.Value for item in items],
            ),
            len(items),
        )

    def _batch(self, parcel: _Notifications | _Gap) -> SampleBatch:
        if isinstance(parcel, _Gap):
            size = len(self._tags)
            return SampleBatch(
                self._tags,
                np.full(size, parcel.time, np.int64),
                np.full(size, np.nan),
                np.full(size, BAD_NO_COMMUNICATION, np.uint32),
            )
        size = len(parcel.handles)
        handles = np.array(parcel.handles, np.intp)
        times = np.empty(size, np.int64)
        values = np.empty(size, np.float64)
        quality = np.empty(size, np.uint32)
        for row, value in enumerate(parcel.values):
            values[row], quality[row] = _number(value)
            stamp = None if value is None else value.SourceTimestamp or value.ServerTimestamp
            times[row] = parcel.arrived if stamp is None else nanoseconds(stamp)
        if parcel.confirm_before is not None:
            times[times < parcel.confirm_before] = parcel.arrived
        values *= self._scales[handles]
        values += self._offsets[handles]
        values[severity(quality) == 2] = np.nan
        return SampleBatch(self._tags[handles], times, values, quality)


async def _until_forgotten(subscription: _Subscription) -> None:
    await subscription.forgotten.wait()
    raise _SubscriptionLostError("the server was restarted or has given up the subscription")


def _items(name: str, configuration: LineConfiguration) -> list[_Item]:
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
        items.append(_Item(index, table[index], tag.address, limits))
    return items


def _node_id(text: str, namespaces: Sequence[str]) -> ua.NodeId:
    if not text.startswith("nsu="):
        return ua.NodeId.from_string(text)
    uri, _, identifier = text.removeprefix("nsu=").partition(";")
    if uri not in namespaces:
        own = ", ".join(namespaces[1:]) or "none of its own"
        raise ValueError(f"the server has no namespace {uri!r}; it has {own}")
    return ua.NodeId.from_string(f"ns={namespaces.index(uri)};{identifier}")


def _number(value: ua.DataValue | None) -> tuple[float, int]:
    """Value in the server's unit and status code; NaN and a bad code where there is no number."""
    if value is None:
        return math.nan, BAD_NO_DATA
    quality = 0 if value.StatusCode is None else value.StatusCode.value
    content = None if value.Value is None else value.Value.Value
    if isinstance(content, (float, int)):
        if math.isfinite(content) or quality >> 31:
            return float(content), quality
        return math.nan, BAD_NO_DATA
    if quality >> 31:
        return math.nan, quality
    return math.nan, BAD_NO_DATA if content is None else BAD_TYPE_MISMATCH


def _as_type(value: float, kind: ua.VariantType) -> float | int | bool:
    if kind is ua.VariantType.Boolean:
        return bool(round(value))
    if kind in _INTEGERS:
        return round(value)
    return value


def _sentence(error: BaseException) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    return str(error) or type(error).__name__
