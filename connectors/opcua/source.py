"""A `Source` of the samples of one OPC UA server, and a `Sink` for its setpoints."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

import numpy as np
import structlog
from asyncua import ua
from asyncua.client.client import Client
from asyncua.client.ua_client import StateSubscription, UaClientState
from asyncua.ua.uaerrors import UaError

from connectors.intake import Counters, Intake, pauses
from connectors.opcua.agreement import Agreement, compare
from connectors.opcua.history import missed
from connectors.opcua.items import items_of
from connectors.opcua.reading import present
from connectors.opcua.securing import connect
from connectors.opcua.subscription import (
    LIFETIME,
    LineSubscription,
    SubscriptionLostError,
    subscribe,
)
from connectors.opcua.values import nanoseconds, number, overflowed, span
from connectors.opcua.writing import Written, look_again, write_and_read_back
from connectors.refusal import RefusedError
from twin.clock import Clock
from twin.configuration.models import LineConfiguration, OpcUaConnector
from twin.ports import ConfigurationMismatch, ConnectionState, Write, WriteOutcome
from twin.samples import BAD_NO_COMMUNICATION, SampleBatch, severity
from twin.supervision import told_to_stop
from twin.units import to_si

log = structlog.get_logger()
_SETTLED: Final = 1.0
_REQUEST_TIMEOUT: Final = 4.0
_HOLDS: Final = 0.1
"""For how long at least a machine must keep a setpoint, s."""
_MOST_HELD: Final = 100_000
"""Samples that wait for missed history; what comes on top does not wait."""


@dataclass(frozen=True, slots=True)
class _Holding:
    """Between which times a value that was read is stated again, ns by the machine's clock."""

    before: int
    """Values older than this are stated again: they hold still."""
    earliest: int
    latest: int
    """Not later than the machine's clock: what changes next must be newer."""


@dataclass(frozen=True, slots=True)
class _Notifications:
    arrived: int
    handles: list[int]
    values: list[ua.DataValue | None]
    holds: _Holding | None = None
    """Of values that were read because they may not change."""


@dataclass(frozen=True, slots=True)
class _Gap:
    times: tuple[int, ...]
    """Of the last word of the server, and of when it was missed: the first may be too late."""


@dataclass(frozen=True, slots=True)
class _Session:
    """What holds for one connection."""

    client: Client
    agreement: Agreement


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
            write_timeout: how long a machine may take to have what is written to it, s.
        """
        connector = configuration.connectors[name]
        if not isinstance(connector, OpcUaConnector):
            raise ValueError(f"{name} is no OPC UA connector")
        self.name = name
        self._connector = connector
        self._clock = clock
        self._write_timeout = write_timeout
        self._items = items_of(name, configuration)
        self._positions = {item.index: position for position, item in enumerate(self._items)}
        self._tags = np.array([item.index for item in self._items], np.int32)
        conversions = [to_si(item.tag.unit) for item in self._items]
        self._scales = np.array([scale for scale, _ in conversions], np.float64)
        self._offsets = np.array([offset for _, offset in conversions], np.float64)
        self._intake: Intake[_Notifications | _Gap] = Intake(capacity, linger)
        self._counters = Counters(name)
        self._session: _Session | None = None
        self._capacity = capacity
        self._heard: int | None = None
        """Line time of the last word of the subscription; a silent loss is noticed only later."""
        self._newest: Sequence[ua.MonitoredItemNotification] = ()
        self._settled = int(_SETTLED * 1e9 * clock.acceleration)
        self._ahead = 0
        """How far the machine's clock is ahead of line time, ns; negative where it is behind."""
        self._newest_times = np.full(len(self._items), np.iinfo(np.int64).min, np.int64)
        """Time of the newest sample of each tag, by position; no later ones than are used."""
        self._tolerance = round(configuration.clock_tolerance * 1e9)
        self._remarked: set[str] = set()
        self._held: list[_Notifications] | None = None
        """What is delivered between a loss and the end of reading history: it comes after that."""

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
            except SubscriptionLostError as error:
                self._lost(str(error))
                waits = pauses(self._connector.reconnect_max_delay)
            except ConfigurationMismatch as mismatch:
                if not self._counters.received:
                    raise
                self._lost(str(mismatch))
            except RefusedError as error:
                self._counters.refuse_peer(error.what, str(error), self._clock.now())
                self._lost(str(error))
            except Exception as error:  # whatever the library raises, the other connectors go on
                if self._counters.connected:
                    waits = pauses(self._connector.reconnect_max_delay)
                self._lost(f"{self._connector.url}: {_sentence(error)}")
            except asyncio.CancelledError:
                if told_to_stop():
                    raise
                # the library cancels what waits for an answer on a channel that it closes
                self._lost(f"{self._connector.url}: the connection was given up")
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
        session = self._connected()
        written = self._written(session, write)
        # what will really be written: a machine's integer may round past a limit
        value = written.value
        for low, high in (*self._items[position].limits, span(written.kind)):
            slack = 1e-9 * (high - low) if math.isfinite(high - low) else 0.0
            if not low - slack <= value <= high + slack:
                reason = f"{value:g} lies outside the limits [{low:g}, {high:g}]"
                return WriteOutcome(write, "denied", nothing, reason)
        if session is None:
            return WriteOutcome(write, "failed", nothing, f"{self.name} is not connected")
        remote = session.client.uaclient.session
        try:
            return await write_and_read_back(remote, written, self._write_timeout)
        except (OSError, UaError) as error:
            return WriteOutcome(write, "failed", nothing, _sentence(error))

    async def confirm(self, writes: Sequence[Write]) -> list[WriteOutcome]:
        """Whether setpoints that were applied still are, a short while later. Never raises so."""
        session = self._connected()
        if session is None:
            lost = f"{self.name} is not connected any more"
            return [WriteOutcome(write, "failed", math.nan, lost) for write in writes]
        written = [self._written(session, write) for write in writes]
        pause = min(max(2 * self._connector.sampling_interval, _HOLDS), self._write_timeout / 2)
        # of line time: an accelerated line must not run on for long before it is known
        pause /= max(1.0, self._clock.acceleration)
        remote = session.client.uaclient.session
        try:
            return await look_again(remote, written, pause, self._write_timeout)
        except (OSError, UaError) as error:
            return [each.outcome("failed", _sentence(error)) for each in written]

    def _connected(self) -> _Session | None:
        return self._session if self._counters.connected else None

    def _written(self, session: _Session | None, write: Write) -> Written:
        position = self._positions[write.tag]
        tag = self._items[position].tag
        if session is None:
            return Written(write, tag, ua.NodeId(), ua.VariantType.Double)
        agreement = session.agreement
        return Written(write, tag, agreement.nodes[position], agreement.types[position])

    async def _serve(self) -> None:
        client = Client(
            self._connector.url,
            timeout=_REQUEST_TIMEOUT,
            auto_reconnect=True,
            reconnect_max_delay=self._connector.reconnect_max_delay,
        )
        client.name = client.description = "linetwin"
        try:
            async with asyncio.timeout(_REQUEST_TIMEOUT * 2):
                await connect(client, self._connector)
            agreement = await compare(client, self._items)
            self._remark(agreement.remarks)
            if agreement.problems:
                raise ConfigurationMismatch(self.name, agreement.problems)
            session = _Session(client, agreement)
            async with client.subscribe_state() as states:
                subscription, problems, remarks = await subscribe(
                    client, self._connector, self._items, agreement.nodes, self._deliver
                )
                self._remark(remarks)
                if problems:
                    raise ConfigurationMismatch(self.name, problems)
                self._session = session
                await self._resume(session)
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(_until_forgotten(subscription))
                    tasks.create_task(self._resume_when_restored(session, subscription))
                    await self._watch(states)
        except* SubscriptionLostError as group:
            raise SubscriptionLostError(str(group.exceptions[0])) from None
        except* ConfigurationMismatch as group:
            raise group.exceptions[0] from None
        except* RefusedError as group:
            raise group.exceptions[0] from None
        except* (OSError, TimeoutError, UaError) as group:
            raise ConnectionError(_sentence(group.exceptions[0])) from None
        finally:
            self._session = None
            with suppress(Exception):
                async with asyncio.timeout(1.0):
                    await client.disconnect()
            client.disconnect_socket()

    def _remark(self, remarks: Sequence[str]) -> None:
        """Log what is new of it: a server says the same at every connection."""
        for remark in remarks:
            if remark not in self._remarked:
                self._remarked.add(remark)
                log.warning("opcua", connector=self.name, remark=remark)

    async def _watch(self, states: StateSubscription) -> None:
        """See the connection go and come back, until the server has given up the subscription.

        The library would go on for ever with the certificate and password of the first connection.

        Raises:
            TimeoutError: nothing is lost any more by starting over.
        """
        while True:
            state = await states.next_change()
            async with asyncio.timeout(LIFETIME):
                while state is not UaClientState.CONNECTED:
                    self._lost(f"{self._connector.url}: the connection broke")
                    state = await states.next_change()

    async def _resume_when_restored(
        self, session: _Session, subscription: LineSubscription
    ) -> None:
        while True:
            await subscription.restored.wait()
            subscription.restored.clear()
            await self._resume(session)

    async def _resume(self, session: _Session) -> None:
        """Read what was missed, and state what holds now though it does not change."""
        self._hold()
        try:
            recovered = 0
            gap = self._counters.away_since
            if gap is not None:
                recovered = await self._recover(session, gap)
            await self._state_what_holds(session)
            self._counters.back(self._clock.now(), recovered)
        finally:
            held, self._held = self._held, None
            for parcel in held or ():
                self._intake.put(parcel, len(parcel.handles))

    def _hold(self) -> None:
        if self._held is None:
            self._held = []

    async def _recover(self, session: _Session, gap: int) -> int:
        """Read the history since the connection was lost; how many values there were."""
        now = self._clock.now()
        # by the machine's clock; what was said just before the last word may have been on its way
        start, end = gap - self._settled + self._ahead, now + max(0, self._ahead)
        found = await missed(
            session.client.uaclient.session, session.agreement.nodes, start, end, self._capacity
        )
        self._counters.received += len(found)
        if found:
            positions = [position for position, _ in found]
            parcel = _Notifications(now, positions, [value for _, value in found])
            self._intake.put(parcel, len(found))
        return len(found)

    async def _state_what_holds(self, session: _Session) -> None:
        remote = session.client.uaclient.session
        said, values = await present(remote, session.agreement.nodes)
        now = self._heard = self._clock.now()
        # where line time runs faster than life, the server's clock is still that on the wall
        latest = now if said is None or self._clock.acceleration != 1.0 else said
        earliest = min(latest, now)
        self._ahead = latest - now
        holds = _Holding(earliest - self._settled, earliest, latest)
        self._counters.connect()
        self._counters.received += len(values)
        self._intake.put(
            _Notifications(now, list(range(len(values))), list(values), holds), len(values)
        )

    def _lost(self, error: str) -> None:
        self._counters.disconnect(error)
        if self._counters.away_since is None:
            now = self._clock.now()
            since = self._counters.away_since = self._last_word(now)
            # by the machine's clock, or what it says next would be older
            behind = max(0, -self._ahead)
            times = tuple(time - behind for time in dict.fromkeys((since, now)))
            self._intake.put(_Gap(times), len(times) * len(self._items))
            self._hold()

    def _last_word(self, now: int) -> int:
        """Until when everything has come: the newest value, or what came without one, ns."""
        heard = now if self._heard is None else min(self._heard, now)
        stamps = [item.Value.SourceTimestamp for item in self._newest if item.Value is not None]
        said = max((nanoseconds(stamp) for stamp in stamps if stamp is not None), default=heard)
        # an old one says nothing of what came since, one of a clock that is ahead neither
        return said + 1_000 if heard - self._settled < said < heard else heard

    def _deliver(self, items: list[ua.MonitoredItemNotification]) -> None:
        self._heard = self._clock.now()
        if not items:
            return
        self._newest = items
        self._counters.received += len(items)
        parcel = _Notifications(
            self._heard,
            [item.ClientHandle for item in items],
            [item.Value for item in items],
        )
        if self._held is not None and sum(len(each.handles) for each in self._held) < _MOST_HELD:
            self._held.append(parcel)
        else:
            self._intake.put(parcel, len(items))

    def _batch(self, parcel: _Notifications | _Gap) -> SampleBatch:
        newest = self._newest_times
        if isinstance(parcel, _Gap):
            tags = np.tile(self._tags, len(parcel.times))
            size = len(tags)
            marks = []
            for time in parcel.times:
                # after the last value, also of a clock that is ahead
                newest = self._newest_times = np.maximum(newest + 1_000, time)
                marks.append(newest)
            return SampleBatch(
                tags,
                np.concatenate(marks),
                np.full(size, np.nan),
                np.full(size, BAD_NO_COMMUNICATION, np.uint32),
            )
        size = len(parcel.handles)
        handles = np.array(parcel.handles, np.intp)
        times = np.empty(size, np.int64)
        values = np.empty(size, np.float64)
        quality = np.empty(size, np.uint32)
        for row, value in enumerate(parcel.values):
            values[row], quality[row] = number(value)
            stamp = None if value is None else value.SourceTimestamp or value.ServerTimestamp
            times[row] = parcel.arrived if stamp is None else nanoseconds(stamp)
        if (holds := parcel.holds) is not None:
            stated = np.clip(newest[handles] + 1_000, holds.earliest, holds.latest)
            old = (times < holds.before) | (times < newest[handles])
            times = np.where(old, np.maximum(times, stated), times)
        credible = times <= parcel.arrived + self._tolerance
        np.maximum.at(newest, handles[credible], times[credible])
        for position in handles[overflowed(quality)].tolist():
            self._counters.refuse("queue of the server full", tag=self._items[position].tag.name)
        values *= self._scales[handles]
        values += self._offsets[handles]
        values[severity(quality) == 2] = np.nan
        return SampleBatch(self._tags[handles], times, values, quality)


async def _until_forgotten(subscription: LineSubscription) -> None:
    await subscription.forgotten.wait()
    raise SubscriptionLostError("the server was restarted or has given up the subscription")


def _sentence(error: BaseException) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    return str(error) or type(error).__name__
